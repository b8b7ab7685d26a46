"""How every policy is examined: the same prompts, the same judges, the same pairs.

`evaluate` is the job of stage 08; around it, the list of policies that a run holds, the
judges that may score them, and the margins that turn policies into scorers of pairs.
"""

from functools import cache, partial
from pathlib import Path

import pandas as pd

from helpers import compare, metrics, models
from helpers.generate import Reply, generate
from helpers.judge import (
    Judge,
    PairTextJudge,
    RewardModelJudge,
    TrueReward,
    median_thresholds,
)
from helpers.project import job_folder, read_manifest
from helpers.recipes import OFFLINE, base_folder, both_sides, draw, read_pairs
from helpers.records import example_rows
from helpers.runs import Stage
from helpers.scoring import sequence_logprobs

DECODINGS = {"greedy": 0.0, "sampled": 1.0}  # name -> temperature
ONLINE = ("ppo", "rloo", "grpo")
STAGE_OF = {"sft": "05_sft", **dict.fromkeys(OFFLINE, "06_dpo")}
# whose log-probability a policy's implicit reward is measured from
REFERENCE_OF = dict.fromkeys((*OFFLINE, *ONLINE), "sft") | {"dpo": "base"}


def policies(run: Path) -> list[dict]:
    """Every policy that the run's finished stages hold, as a grid of jobs."""
    tuned = read_manifest(run, "06_dpo")["parameters"]
    online = read_manifest(run, "07_ppo")["parameters"]
    seeds = range(read_manifest(run, "05_sft")["parameters"]["seeds"])
    kinds = [("base", ""), ("sft", "")]
    kinds += [(method, "") for method in tuned["methods"]]
    kinds += [
        (method, init)
        for method in online["methods"]
        for init in (online["inits"] if method == "ppo" else ["base"])
    ]
    return [
        {"method": method, "init": init, "seed": seed}
        for method, init in kinds
        for seed in seeds
    ]


def policy_folder(run: Path, method: str, init: str, seed: int) -> Path:
    """Where a policy's weights lie."""
    if method == "base":
        return base_folder(run)
    job = {"method": method, "seed": seed}
    if method in ONLINE:
        return job_folder(run, "07_ppo", init=init, **job)
    pairs = read_manifest(run, STAGE_OF[method])["parameters"]["pairs"]
    return job_folder(run, STAGE_OF[method], pairs=pairs, **job)


@cache  # by every worker: once
def judges(run: Path, further: str = "") -> list[Judge]:
    """Who scores replies: the truth where it is known, the held-out RM, one more."""
    source = read_manifest(run, "00_data")["parameters"]["data_source"]
    found: list[Judge] = [TrueReward()] if source == "built-in" else []
    held_out = job_folder(run, "04_reward_model", method="judge", init="base", seed=0)
    length = read_manifest(run, "04_reward_model")["parameters"]["max_length"]
    found.append(RewardModelJudge(held_out, max_length=length))
    if further:
        found.append(PairTextJudge(further))
    return found


def asked(run: Path, count: int) -> pd.DataFrame:
    """The test pairs whose prompts all policies answer: `count`, half per subset."""
    test = read_pairs(run, "test")
    parts = [draw(part, count // 2, seed=0) for _, part in test.groupby("subset")]
    return pd.concat(parts)


def evaluate(
    out: Path,
    *,
    run: Path,
    method: str,
    init: str,
    seed: int,
    judge_model: str,
    prompts: int,
    max_new_tokens: int,
    max_length: int,
) -> list[dict]:
    """Replies of one policy, scored by every judge; its likelihood of the test pairs."""
    folder = policy_folder(run, method, init, seed)
    policy, tokenizer = models.load_policy(folder), models.load_tokenizer(folder)
    pairs = asked(run, prompts)
    lengths = {
        "max_new_tokens": max_new_tokens,
        "max_prompt_tokens": max_length - max_new_tokens,
    }
    rows, written = [], []
    for decoding, temperature in DECODINGS.items():
        replies = generate(
            policy,
            tokenizer,
            pairs["prompt"].tolist(),
            temperature=temperature,
            seed=seed,
            **lengths,
        )
        rows += reply_rows(pairs, replies, judges(run, judge_model), decoding)
        texts = [reply.text for reply in replies]
        written.append(
            pairs[["id", "subset", "prompt"]].assign(reply=texts, decoding=decoding)
        )
    reference = models.load_policy(policy_folder(run, "sft", "", seed))
    rows += kl_rows(policy, reference, tokenizer, pairs, replies, max_length)
    pd.concat(written).to_parquet(out / "replies.parquet")
    return rows + likelihood_rows(
        policy, tokenizer, read_pairs(run, "test"), max_length
    )


def reply_rows(
    pairs: pd.DataFrame, replies: list[Reply], judges: list[Judge], decoding: str
) -> list[dict]:
    """What the judges say of the replies, their length, and whether they end."""
    texts = [reply.text for reply in replies]
    rows = example_rows(pairs, f"length:{decoding}", [len(text) for text in texts])
    rows += example_rows(pairs, f"ended:{decoding}", [reply.ended for reply in replies])
    for judge in judges:
        scores = judge.score(pairs["prompt"].tolist(), texts)
        rows += example_rows(pairs, f"reward:{judge.name}:{decoding}", scores)
    return rows


def kl_rows(
    policy,
    reference,
    tokenizer,
    pairs: pd.DataFrame,
    replies: list[Reply],
    max_length: int,
) -> list[dict]:
    """KL of the policy from the reference on its own samples, nats a reply (k3)."""
    texts = [reply.text for reply in replies]
    prompts = pairs["prompt"].tolist()
    own, other = (
        sequence_logprobs(model, tokenizer, prompts, texts, max_length=max_length)
        for model in (policy, reference)
    )
    return example_rows(pairs, "kl", metrics.sequence_kl(own, other))


def likelihood_rows(
    policy, tokenizer, test: pd.DataFrame, max_length: int
) -> list[dict]:
    """Log-probability of both replies of every test pair, and its mean per token."""
    score = partial(sequence_logprobs, policy, tokenizer, max_length=max_length)
    rows = []
    for side, scores in zip(("chosen", "rejected"), both_sides(score, test)):
        rows += example_rows(test, f"logprob:{side}", [score.sum() for score in scores])
        rows += example_rows(
            test, f"logprob_mean:{side}", [score.mean() for score in scores]
        )
    return rows


# --- policies as scorers ---------------------------------------------------------------


def scorer_margins(run: Path, records: pd.DataFrame) -> pd.DataFrame:
    """The margin of every scorer on every test pair, as records called by method, init.

    Reward models and the judge as trained with all pairs, implicit rewards of policies,
    likelihood under SFT (sum and mean), the rules of 00, the truth where it is known.
    """
    rewards = pd.read_parquet(run / "04_reward_model" / "records.parquet")
    rewards = rewards[rewards["metric"] == "margin"]
    largest = rewards[rewards["method"] == "rm"]["pairs"].max()
    rewards = rewards[(rewards["method"] == "judge") | (rewards["pairs"] == largest)]
    rules = pd.read_parquet(run / "00_data" / "records.parquet")
    rules = rules[rules["metric"] == "margin"]
    parts = [rewards, rules, *policy_margins(records), true_margins(run)]
    columns = ["method", "init", "seed", "subset", "example", "metric", "value"]
    return pd.concat([part[columns] for part in parts if len(part)], ignore_index=True)


def policy_margins(records: pd.DataFrame) -> list[pd.DataFrame]:
    """Implicit-reward margins of tuned policies; likelihood margins of the SFT policy."""
    sums, means = gaps(records, "logprob"), gaps(records, "logprob_mean")
    parts = [
        sums[sums["method"] == "sft"].assign(method="sft log-prob"),
        means[means["method"] == "sft"].assign(method="sft log-prob, mean"),
    ]
    keys = ["seed", "subset", "example"]
    for method, reference in REFERENCE_OF.items():
        own = sums[sums["method"] == method]
        base = sums[sums["method"] == reference].set_index(keys)["value"]
        values = own["value"] - base.loc[own.set_index(keys).index].to_numpy()
        parts.append(own.assign(value=values, method=f"{method} implicit"))
    return parts


def gaps(records: pd.DataFrame, name: str) -> pd.DataFrame:
    """Log-probability of the chosen minus that of the rejected reply, per policy."""
    keys = ["method", "init", "seed", "subset", "example"]
    sides = [
        records[records["metric"] == f"{name}:{side}"].set_index(keys)["value"]
        for side in ("chosen", "rejected")
    ]
    return (sides[0] - sides[1]).reset_index().assign(metric="margin")


def true_margins(run: Path) -> pd.DataFrame:
    """Margins of the true reward; empty where the data are not the built-in corpus."""
    if read_manifest(run, "00_data")["parameters"]["data_source"] != "built-in":
        return pd.DataFrame()
    test = read_pairs(run, "test")
    chosen, rejected = both_sides(TrueReward().score, test)
    return pd.DataFrame(example_rows(test, "margin", chosen - rejected)).assign(
        method="truth", init="", seed=0
    )


# --- replies and thresholds --------------------------------------------------------------


def read_replies(
    stage: Stage, grid: list[dict], seed: int, decoding: str
) -> pd.DataFrame:
    """The replies of all policies of one seed: columns name, id, subset, prompt, reply."""
    parts = []
    for job in grid:
        if job["seed"] == seed:
            replies = pd.read_parquet(stage.job(stage.name, **job) / "replies.parquet")
            name = compare.name_of(job["method"], job["init"])
            parts.append(replies[replies["decoding"] == decoding].assign(name=name))
    return pd.concat(parts, ignore_index=True)


def study_rates(run: Path, records: pd.DataFrame, judges: list[Judge]) -> pd.DataFrame:
    """HmR, HpR and CAS of the greedy replies, per policy, seed and judge, in percent."""
    test = read_pairs(run, "test")
    rows = []
    for judge in judges:
        limits = judge.thresholds or median_thresholds(judge, test)
        scores = records[records["metric"] == f"reward:{judge.name}:greedy"]
        for key, part in scores.groupby(["method", "init", "seed"]):
            sides = {name: group["value"] for name, group in part.groupby("subset")}
            rates = metrics.hmr_hpr_cas(sides["harmless"], sides["helpful"], limits)
            common = dict(zip(("method", "init", "seed"), key))
            rows += [
                {**common, "metric": f"{rate}:{judge.name}", "value": value}
                for rate, value in rates.items()
            ]
    return pd.DataFrame(rows)
