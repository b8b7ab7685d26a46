"""Pairs a second: the trainers of this project against TRL's own, on the same pairs.

    python benchmarks/pairs.py compare --data ../shared/hh-rlhf
    python benchmarks/pairs.py growth

The model is a small OPT with random weights, the pairs are test pairs of the data that
fit into 384 tokens, so that nobody has to cut or drop one. Ours and stock take turns, so
that the ratios hold where a machine's speed drifts; `compare` gives each a process of its
own, so that memory is what one of them needed. Tokenising for a trainer is not timed; the
reference pass of DPO is. `sft` reads the chosen replies alone. `scoring` is forward only:
texts to rewards of both replies, against a loop over padded batches in the given order.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from datasets import Dataset
from transformers import PrinterCallback
from trl import (
    DPOConfig,
    DPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

from helpers.core import measurements
from helpers.core.progress import quiet
from helpers.core.provenance import peak_memory_mib
from helpers.data import hh
from helpers.models import loading
from helpers.rewards import judges
from helpers.trainers import datasets, training
from helpers.trainers.training import Fit

FIT = Fit(learning_rate=1e-4, batch_size=8, max_length=384)
SHAPE = {"hidden": 128, "layers": 4, "heads": 4, "max_positions": FIT.max_length}
KINDS, WHO = ("sft", "reward", "dpo", "scoring"), ("ours", "stock")
# what `growth` varies, one at a time, from 64 pairs of the model and lengths above
GROWTH = {
    "length": [(n, {"lengths": (n * 3 // 4, n)}) for n in (96, 192, 384)],
    "width": [(64, {"hidden": 64}), (128, {}), (256, {"hidden": 256})],
    "pairs": [(32, {"count": 32}), (64, {}), (128, {"count": 128})],
}
SIDES = ("chosen", "rejected")
STOCK = {
    "sft": (SFTConfig, SFTTrainer),
    "reward": (RewardConfig, RewardTrainer),
    "dpo": (DPOConfig, DPOTrainer),
}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Data = Annotated[str, typer.Option(help="A data_source of 00_data.")]
Subset = Annotated[str, typer.Option(help="helpful or harmless.")]
Threads = Annotated[int, typer.Option(help="Threads of torch.")]
Repeats = Annotated[int, typer.Option(help="Turns of each.")]
Out = Annotated[str, typer.Option(help="Folder to record the table in.")]


@app.command()
def compare(
    data: Data = "built-in",
    subset: Subset = "harmless",
    pairs: Annotated[int, typer.Option(help="Pairs a measurement.")] = 400,
    repeats: Repeats = 3,
    threads: Threads = 2,
    out: Out = "",
) -> None:
    """Measure in turn and print a table: medians, spread, ratio to stock, memory."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        count = apart(prepare, Path(folder), data, subset, pairs)
        measure = partial(measured, folder=Path(folder), threads=threads)
        rows = in_turn(measure, repeats)
    text = (
        f"{count} {subset} pairs of {hh_name(data)}, {threads} threads, the median of "
        f"{repeats} turns: pairs a second, their ratio to stock, and peak memory."
    )
    show(table(pd.DataFrame(rows)), out, "Batches of pairs", text)


@app.command()
def growth(
    data: Data = "built-in",
    subset: Subset = "harmless",
    repeats: Repeats = 1,
    threads: Threads = 2,
    out: Out = "",
) -> None:
    """Seconds against length, model size and number of pairs: their log-log slopes."""
    quiet()
    torch.set_num_threads(threads)
    rows = []
    for what, points in GROWTH.items():
        for size, change in points:
            with tempfile.TemporaryDirectory() as folder:
                settings = {"count": 64} | change
                apart(prepare, Path(folder), data, subset, **settings)
                for row in in_turn(partial(timed, folder=Path(folder)), repeats):
                    rows.append({**row, "what": what, "size": size})
    text = (
        f"Log-log slopes of seconds, {subset} pairs of {hh_name(data)}, {threads} "
        "threads; 1 is in proportion. From 64 pairs of up to 384 tokens and width 128, "
        "one is varied: longest length (96 to 384, pairs of three quarters of it and "
        "more), width (64 to 256), number of pairs (32 to 128)."
    )
    show(slopes(pd.DataFrame(rows)), out, "How the cost of pairs grows", text)


@app.command()
def one(kind: str, who: str, folder: Path, threads: int) -> None:
    """Do once what `compare` prepared, and print one line of JSON."""
    quiet()
    torch.set_num_threads(threads)
    print(json.dumps({**timed(kind, who, folder), "peak MiB": peak_memory_mib()}))


# --- preparation -----------------------------------------------------------------------


def hh_name(data: str) -> str:
    """How the data are called in a text: a folder says nothing to a reader."""
    return "the built-in corpus" if data == "built-in" else "HH-RLHF"


def prepare(
    folder: Path,
    data: str,
    subset: str,
    count: int,
    lengths: tuple[int, int] = (0, FIT.max_length),
    **shape: int,
) -> int:
    """The pairs, their tokenizer and the model that measurements start from."""
    limits = {"n_builtin": 8000, "max_pairs": 0, "judge_fraction": 0.0, "seed": 0}
    pairs, _ = hh.load_pairs(data, **limits)
    pairs = pairs[(pairs["split"] == "test") & (pairs["subset"] == subset)]
    pairs = pairs.sample(frac=1, random_state=0).head(2000)
    texts = (pairs["prompt"] + pairs["chosen"]).head(400).tolist()
    tokenizer = loading.build_tokenizer(texts, 2048)
    pairs = fitting(pairs, tokenizer, *lengths).head(count)
    shape = SHAPE | shape
    loading.save(loading.build_opt(tokenizer, seed=0, **shape), tokenizer, folder)
    pairs.to_parquet(folder / "pairs.parquet")
    return len(pairs)


def fitting(
    pairs: pd.DataFrame, tokenizer, shortest: int, longest: int
) -> pd.DataFrame:
    """Pairs that nobody has to cut or drop: TRL would drop what is longer."""
    data = datasets.pair_dataset(pairs, tokenizer, 10**6)
    # a token of room for the one that a trainer may add by itself
    sizes = [
        len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
        for row in data
    ]
    return pairs[[shortest < size < longest for size in sizes]]


# --- measurements ----------------------------------------------------------------------


def apart(function: Callable, *args, **kwargs):
    """What a function gives, called in a process of its own.

    A process that is started by a large one would count that one's memory as its own.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def in_turn(measure: Callable[[str, str], dict], repeats: int) -> list[dict]:
    """Every kind, ours and stock one after the other, as often as asked."""
    return [
        {"kind": kind, "who": who, **measure(kind, who)}
        for _ in range(repeats)
        for kind in KINDS
        for who in WHO
    ]


def measured(kind: str, who: str, folder: Path, threads: int) -> dict:
    """One measurement, in a process of its own."""
    command = [sys.executable, __file__, "one", kind, who, str(folder), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind} {who} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def timed(kind: str, who: str, folder: Path) -> dict:
    """One measurement, here."""
    frame = pd.read_parquet(folder / "pairs.parquet")
    tokenizer = loading.load_tokenizer(folder)
    run = {"ours": ours, "stock": stock}[who](kind, folder, tokenizer, frame)
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "pairs/s": len(frame) / seconds}


def ours(kind: str, folder: Path, tokenizer, frame: pd.DataFrame) -> Callable:
    """A call that trains or scores with this project."""
    if kind == "scoring":
        scorer = loading.load_scorer(folder)
        texts = [each for side in SIDES for each in frame[side]]
        settings = {"max_length": FIT.max_length}
        arguments = scorer, tokenizer, frame["prompt"].tolist() * 2, texts
        return lambda: judges.reward_scores(*arguments, **settings)
    data = datasets.pair_dataset(frame, tokenizer, FIT.max_length)
    load = loading.load_scorer if kind == "reward" else loading.load_policy
    fit = {
        "sft": training.fit_chosen,
        "reward": training.fit_reward_model,
        "dpo": partial(training.fit_dpo, beta=0.1),
    }[kind]
    return partial(fit, load(folder), tokenizer, data, FIT, folder)


def stock(kind: str, folder: Path, tokenizer, frame: pd.DataFrame) -> Callable:
    """A call that trains with TRL's own trainer, as its documentation has it."""
    if kind == "scoring":
        scorer = loading.load_scorer(folder)
        return lambda: padded_loop(scorer, tokenizer, frame)
    model = loading.load_scorer(folder) if kind == "reward" else str(folder)
    return stock_trainer(kind, tokenizer, frame, FIT, folder / "stock", model).train


def stock_trainer(
    kind: str, tokenizer, frame: pd.DataFrame, fit: Fit, out: Path, model, **more
):
    """TRL's own trainer, at the settings and precision of ours."""
    config, trainer = STOCK[kind]
    arguments = config(
        **training.quiet_arguments(out, fit.seed),
        learning_rate=fit.learning_rate,
        per_device_train_batch_size=fit.batch_size,
        num_train_epochs=fit.epochs,
        max_length=fit.max_length,
    )
    data = frame[["prompt", "chosen", "rejected"]]
    if kind == "sft":
        data = data[["prompt", "chosen"]].rename(columns={"chosen": "completion"})
    data = Dataset.from_pandas(data, preserve_index=False)
    made = trainer(
        model, args=arguments, train_dataset=data, processing_class=tokenizer, **more
    )
    made.remove_callback(PrinterCallback)
    return made


@torch.inference_mode()
def padded_loop(scorer, tokenizer, frame: pd.DataFrame, size: int = 64) -> np.ndarray:
    """Rewards of both replies as a page of documentation would get them."""
    tokenizer.padding_side = "right"
    texts = [
        *(frame["prompt"] + frame["chosen"]),
        *(frame["prompt"] + frame["rejected"]),
    ]
    texts = [text + tokenizer.eos_token for text in texts]
    found = []
    for start in range(0, len(texts), size):
        batch = tokenizer(
            texts[start : start + size], padding=True, return_tensors="pt"
        )
        found.append(scorer(**batch.to(scorer.device)).logits.squeeze(-1).cpu().numpy())
    return np.concatenate(found)


# --- tables ----------------------------------------------------------------------------


def show(table: pd.DataFrame, out: str, title: str, text: str) -> None:
    """Print a table; record it for the book if a folder is given."""
    print(f"{text}\n\n{table.to_markdown(floatfmt='.1f')}")
    if out:
        measurements.keep_measurement(table.round(1), Path(out), title, text)


def slopes(rows: pd.DataFrame) -> pd.DataFrame:
    """Least-squares slopes of log seconds over log size, a column per what is varied."""
    parts = {}
    for (kind, who, what), part in rows.groupby(["kind", "who", "what"], sort=False):
        slope = np.polyfit(np.log(part["size"]), np.log(part["seconds"]), 1)[0]
        parts.setdefault(f"{kind}, {who}", {})[what] = slope
    return pd.DataFrame(parts).T.rename_axis("trainer")


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Medians and spread of each, and the ratio of ours to stock, turn by turn."""
    parts = []
    for kind, part in rows.groupby("kind", sort=False):
        speed = {who: each["pairs/s"].to_numpy() for who, each in part.groupby("who")}
        for who, each in part.groupby("who"):
            values = each["pairs/s"]
            ratio = speed[who] / speed["stock"]
            parts.append(
                {
                    "trainer": f"{kind}, {who}",
                    "pairs/s": values.median(),
                    "lowest": values.min(),
                    "highest": values.max(),
                    "times stock": pd.Series(ratio).median(),
                    "peak MiB": each["peak MiB"].median(),
                }
            )
    return pd.DataFrame(parts).set_index("trainer")


if __name__ == "__main__":
    app()
