"""One function per kind of model: what a stage's notebook runs over its grid.

Each takes the folder to fill and the run to read from, trains one model, saves it and
returns records. Seeds, initialisations and numbers of pairs are arguments, so a grid of
jobs is all that a notebook has to write down.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers.core import hub
from helpers.core.flops import aside
from helpers.core.paths import ROOT
from helpers.data.code import harvesting
from helpers.data.code.descriptions import code_documents
from helpers.data.drawing import both_sides, draw
from helpers.models import encoding, hardware, loading, weights
from helpers.models.scoring import sequence_logprobs
from helpers.runs import store
from helpers.trainers import datasets, reference, training
from helpers.trainers.training import Fit


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
    pairs = store.read_pairs(run, "train", "judge")
    functions = harvesting.harvest(limit=code, seed=seed)
    documents = list(code_documents(functions))
    documents += zip(pairs["prompt"], pairs["chosen"])
    documents += zip(pairs["prompt"], pairs["rejected"])
    tokenizer = loading.build_tokenizer(map("".join, documents), vocab_size)
    model = loading.build_opt(tokenizer, seed=seed, **shape)
    prompts, replies = map(list, zip(*documents))
    fit = replace(fit, seed=seed)
    rows = fit_replies(model, tokenizer, prompts, replies, fit, out, whole=True)
    functions[["id"]].to_parquet(out / store.FUNCTIONS)
    return [*rows, {"metric": "parameters", "value": hardware.parameters(model)}]


def pretrained_model(
    out: Path, *, source: str, seed: int, prompt_form: str = "data"
) -> list[dict]:
    """A base model that is not trained here, as it comes.

    source: a folder, a name of `prefbook weights`, a `.gguf` file, or a hub name.
    prompt_form: `data`, or `chat` for an instruct model, which is then asked by its own
    template in every stage. Raises ModelError for a family without reward models.
    """
    if hub.is_gguf(source):
        source = str(weights.from_gguf(ROOT / source))
    tokenizer, model = loading.load_tokenizer(source), loading.load_policy(source)
    loading.check_scored(model, source)
    if prompt_form == encoding.CHAT:
        encoding.speak_chat(tokenizer)
    loading.save(model, tokenizer, out)
    return [{"metric": "parameters", "value": hardware.parameters(model)}]


def sft(
    out: Path, *, run: Path, method: str, pairs: int, seed: int, fit: Fit
) -> list[dict]:
    """Supervised fine-tuning of the base model on chosen replies; method: `sft`.

    Also says how well held-out replies are predicted, before (step 0) and afterwards.
    """
    data, test = (
        draw(store.read_pairs(run, "train"), pairs, seed),
        store.read_pairs(run, "test"),
    )
    start, fit = store.base_folder(run), replace(fit, seed=seed)
    model, tokenizer = loading.load_policy(start), loading.load_tokenizer(start)
    prompts, replies = data["prompt"].tolist(), data["chosen"].tolist()
    before = held_out_loss(model, tokenizer, test, fit.max_length, step=0)
    rows = fit_replies(model, tokenizer, prompts, replies, fit, out)
    last = max(row.get("step", 0) for row in rows)
    return [
        *before,
        *rows,
        *held_out_loss(model, tokenizer, test, fit.max_length, last),
    ]


@aside()
def held_out_loss(
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
    data = datasets.reply_dataset(prompts, replies, tokenizer, fit.max_length, whole)
    rows = training.fit_language_model(model, tokenizer, data, fit, out)
    loading.save(model, tokenizer, out)
    return rows
