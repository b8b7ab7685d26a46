"""How every policy is examined: the same prompts, the same judges, the same pairs.

`evaluate` is the job of stage 08; around it, the list of policies that a run holds and
the judges that may score them.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core.records import example_rows, select
from helpers.data.drawing import both_sides, draw
from helpers.methods import METHODS, PARTS, SFT, name_of
from helpers.models import loading
from helpers.models.encoding import prompt_room, reply_room
from helpers.models.generation import generate
from helpers.models.scoring import exact_kl, sequence_logprobs
from helpers.recipes.grids import DECODINGS
from helpers.recipes.judging import judges, proxies
from helpers.rewards.judges import (
    Judge,
)
from helpers.runs import store
from helpers.runs.stage import Stage
from helpers.statistics import compare, metrics

# whose log-probability a policy's implicit reward is measured from; not of PPO's variants,
# which are examined by their replies and are not in the comparison of 09
REFERENCE_OF = {
    each.name: each.start for each in METHODS if each.stage != SFT and not each.part
}


def without_parts(records: pd.DataFrame) -> pd.DataFrame:
    """The records without those of PPO's variants: what 09 compares."""
    return records[~records["method"].isin(PARTS)]


def compared(records: pd.DataFrame, strengths: dict[str, float]) -> pd.DataFrame:
    """The records of policies at the strength at which they are compared.

    It is the largest where `strengths` names none: best-of-N is compared at its largest N.
    """
    largest = records.groupby("method")["strength"].transform("max")
    wanted = records["method"].map(strengths).fillna(largest)
    return records[wanted.isna() | (records["strength"] == wanted)]


def asked(run: Path, count: int) -> pd.DataFrame:
    """The test pairs whose prompts all policies answer: `count`, half per subset."""
    test = store.read_pairs(run, "test")
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
    folder = store.policy_folder(run, seed=seed, **job)
    policy, tokenizer = loading.load_policy(folder), loading.load_tokenizer(folder)
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
    reference = loading.load_policy(store.policy_folder(run, "sft", seed=seed))
    encoded = [(reply.prompt, reply.ids) for reply in replies]
    rows += example_rows(pairs, "kl", exact_kl(policy, reference, encoded))
    pd.concat(written).to_parquet(out / "replies.parquet")
    return rows + likelihood_rows(
        policy, tokenizer, store.read_pairs(run, "test"), max_length
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


def shown_replies(
    stage: Stage, grid: list[dict], seed: int, decoding: str
) -> pd.DataFrame:
    """The replies of the compared policies of one seed.

    Columns: name, id, subset, prompt, reply.
    """
    parts = []
    for job in store.compared_jobs(stage.run, grid):
        if job["seed"] == seed:
            replies = pd.read_parquet(stage.job(stage.name, **job) / "replies.parquet")
            name = name_of(job["method"], job.get("init", ""))
            parts.append(replies[replies["decoding"] == decoding].assign(name=name))
    return pd.concat(parts, ignore_index=True)
