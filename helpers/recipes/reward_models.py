"""What 03 and 04 train: preference models on code, reward models on HH, judges."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers.core.flops import aside
from helpers.core.records import example_rows
from helpers.data.code import code_pairs
from helpers.data.drawing import both_sides, draw
from helpers.models import loading
from helpers.rewards.judges import reward_scores
from helpers.runs import store
from helpers.trainers import datasets, training
from helpers.trainers.training import Fit

# weights of the reward and the language loss; the paper's method and its two ablations
PREFERENCE_LOSS = {
    "codepmp": (1.0, 1.0),
    "rm_only": (1.0, 0.0),
    "lm_only": (0.0, 1.0),
    "shuffled": (1.0, 1.0),
}


def preference_model(
    out: Path, *, run: Path, init: str, seed: int, fit: Fit
) -> list[dict]:
    """CodePMP on the code pairs of 02, or one of its controls, from the base model.

    Scores every held-out pair at the end.
    """
    pairs = store.read_code_pairs(run, "train")
    if init == "shuffled":
        pairs = code_pairs.shuffle_labels(pairs, seed)
    start, fit, counts = store.base_folder(run), replace(fit, seed=seed), Counter()
    tokenizer = loading.load_tokenizer(start)
    scorer = loading.load_scorer(start, seed)
    data = datasets.pair_dataset(pairs, tokenizer, fit.max_length, counts)
    head = loading.load_policy(start).get_output_embeddings()
    rm_coef, lm_coef = PREFERENCE_LOSS[init]
    rows = training.fit_preference_model(
        scorer, head, tokenizer, data, fit, out, rm_coef=rm_coef, lm_coef=lm_coef
    )
    loading.save(scorer, tokenizer, out)
    test = store.read_code_pairs(run, "test").assign(subset=code_pairs.SUBSET)
    rows += datasets.cut_rows(counts)
    return rows + held_out_margins(scorer, tokenizer, test, fit.max_length)


def reward_model(
    out: Path, *, run: Path, method: str, init: str, pairs: int, seed: int, fit: Fit
) -> list[dict]:
    """A Bradley-Terry reward model on HH pairs; scores every held-out pair.

    method: `rm`, or `rm_helpful` and `rm_harmless`, which see pairs of that subset alone.
    """
    there, start = store.read_pairs(run, "train"), store.start_folder(run, init, seed)
    if subset := method.removeprefix("rm").removeprefix("_"):
        there = there[there["subset"] == subset]
    data = draw(there, pairs, seed)
    tokenizer, scorer = loading.load_tokenizer(start), loading.load_scorer(start, seed)
    return fit_scorer(scorer, tokenizer, data, replace(fit, seed=seed), run, out)


def judge(
    out: Path,
    *,
    run: Path,
    method: str,
    pairs: int,
    seed: int,
    starts: Sequence[str],
    fit: Fit,
) -> list[dict]:
    """A reward model that judges replies, from nothing that is compared.

    It learns from a fold of the pairs that are set aside for judges, the seed-th of
    folds of `pairs`. starts: folders or hub names, which judges take in turn; without
    one, random weights in the shape of 01's small model. method: `judge`.
    """
    if start := start_of(starts, seed):
        scorer = loading.load_scorer(start, seed)
        tokenizer = loading.load_tokenizer(start)
    else:
        tokenizer = loading.load_tokenizer(store.base_folder(run))
        names = ("hidden", "layers", "heads", "max_length")
        shape = {name: store.parameter(run, "01_base_model", name) for name in names}
        shape["max_positions"] = max(shape.pop("max_length"), fit.max_length)
        scorer = loading.new_scorer(tokenizer, shape, seed)
    return fit_scorer(
        scorer, tokenizer, fold(run, seed, pairs), replace(fit, seed=seed), run, out
    )


def start_of(starts: Sequence[str], seed: int) -> str:
    """What a judge starts from: judges take turns; "" where it is random weights."""
    return starts[seed % len(starts)] if starts else ""


def fold(run: Path, number: int, size: int) -> pd.DataFrame:
    """One fold of the pairs set aside for judges; folds of a size share no pair."""
    pairs = store.read_pairs(run, "judge")
    return draw(pairs, len(pairs), seed=0).iloc[number * size : (number + 1) * size]


def fit_scorer(
    scorer: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: pd.DataFrame,
    fit: Fit,
    run: Path,
    out: Path,
) -> list[dict]:
    """Train a scorer on pairs, save it, and let it score every held-out pair."""
    counts = Counter()
    dataset = datasets.pair_dataset(data, tokenizer, fit.max_length, counts)
    rows = training.fit_reward_model(scorer, tokenizer, dataset, fit, out)
    loading.save(scorer, tokenizer, out)
    test = store.read_pairs(run, "test")
    rows += datasets.cut_rows(counts)
    return rows + held_out_margins(scorer, tokenizer, test, fit.max_length)


def held_out_margins(
    scorer: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    test: pd.DataFrame,
    max_length: int,
) -> list[dict]:
    """The margin of every held-out pair, and how many replies lose their end to the cut."""
    score = partial(reward_scores, scorer, tokenizer, max_length=max_length)
    with aside():
        chosen, rejected = both_sides(score, test)
    counts: Counter[str] = Counter()
    datasets.pair_dataset(test, tokenizer, max_length, counts)
    cut = float(counts[datasets.CUT])
    row = {"metric": f"test_{datasets.CUT}", "value": cut}
    return [row, *example_rows(test, "margin", chosen - rejected)]
