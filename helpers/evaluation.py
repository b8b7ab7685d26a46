"""How every policy is examined: the same prompts, the same judges, the same pairs.

`evaluate` is the job of stage 08; around it, the list of policies that a run holds and
the judges that may score them.
"""

from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import compare, metrics, models
from helpers.encoding import prompt_room, reply_room
from helpers.generate import generate
from helpers.hh import BUILT_IN
from helpers.hub import plain_name
from helpers.jobs import finished_jobs
from helpers.judge import (
    Judge,
    PairTextJudge,
    RewardModelJudge,
    TrueReward,
    WordsJudge,
)
from helpers.methods import FROM_BASE, OFFLINE, ONLINE, PARTS, POLICIES, name_of
from helpers.project import job_folder, read_manifest
from helpers.recipes import (
    base_folder,
    both_sides,
    data_source,
    draw,
    read_pairs,
)
from helpers.records import example_rows, select
from helpers.runs import Stage
from helpers.scoring import exact_kl, sequence_logprobs

DECODINGS = {"greedy": 0.0, "sampled": 1.0}  # name -> temperature
STAGE_OF = {"sft": "05_sft", **dict.fromkeys(OFFLINE, "06_dpo")}
STAGE_OF |= dict.fromkeys((*ONLINE, *PARTS), "07_ppo")
# whose log-probability a policy's implicit reward is measured from; not of PPO's variants,
# which are examined by their replies and are not in the comparison of 09
REFERENCE_OF = {
    method: "base" if method in FROM_BASE else "sft" for method in (*OFFLINE, *ONLINE)
}


# --- what there is to examine ------------------------------------------------------------


def policies(run: Path) -> list[dict]:
    """Every policy that the run's finished stages hold, as a grid of jobs.

    A job is what told the policy apart when it was trained: method and seed, and as far
    as it has them init, pairs and strength.
    """
    seeds = read_manifest(run, "05_sft")["parameters"]["seeds"]
    found = [{"method": "base", "seed": seed} for seed in range(seeds)]
    for method in POLICIES:
        trained = finished_jobs(run / STAGE_OF[method] / "jobs")
        found += [job for job, _ in trained if job["method"] == method]
    return found


def policy_folder(run: Path, method: str, **job: object) -> Path:
    """Where a policy's weights lie."""
    if method == "base":
        return base_folder(run)
    return job_folder(run, STAGE_OF[method], method=method, **job)


def strengths(run: Path) -> dict[str, float]:
    """The strength at which each method is compared; further ones draw its frontier."""
    tuned = read_manifest(run, "06_dpo")["parameters"]
    online = read_manifest(run, "07_ppo")["parameters"]
    found = dict.fromkeys(OFFLINE, tuned["beta"])
    found |= {"ipo": tuned["tau"], "dpo_norm": tuned["norm_beta"]}
    return found | dict.fromkeys((*ONLINE, *PARTS), online["kl_coef"])


def whole(records: pd.DataFrame) -> pd.DataFrame:
    """The records without those of PPO's variants: what 09 compares."""
    return records[~records["method"].isin(PARTS)]


def compared(records: pd.DataFrame, strengths: dict[str, float]) -> pd.DataFrame:
    """The records of policies at the strength at which they are compared.

    It is the largest where `strengths` names none: best-of-N is compared at its largest N.
    """
    largest = records.groupby("method")["strength"].transform("max")
    wanted = records["method"].map(strengths).fillna(largest)
    return records[wanted.isna() | (records["strength"] == wanted)]


def compared_jobs(run: Path, grid: list[dict]) -> list[dict]:
    """The jobs of a grid of policies at the strength at which they are compared."""
    main = strengths(run)
    return [job for job in grid if job.get("strength") == main.get(job["method"])]


def labels(run: Path) -> int:
    """Number of pairs that the reward models with most of them have learned from."""
    trained = finished_jobs(run / "04_reward_model" / "jobs")
    return max(job["pairs"] for job, _ in trained if job["method"] == "rm")


def reward_folder(run: Path, init: str, seed: int) -> Path:
    """The weights of the reward model of a start and a seed with the most pairs."""
    job = {"method": "rm", "init": init, "pairs": labels(run), "seed": seed}
    return job_folder(run, "04_reward_model", **job)


# --- judges ------------------------------------------------------------------------------


def proxies(run: Path, seed: int, room: int = 0) -> dict[str, Judge]:
    """The reward models of a seed that policies are trained against, by their start.

    room: tokens that they keep free for any reply, as for `judges`.
    """
    inits = read_manifest(run, "07_ppo")["parameters"]["inits"]
    length = read_manifest(run, "04_reward_model")["parameters"]["max_length"]
    return {
        init: RewardModelJudge(
            reward_folder(run, init, seed), max_length=length, room=room
        )
        for init in inits
    }


@cache  # by every worker: once
def judges(run: Path, further: str = "", room: int = 0) -> list[Judge]:
    """Who scores replies: the truth where it is known, held-out models, words, one more.

    room: tokens that a held-out model keeps free for any reply (`RewardModelJudge`).
    """
    found: list[Judge] = [TrueReward()] if data_source(run) == BUILT_IN else []
    length = read_manifest(run, "04_reward_model")["parameters"]["max_length"]
    limits = {"max_length": length, "room": room}
    for name, folder in held_out(run).items():
        found.append(RewardModelJudge(folder, name=name, **limits))
    asked = read_pairs(run, "test", "dev")
    subset_of = dict(zip(asked["prompt"], asked["subset"]))
    found.append(WordsJudge(read_pairs(run, "judge"), subset_of, WORDS))
    if further:
        found.append(PairTextJudge(further))
    return found


WORDS = "words judge"  # a bag of words on the pairs of the held-out models


def held_out(run: Path) -> dict[str, Path]:
    """The held-out reward models by name: `judge 0` and so on, a seed and a fold each."""
    trained = finished_jobs(run / "04_reward_model" / "jobs")
    found = {job["seed"]: folder for job, folder in trained if job["method"] == "judge"}
    return {f"judge {seed}": found[seed] for seed in sorted(found)}


def panel(run: Path) -> list[str]:
    """The judges whose scores decide between policies, by name.

    The truth where it is known; else the judge that was loaded, if one was; else the
    held-out models, which stand for all that might have been trained: a random factor.
    """
    if data_source(run) == BUILT_IN:
        return ["truth"]
    loaded = read_manifest(run, "08_evaluate")["parameters"]["judge_model"]
    return [plain_name(loaded)] if loaded else list(held_out(run))


def asked(run: Path, count: int) -> pd.DataFrame:
    """The test pairs whose prompts all policies answer: `count`, half per subset."""
    test = read_pairs(run, "test")
    parts = [draw(part, count // 2, seed=0) for _, part in test.groupby("subset")]
    return pd.concat(parts)


# --- the job -------------------------------------------------------------------------------


def evaluate(
    out: Path,
    *,
    run: Path,
    seed: int,
    judge_model: str,
    prompts: int,
    max_new_tokens: int,
    max_length: int,
    **job: object,
) -> list[dict]:
    """Replies of one policy, scored by every judge; its likelihood of the test pairs."""
    folder = policy_folder(run, seed=seed, **job)
    policy, tokenizer = models.load_policy(folder), models.load_tokenizer(folder)
    pairs, limit = asked(run, prompts), prompt_room(max_length, max_new_tokens)
    room = reply_room(max_new_tokens)
    scoring = judges(run, judge_model, room)
    rows, written = [], []
    for decoding, temperature in DECODINGS.items():
        replies = generate(
            policy,
            tokenizer,
            pairs["prompt"].tolist(),
            temperature=temperature,
            seed=seed,
            max_new_tokens=max_new_tokens,
            max_prompt_tokens=limit,
        )
        texts = [reply.text for reply in replies]
        rows += reply_rows(pairs, texts, scoring, decoding)
        rows.append(distinct_row(texts, decoding))
        ended = [reply.ended for reply in replies]
        rows += example_rows(pairs, "ended", ended, decoding=decoding)
        written.append(
            pairs[["id", "subset", "prompt"]].assign(reply=texts, decoding=decoding)
        )
    rows += proxy_rows(pairs, texts, proxies(run, seed, room))
    rows.append({"metric": "distinct_2", "value": metrics.distinct(texts)})
    reference = models.load_policy(policy_folder(run, "sft", seed=seed))
    encoded = [(reply.prompt, reply.ids) for reply in replies]
    rows += example_rows(pairs, "kl", exact_kl(policy, reference, encoded))
    pd.concat(written).to_parquet(out / "replies.parquet")
    return rows + likelihood_rows(
        policy, tokenizer, read_pairs(run, "test"), max_length
    )


def reply_rows(
    pairs: pd.DataFrame, texts: list[str], judges: list[Judge], decoding: str
) -> list[dict]:
    """What the judges say of the replies, and how long they are."""
    how = {"decoding": decoding}
    rows = example_rows(pairs, "length", [len(text) for text in texts], **how)
    for judge in judges:
        scores = judge.score(pairs["prompt"].tolist(), texts)
        rows += example_rows(pairs, "reward", scores, judge=judge.name, **how)
    return rows


def distinct_row(texts: list[str], decoding: str) -> dict:
    """Which share of the replies to different prompts differ; a constant one has 1 / n."""
    share = len(set(texts)) / len(texts)
    return {"metric": "distinct_replies", "decoding": decoding, "value": share}


def distinct_replies(records: pd.DataFrame, decoding: str) -> pd.DataFrame:
    """The share of distinct replies of every policy: mean, least and most over seeds."""
    part = select(records, "distinct_replies", decoding=decoding)
    shares = compare.named(part).groupby("name", sort=False)["value"]
    return shares.agg(["mean", "min", "max"])


def proxy_rows(
    pairs: pd.DataFrame, texts: list[str], proxies: dict[str, Judge]
) -> list[dict]:
    """What the reward models that policies learn from say of sampled replies."""
    rows = []
    for init, proxy in proxies.items():
        scores = proxy.score(pairs["prompt"].tolist(), texts)
        rows += example_rows(pairs, "proxy", scores, judge=init, decoding="sampled")
    return rows


def chosen_rows(run: Path, prompts: int, judges: list[Judge]) -> list[dict]:
    """The data's own chosen replies to the same prompts, as a policy called `chosen`."""
    pairs = asked(run, prompts)
    texts = pairs["chosen"].tolist()
    rows = []
    for decoding in DECODINGS:
        rows += reply_rows(pairs, texts, judges, decoding)
        rows.append(distinct_row(texts, decoding))
    return [{**row, "method": "chosen", "seed": 0} for row in rows]


def likelihood_rows(
    policy, tokenizer, test: pd.DataFrame, max_length: int
) -> list[dict]:
    """Log-probability of both replies of every test pair, and its mean per token."""
    score = partial(sequence_logprobs, policy, tokenizer, max_length=max_length)
    rows = []
    for side, scores in zip(("chosen", "rejected"), both_sides(score, test)):
        for metric, of in (("logprob", np.sum), ("logprob_mean", np.mean)):
            rows += example_rows(test, f"{metric}_{side}", map(of, scores))
    return rows


# --- replies -----------------------------------------------------------------------------


def read_replies(
    stage: Stage, grid: list[dict], seed: int, decoding: str
) -> pd.DataFrame:
    """The replies of the compared policies of one seed.

    Columns: name, id, subset, prompt, reply.
    """
    parts = []
    for job in compared_jobs(stage.run, grid):
        if job["seed"] == seed:
            replies = pd.read_parquet(stage.job(stage.name, **job) / "replies.parquet")
            name = name_of(job["method"], job.get("init", ""))
            parts.append(replies[replies["decoding"] == decoding].assign(name=name))
    return pd.concat(parts, ignore_index=True)
