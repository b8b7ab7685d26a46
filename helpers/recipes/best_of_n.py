"""Best-of-N: a reward model chooses among replies of the SFT policy; nothing is trained.

Of M sampled replies to a prompt, the expected score of the best of N that a reward model
would choose is computed over all subsets of N at once (Nakano et al. 2021,
arXiv:2112.09332, appendix), which is steadier than drawing one subset.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import gammaln

from helpers.core.flops import Spent, metered
from helpers.core.records import example_rows
from helpers.models import loading
from helpers.models.encoding import prompt_room, reply_room
from helpers.models.generation import generate
from helpers.recipes.evaluate import asked
from helpers.recipes.judging import judges, proxies
from helpers.runs import store


def selection_weights(scores: np.ndarray, count: int) -> np.ndarray:
    """Chance of each of M replies to be the best of a random `count`; scores, result (M,).

    The reply of rank i, from the lowest, wins in (i - 1 over count - 1) of the (M over
    count) subsets. Ties are broken by place. Raises ValueError unless 1 <= count <= M.
    """
    replies = len(scores)
    if not 1 <= count <= replies:
        raise ValueError(f"best of {count}: expected 1 to {replies} replies")
    ranks = np.argsort(np.argsort(scores, kind="stable")) + 1.0
    logs = np.full(replies, -np.inf)
    able = ranks >= count
    logs[able] = log_binomial(ranks[able] - 1, count - 1)
    return np.exp(logs - log_binomial(replies, count))


def log_binomial(n: np.ndarray | float, k: float) -> np.ndarray | float:
    """log of n over k."""
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def kl_bound(count: int) -> float:
    """KL of best-of-N from the policy sampled, in nats: log N - (N - 1) / N.

    Exact where no two replies are alike, else an upper bound (Beirami et al. 2024,
    arXiv:2401.01879).
    """
    return math.log(count) - (count - 1) / count


def best_of_n(
    out: Path,
    *,
    run: Path,
    method: str,
    seed: int,
    counts: Sequence[int],
    judge_model: str,
    prompts: int,
    max_new_tokens: int,
    max_length: int,
) -> list[dict]:
    """Best of each of `counts` of the SFT policy's replies, by every reward model.

    method: `best_of_n`. init says which reward model chose, `random` that none did. To
    choose costs what it takes to sample N replies to every prompt and to score them.
    """
    folder = store.policy_folder(run, "sft", seed=seed)
    pairs, copies = asked(run, prompts), max(counts)
    texts = [text for text in pairs["prompt"] for _ in range(copies)]
    policy, tokenizer = loading.load_policy(folder), loading.load_tokenizer(folder)
    with metered() as sampling:
        replies = generate(
            policy,
            tokenizer,
            texts,
            temperature=1.0,
            seed=seed,
            max_new_tokens=max_new_tokens,
            max_prompt_tokens=prompt_room(max_length, max_new_tokens),
        )
    written, room = [reply.text for reply in replies], reply_room(max_new_tokens)
    chooser, costs = {}, []
    for init, each in proxies(run, seed, room).items():
        with metered() as scoring:
            chooser[init] = each.score(texts, written)
        costs += choosing_rows(init, counts, sampling, scoring)
    measured = {
        ("length", ""): np.array([len(text) for text in written]),
        ("ended", ""): np.array([reply.ended for reply in replies]),
        **{("proxy", init): scores for init, scores in chooser.items()},
    }
    for judge in judges(run, judge_model, room):
        measured["reward", judge.name] = judge.score(texts, written)
    choices = [(init, count, count) for init in chooser for count in counts]
    choices.append(("random", copies, 1))  # of all copies one, whatever its score
    chooser["random"] = np.zeros(len(texts))
    rows = [
        {**row, "init": init, "strength": float(strength)}
        for init, strength, count in choices
        for row in expected_rows(pairs, measured, chooser[init], count)
    ]
    return rows + costs


def choosing_rows(
    init: str, counts: Sequence[int], sampling: Spent, scoring: Spent
) -> list[dict]:
    """What it costs to sample and score N replies to every prompt, for each N.

    sampling and scoring are of the largest N; fewer replies cost their share.
    """
    rows = []
    for count in counts:
        share = count / max(counts)
        flops, seconds = (
            share * (getattr(sampling, name) + getattr(scoring, name))
            for name in ("flops", "cpu_seconds")
        )
        own = {"init": init, "strength": float(count)}
        rows += [{**row, **own} for row in Spent(flops, 0, seconds).rows()]
    return rows


def expected_rows(
    pairs: pd.DataFrame,
    measured: dict[tuple[str, str], np.ndarray],
    scores: np.ndarray,
    count: int,
) -> list[dict]:
    """What was measured of all replies, expected of the best of `count` by `scores`.

    Decoding is `sampled`; `drawn` is that of one reply, by its chance to be the best.
    measured: arrays (prompts * M,), the M replies to a prompt side by side, by metric
    and judge.
    """
    groups = scores.reshape(len(pairs), -1)
    weights = np.array([selection_weights(group, count) for group in groups])
    rows = example_rows(pairs, "kl", np.full(len(pairs), kl_bound(count)))
    one = np.arange(len(pairs)), drawn(weights)
    for (metric, judge), values in measured.items():
        values = values.reshape(weights.shape)
        means = (weights * values).sum(1)
        for decoding, found in (("sampled", means), ("drawn", values[one])):
            how = {"judge": judge, "decoding": decoding}
            rows += example_rows(pairs, metric, found, **how)
    return rows


def drawn(weights: np.ndarray) -> np.ndarray:
    """One reply of each row, drawn by its weights (prompts, M); (prompts,)."""
    places = np.random.default_rng(0).random((len(weights), 1))
    found = (weights.cumsum(axis=1) <= places).sum(axis=1)
    return np.minimum(found, weights.shape[1] - 1)  # where the weights round below 1


def single_replies(records: pd.DataFrame) -> pd.DataFrame:
    """Records with best-of-N's one drawn reply in place of what is expected of it.

    A win is of one reply over another: an expected score would hide how replies vary.
    """
    one = records["decoding"] == "drawn"
    part = records[one | (records["method"] != "best_of_n")]
    return part.assign(decoding=part["decoding"].replace("drawn", "sampled"))
