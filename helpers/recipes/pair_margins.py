"""Margins: what every scorer says of every held-out pair, chosen minus rejected.

A reward model scores replies, a policy too: by its implicit reward, or by how likely a
reply is. As margins on the same pairs they are judges that can be compared.
"""

from pathlib import Path

import pandas as pd

from helpers.core.records import example_rows
from helpers.data.drawing import both_sides
from helpers.recipes.evaluate import REFERENCE_OF, compared
from helpers.rewards.judges import Judge, RewardModelJudge
from helpers.runs import store


def scorer_margins(
    run: Path, records: pd.DataFrame, judges: list[Judge]
) -> pd.DataFrame:
    """The margin of every scorer on every test pair, as records called by method, init.

    Reward models, the held-out one too, as trained with the most pairs; implicit rewards
    of the policies that are compared, likelihood under SFT (sum and mean), the rules of
    00, and further judges: the truth where it is known, one that was loaded.
    """
    rules = pd.read_parquet(run / "00_data" / "records.parquet")
    rules = rules[rules["metric"] == "margin"]
    further = [judge for judge in judges if not isinstance(judge, RewardModelJudge)]
    policies = policy_margins(compared(records, store.strengths(run)))
    loaded = [judge_margins(run, judge) for judge in further]
    parts = [reward_margins(run), rules, *policies, *loaded]
    columns = ["method", "init", "seed", "subset", "example", "metric", "value"]
    return pd.concat([part[columns] for part in parts if len(part)], ignore_index=True)


def reward_margins(run: Path) -> pd.DataFrame:
    """Margins of each start's reward models with the most pairs that it was given."""
    rewards = pd.read_parquet(run / "04_reward_model" / "records.parquet")
    rewards = rewards[rewards["metric"] == "margin"]
    most = rewards.groupby(["method", "init"])["pairs"].transform("max")
    rewards = rewards[rewards["pairs"] == most]
    fewer = (rewards["method"] == "rm") & (rewards["pairs"] < store.labels(run))
    shown = "rm, " + rewards["pairs"].map("{:,} pairs".format)
    return rewards.assign(method=rewards["method"].mask(fewer, shown))


def policy_margins(records: pd.DataFrame) -> list[pd.DataFrame]:
    """Implicit-reward margins of tuned policies; likelihood margins of the SFT policy."""
    sums, means = gaps(records, "logprob"), gaps(records, "logprob_mean")
    parts = [
        sums[sums["method"] == "sft"].assign(method="sft log-prob"),
        means[means["method"] == "sft"].assign(method="sft log-prob, mean"),
    ]
    keys = ["seed", "subset", "example"]
    weights = records.groupby("method")["strength"].first().fillna(1.0)
    for method, reference in REFERENCE_OF.items():
        own = sums[sums["method"] == method]
        base = sums[sums["method"] == reference].set_index(keys)["value"]
        values = own["value"] - base.loc[own.set_index(keys).index].to_numpy()
        values *= weights.get(method, 1.0)  # beta: margins are log-odds
        parts.append(own.assign(value=values, method=f"{method} implicit"))
    return parts


def gaps(records: pd.DataFrame, name: str) -> pd.DataFrame:
    """Log-probability of the chosen minus that of the rejected reply, per policy."""
    keys = ["method", "init", "seed", "subset", "example"]
    sides = [
        records[records["metric"] == f"{name}_{side}"].set_index(keys)["value"]
        for side in ("chosen", "rejected")
    ]
    return (sides[0] - sides[1]).reset_index().assign(metric="margin")


def judge_margins(run: Path, judge: Judge) -> pd.DataFrame:
    """Margins of a judge that this run has not trained, called by its name."""
    test = store.read_pairs(run, "test")
    chosen, rejected = both_sides(judge.score, test)
    return pd.DataFrame(example_rows(test, "margin", chosen - rejected)).assign(
        method=judge.name, init="", seed=0
    )
