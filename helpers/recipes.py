"""One function per kind of model: what a stage's notebook runs over its grid.

Each takes the folder to fill and the run to read from, trains one model, saves it and
returns records. Seeds, initialisations and numbers of pairs are arguments, so a grid of
jobs is all that a notebook has to write down.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers import codepairs, harvesting, models, reference, token_rows, training
from helpers.descriptions import code_documents
from helpers.flops import aside
from helpers.judge import reward_scores
from helpers.methods import FROM_BASE
from helpers.project import job_folder, read_manifest
from helpers.records import example_rows
from helpers.scoring import sequence_logprobs
from helpers.training import Fit

T = TypeVar("T")
FUNCTIONS = "functions.parquet"  # ids of what the base model has read of code
# weights of the reward and the language loss; the paper's method and its two ablations
PREFERENCE_LOSS = {
    "codepmp": (1.0, 1.0),
    "rm_only": (1.0, 0.0),
    "lm_only": (0.0, 1.0),
    "shuffled": (1.0, 1.0),
}


# --- what stages read from each other --------------------------------------------------


def read_pairs(run: Path, *splits: str) -> pd.DataFrame:
    """The pairs of 00_data in the given splits, in their stored order."""
    pairs = pd.read_parquet(run / "00_data" / "pairs.parquet")
    return pairs[pairs["split"].isin(splits)].reset_index(drop=True)


def data_source(run: Path) -> str:
    """What the pairs of a run were read from, as it was given to 00_data."""
    return read_manifest(run, "00_data")["parameters"]["data_source"]


def read_code_pairs(run: Path, *splits: str) -> pd.DataFrame:
    """The pairs of 02_code_pairs in the given splits, in their stored order."""
    pairs = pd.read_parquet(run / "02_code_pairs" / "pairs.parquet")
    return pairs[pairs["split"].isin(splits)].reset_index(drop=True)


def code_read(run: Path) -> set[str]:
    """Ids of the functions that the base model of 01 was trained on.

    None are known of a model that is not trained here.
    """
    path = base_folder(run) / FUNCTIONS
    return set(pd.read_parquet(path)["id"]) if path.exists() else set()


def draw(pairs: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """The first `count` of a seeded shuffle: a smaller draw is a part of a larger one."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    return pairs.iloc[order[:count]]


def both_sides(
    score: Callable[[list[str], list[str]], T], pairs: pd.DataFrame
) -> list[T]:
    """What `score(prompts, replies)` says of the chosen and of the rejected replies."""
    prompts, count = pairs["prompt"].tolist(), len(pairs)
    # in one call, so that both replies to a prompt can be read together
    both = score(prompts * 2, [*pairs["chosen"], *pairs["rejected"]])
    return [both[:count], both[count:]]


def base_folder(run: Path) -> Path:
    """Where the base model of 01 lies: its only job."""
    return job_folder(run, "01_base_model")


def start_folder(run: Path, init: str, seed: int) -> Path:
    """The weights a reward model starts from: the base model, or a pretraining of 03."""
    if init == "base":
        return base_folder(run)
    return job_folder(run, "03_codepmp", init=init, seed=seed)


def reference_folder(run: Path, method: str, seed: int) -> Path:
    """The policy a method starts from and is held near: base or SFT."""
    if method in FROM_BASE:
        return base_folder(run)
    return job_folder(run, "05_sft", seed=seed)


# --- language models -------------------------------------------------------------------


def base_model(
    out: Path,
    *,
    run: Path,
    seed: int,
    shape: dict,
    vocab_size: int,
    code: int,
    fit: Fit,
) -> list[dict]:
    """A tokenizer and a small OPT, trained on dialogues (both replies) and on code."""
    pairs = read_pairs(run, "train", "judge")
    functions = harvesting.harvest(limit=code, seed=seed)
    documents = list(code_documents(functions))
    documents += zip(pairs["prompt"], pairs["chosen"])
    documents += zip(pairs["prompt"], pairs["rejected"])
    tokenizer = models.build_tokenizer(map("".join, documents), vocab_size)
    model = models.build_opt(tokenizer, seed=seed, **shape)
    prompts, replies = map(list, zip(*documents))
    fit = replace(fit, seed=seed)
    rows = fit_replies(model, tokenizer, prompts, replies, fit, out, whole=True)
    functions[["id"]].to_parquet(out / FUNCTIONS)
    return [*rows, {"metric": "parameters", "value": models.size(model)}]


def pretrained_model(out: Path, *, source: str, seed: int) -> list[dict]:
    """A base model that is not trained here: a folder's or the hub's, as it comes."""
    tokenizer, model = models.load_tokenizer(source), models.load_policy(source)
    models.save(model, tokenizer, out)
    return [{"metric": "parameters", "value": models.size(model)}]


def sft(
    out: Path, *, run: Path, method: str, pairs: int, seed: int, fit: Fit
) -> list[dict]:
    """Supervised fine-tuning of the base model on chosen replies; method: `sft`.

    Also says how well held-out replies are predicted, before (step 0) and afterwards.
    """
    data, test = draw(read_pairs(run, "train"), pairs, seed), read_pairs(run, "test")
    start, fit = base_folder(run), replace(fit, seed=seed)
    model, tokenizer = models.load_policy(start), models.load_tokenizer(start)
    prompts, replies = data["prompt"].tolist(), data["chosen"].tolist()
    before = held_out(model, tokenizer, test, fit.max_length, step=0)
    rows = fit_replies(model, tokenizer, prompts, replies, fit, out)
    last = max(row.get("step", 0) for row in rows)
    return [*before, *rows, *held_out(model, tokenizer, test, fit.max_length, last)]


@aside()
def held_out(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: pd.DataFrame,
    max_length: int,
    step: int,
) -> list[dict]:
    """Cross-entropy of both replies, in nats per token, by subset."""
    score = partial(sequence_logprobs, model, tokenizer, max_length=max_length)
    rows = []
    for side, found in zip(reference.SIDES, both_sides(score, pairs)):
        nats = pd.DataFrame(
            {"sum": [-s.sum() for s in found], "n": list(map(len, found))}
        )
        totals = nats.groupby(pairs["subset"].to_numpy()).sum()
        for subset, value in (totals["sum"] / totals["n"]).items():
            where = {"metric": f"heldout_{side}", "subset": subset, "step": step}
            rows.append({**where, "value": value})
    return rows


def fit_replies(
    model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    replies: list[str],
    fit: Fit,
    out: Path,
    whole: bool = False,
) -> list[dict]:
    """Train a language model on replies (or on whole documents), save it, return its log."""
    data = token_rows.reply_dataset(prompts, replies, tokenizer, fit.max_length, whole)
    rows = training.fit_language_model(model, tokenizer, data, fit, out)
    models.save(model, tokenizer, out)
    return rows


# --- preference models and reward models -----------------------------------------------


def preference_model(
    out: Path, *, run: Path, init: str, seed: int, fit: Fit
) -> list[dict]:
    """CodePMP on the code pairs of 02, or one of its controls, from the base model.

    Scores every held-out pair at the end.
    """
    pairs = read_code_pairs(run, "train")
    if init == "shuffled":
        pairs = codepairs.shuffle_labels(pairs, seed)
    start, fit, counts = base_folder(run), replace(fit, seed=seed), Counter()
    tokenizer = models.load_tokenizer(start)
    scorer = models.load_scorer(start, seed)
    data = token_rows.pair_dataset(pairs, tokenizer, fit.max_length, counts)
    head = models.load_policy(start).get_output_embeddings()
    rm_coef, lm_coef = PREFERENCE_LOSS[init]
    rows = training.fit_preference_model(
        scorer, head, tokenizer, data, fit, out, rm_coef=rm_coef, lm_coef=lm_coef
    )
    models.save(scorer, tokenizer, out)
    test = read_code_pairs(run, "test").assign(subset=codepairs.SUBSET)
    rows += token_rows.cut_rows(counts)
    return rows + held_out_margins(scorer, tokenizer, test, fit.max_length)


def reward_model(
    out: Path, *, run: Path, method: str, init: str, pairs: int, seed: int, fit: Fit
) -> list[dict]:
    """A Bradley-Terry reward model on HH pairs; scores every held-out pair."""
    data, start = (
        draw(read_pairs(run, "train"), pairs, seed),
        start_folder(run, init, seed),
    )
    tokenizer, scorer = models.load_tokenizer(start), models.load_scorer(start, seed)
    return fit_scorer(scorer, tokenizer, data, replace(fit, seed=seed), run, out)


def judge(
    out: Path, *, run: Path, method: str, pairs: int, seed: int, start: str, fit: Fit
) -> list[dict]:
    """A reward model that judges replies, from nothing that is compared.

    It learns from a fold of the pairs that are set aside for judges, the seed-th of
    folds of `pairs`, and starts from `start`, a folder or a hub name; if that is "",
    from random weights in the shape of 01's small model. method: `judge`.
    """
    if start:
        scorer = models.load_scorer(start, seed)
        tokenizer = models.load_tokenizer(start)
    else:
        tokenizer = models.load_tokenizer(base_folder(run))
        given = read_manifest(run, "01_base_model")["parameters"]
        shape = {name: given[name] for name in ("hidden", "layers", "heads")}
        shape["max_positions"] = max(given["max_length"], fit.max_length)
        scorer = models.new_scorer(tokenizer, shape, seed)
    return fit_scorer(
        scorer, tokenizer, fold(run, seed, pairs), replace(fit, seed=seed), run, out
    )


def fold(run: Path, number: int, size: int) -> pd.DataFrame:
    """One fold of the pairs set aside for judges; folds of a size share no pair."""
    pairs = read_pairs(run, "judge")
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
    dataset = token_rows.pair_dataset(data, tokenizer, fit.max_length, counts)
    rows = training.fit_reward_model(scorer, tokenizer, dataset, fit, out)
    models.save(scorer, tokenizer, out)
    test = read_pairs(run, "test")
    rows += token_rows.cut_rows(counts)
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
    token_rows.pair_dataset(test, tokenizer, max_length, counts)
    cut = float(counts[token_rows.CUT])
    row = {"metric": f"test_{token_rows.CUT}", "value": cut}
    return [row, *example_rows(test, "margin", chosen - rejected)]
