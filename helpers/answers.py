"""The answer: what 09 computes from a run's records and says in words.

Each function is one of the book's comparisons. The sentences stand here as templates;
their numbers are filled in by `report.say`, and a difference whose interval holds zero
is called none.
"""

from pathlib import Path

import pandas as pd

from helpers import compare
from helpers.evaluation import ONLINE
from helpers.project import read_manifest
from helpers.runs import Stage
from helpers.stats import Interval

CONTRASTS = [
    ("sft", "base"),
    ("dpo", "base"),
    ("sft_dpo", "base"),
    ("ppo (base)", "base"),
    ("dpo", "sft"),
    ("sft_dpo", "sft"),
    ("ppo (base)", "sft"),
    ("ppo (codepmp)", "sft"),
    ("ppo (base)", "sft_dpo"),
    ("ppo (codepmp)", "ppo (base)"),
    ("rloo (base)", "sft"),
    ("grpo (base)", "sft"),
    ("rloo (base)", "ppo (base)"),
    ("grpo (base)", "ppo (base)"),
]

ANSWER = """\
On {source} data, with models trained here from scratch and {seeds} seeds:

- **CodePMP.** A reward model that read code pairs first differs from one that did not by
  {codepmp_gain} in accuracy on held-out pairs, with all {pairs} pairs: {codepmp_verdict}.
  Inside PPO it changes the reward of replies by {ppo_codepmp_gain}:
  {ppo_codepmp_verdict}.
- **DPO and PPO.** Over SFT, SFT+DPO gains {dpo_over_sft} and PPO {ppo_over_sft} in judged
  reward. PPO minus SFT+DPO is {ppo_over_dpo}: {ppo_dpo_verdict}.
- **As judges of pairs.** The reward model is right on {rm_accuracy}, DPO's implicit reward
  on {dpo_accuracy}, a bag of words on {words_accuracy}.
- **Cost.** Training time beyond the base model: SFT+DPO {dpo_seconds} s, PPO {ppo_seconds}
  s, PPO with CodePMP {ppo_codepmp_seconds} s.
"""

# what a method needs beyond the base model: (stage, method, init of its jobs)
LINEAGE = {
    "sft": [("05_sft", "sft", "")],
    "dpo": [("06_dpo", "dpo", "")],
    "sft_dpo": [("05_sft", "sft", ""), ("06_dpo", "sft_dpo", "")],
    "rm (base)": [("04_reward_model", "rm", "base")],
}
CODE = [("02_code_pairs", "strong", ""), ("02_code_pairs", "weak", "")]
CODE += [("03_codepmp", "", "codepmp")]
LINEAGE["rm (codepmp)"] = [*CODE, ("04_reward_model", "rm", "codepmp")]
for _init in ("base", "codepmp"):
    _reward = LINEAGE[f"rm ({_init})"]
    for _method in ONLINE:
        _online = ("07_ppo", _method, _init)
        LINEAGE[f"{_method} ({_init})"] = [*LINEAGE["sft"], *_reward, _online]


def setting(run: Path) -> dict[str, object]:
    """What every number of the run has to be read with: data, seeds, judge, labels."""
    source = read_manifest(run, "00_data")["parameters"]["data_source"]
    synthetic = source == "built-in"
    return {
        "source": "synthetic (built-in)" if synthetic else "real HH-RLHF",
        "seeds": int(read_manifest(run, "05_sft")["parameters"]["seeds"]),
        "judge": "truth" if synthetic else "held-out RM",
    }


def pretraining_gains(margins: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each pretrained start minus the base start, per subset and pairs.

    Columns: pairs, init, subset ("both" too), name, estimate, low, high, interval.
    """
    margins = margins[margins["metric"] == "margin"]
    right = compare.preference_accuracy(margins["value"].to_numpy())
    scored = margins.assign(value=right, name=margins["init"])
    contrasts = [(init, "base") for init in scored["init"].unique() if init != "base"]
    parts = []
    for pairs, part in scored.groupby("pairs"):
        for split in (True, False):
            gains = compare.difference_table(part, contrasts, subsets=split)
            init = gains["name"].str.split(" ").str[0]
            parts.append(gains.assign(pairs=int(pairs), init=init))
    return pd.concat(parts, ignore_index=True)


def judged(records: pd.DataFrame, judge: str, decoding: str) -> pd.DataFrame:
    """Per-reply rewards of every policy from one judge, named for comparison."""
    return compare.named(records[records["metric"] == f"reward:{judge}:{decoding}"])


def win_rates(scores: pd.DataFrame, opponent: str) -> pd.DataFrame:
    """How often a policy's reply beats the opponent's on the same prompt and seed."""
    keys = ["seed", "subset", "example"]
    other = scores[scores["name"] == opponent].set_index(keys)["value"]
    rest = scores[scores["name"] != opponent]
    margins = rest["value"].to_numpy() - other.loc[pd.MultiIndex.from_frame(rest[keys])]
    won = compare.preference_accuracy(margins.to_numpy())
    return compare.mean_table(rest.assign(value=won), by=["name"], within=(0, 1))


def kl_table(records: pd.DataFrame) -> pd.DataFrame:
    """Mean KL from the SFT policy of the seed, per policy: columns name, kl."""
    kl = compare.named(records[records["metric"] == "kl"])
    return kl.groupby("name", sort=False)["value"].mean().rename("kl").reset_index()


def cost_table(stage: Stage) -> pd.DataFrame:
    """Seconds, FLOPs and labels of all a method needs beyond the base model.

    Means over seeds; reward models at the largest number of pairs. Columns: name,
    HH pairs, code pairs, seconds, teraFLOPs.
    """
    code_pairs = len(pd.read_parquet(stage.input("02_code_pairs") / "pairs.parquet"))
    rows = []
    for name, steps in LINEAGE.items():
        jobs = [job_costs(stage, *step) for step in steps]
        if any(job.empty for job in jobs):
            continue
        total = sum(job.set_index("metric")["value"] for job in jobs)
        labels = max(job["pairs"].max() for job in jobs if job["pairs"].notna().any())
        rows.append(
            {
                "name": name,
                "HH pairs": int(labels),
                "code pairs": code_pairs if CODE[-1] in steps else 0,
                "seconds": total["seconds"],
                "teraFLOPs": total["train_flops"] / 1e12,
            }
        )
    return pd.DataFrame(rows)


def job_costs(stage: Stage, source: str, method: str, init: str) -> pd.DataFrame:
    """Mean over seeds of one kind of job's seconds and FLOPs: metric, pairs, value."""
    records = stage.records(source)
    records = records[records["metric"].isin(["seconds", "train_flops"])]
    records = records[(records["method"] == method) & (records["init"] == init)]
    if records["pairs"].notna().any():
        records = records[records["pairs"] == records["pairs"].max()]
    means = records.groupby("metric").agg({"value": "mean", "pairs": "max"})
    return means.reset_index()


def findings(
    gains: pd.DataFrame,
    scores: pd.DataFrame,
    margins: pd.DataFrame,
    cost: pd.DataFrame,
) -> dict[str, object]:
    """The values of `ANSWER`, over both subsets; a method that was not run says so."""
    rewards = compare.difference_table(scores, CONTRASTS, subsets=False)
    rewards = rewards.set_index("name")["interval"]
    gains = gains[
        (gains["subset"] == "both") & (gains["pairs"] == gains["pairs"].max())
    ]
    accuracy = compare.accuracy_table(margins, by=["name"], subsets=False)
    accuracy = accuracy.set_index("name")["interval"]
    seconds = cost.set_index("name")["seconds"]
    none = "(not run)"
    found = {
        "pairs": int(gains["pairs"].max()),
        "codepmp_gain": gains.set_index("init")["interval"].get("codepmp", none),
        "ppo_codepmp_gain": rewards.get("ppo (codepmp) − ppo (base)", none),
        "dpo_over_sft": rewards.get("sft_dpo − sft", none),
        "ppo_over_sft": rewards.get("ppo (base) − sft", none),
        "ppo_over_dpo": rewards.get("ppo (base) − sft_dpo", none),
        "rm_accuracy": accuracy.get("rm (base)", none),
        "dpo_accuracy": accuracy.get("sft_dpo implicit", none),
        "words_accuracy": accuracy.get("bag of words", none),
    }
    for name, key in (("dpo", "sft_dpo"), ("ppo", "ppo (base)")):
        found[f"{name}_seconds"] = round_seconds(seconds.get(key, none))
    found["ppo_codepmp_seconds"] = round_seconds(seconds.get("ppo (codepmp)", none))
    words = ("it helps", "it hurts")
    found["codepmp_verdict"] = in_words(found["codepmp_gain"], *words)
    found["ppo_codepmp_verdict"] = in_words(found["ppo_codepmp_gain"], *words)
    better = ("PPO is better", "SFT+DPO is better")
    found["ppo_dpo_verdict"] = in_words(found["ppo_over_dpo"], *better)
    return found


def in_words(found: object, positive: str, negative: str) -> str:
    """The verdict of an interval; what is not an interval has none."""
    if isinstance(found, Interval):
        return compare.verdict(found, positive, negative)
    return str(found)


def round_seconds(seconds: object) -> object:
    """Whole seconds: prose needs no more."""
    return round(seconds) if isinstance(seconds, float) else seconds
