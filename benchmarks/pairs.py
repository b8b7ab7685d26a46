"""Pairs a second: the trainers of this project against TRL's own, on the same pairs.

    python benchmarks/pairs.py compare --data ../shared/hh-rlhf

The model is a small OPT with random weights, the pairs are test pairs of the data, both
read up to 384 tokens. Ours and stock take turns, each in a process of its own, so that
the ratios hold where a machine's speed drifts and memory is what one trainer needed.
Tokenising is not timed; the reference pass of DPO is.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from helpers import hh, models, training
from helpers.progress import quiet
from helpers.provenance import peak_memory_mib
from helpers.training import Fit

FIT = Fit(learning_rate=1e-4, batch_size=8, max_length=384)
SHAPE = {"hidden": 128, "layers": 4, "heads": 4, "max_positions": FIT.max_length}
KINDS, WHO = ("reward", "dpo"), ("ours", "stock")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def compare(
    data: Annotated[str, typer.Option(help="A data_source of 00_data.")] = "built-in",
    subset: Annotated[str, typer.Option(help="helpful or harmless.")] = "harmless",
    pairs: Annotated[int, typer.Option(help="Pairs a measurement.")] = 400,
    repeats: Annotated[int, typer.Option(help="Turns of each.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Measure in turn and print a table."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), data, subset, pairs)
        rows = [
            measured(kind, who, Path(folder), threads)
            for _ in range(repeats)
            for kind in KINDS
            for who in WHO
        ]
    print(f"{pairs} {subset} pairs of {data}, {threads} threads, {repeats} turns\n")
    print(table(pd.DataFrame(rows)).to_markdown(floatfmt=".1f"))


@app.command()
def one(kind: str, who: str, folder: Path, threads: int) -> None:
    """Train once on what `compare` prepared, and print one line of JSON."""
    quiet()
    torch.set_num_threads(threads)
    frame = pd.read_parquet(folder / "pairs.parquet")
    tokenizer = models.load_tokenizer(folder)
    run = {"ours": ours, "stock": stock}[who](kind, folder, tokenizer, frame)
    started = time.perf_counter()
    run()
    speed = len(frame) / (time.perf_counter() - started)
    print(json.dumps({"pairs/s": speed, "peak MiB": peak_memory_mib()}))


def prepare(folder: Path, data: str, subset: str, count: int) -> None:
    """The pairs, their tokenizer and the model that every measurement starts from."""
    limits = {"n_builtin": 8 * count, "max_pairs": 0, "judge_fraction": 0.0, "seed": 0}
    pairs, _ = hh.load_pairs(data, **limits)
    pairs = pairs[(pairs["split"] == "test") & (pairs["subset"] == subset)]
    pairs = pairs.sample(frac=1, random_state=0)
    texts = (pairs["prompt"] + pairs["chosen"]).head(400).tolist()
    tokenizer = models.build_tokenizer(texts, 2048)
    pairs = fitting(pairs, tokenizer).head(count)
    models.save(models.build_opt(tokenizer, seed=0, **SHAPE), tokenizer, folder)
    pairs.to_parquet(folder / "pairs.parquet")


def fitting(pairs: pd.DataFrame, tokenizer) -> pd.DataFrame:
    """Pairs that nobody has to cut or drop: TRL would drop what is longer."""
    data = training.pair_dataset(pairs, tokenizer, 10**6)
    # a token of room for the start or end token that a trainer adds by itself
    room = FIT.max_length - 1
    longest = [
        len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
        for row in data
    ]
    return pairs[[length <= room for length in longest]]


def measured(kind: str, who: str, folder: Path, threads: int) -> dict:
    """One measurement, in a process of its own."""
    command = [sys.executable, __file__, "one", kind, who, str(folder), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind} {who} failed:\n{done.stderr[-2000:]}")
    return {"kind": kind, "who": who, **json.loads(done.stdout.splitlines()[-1])}


def ours(kind: str, folder: Path, tokenizer, frame: pd.DataFrame):
    """A call that trains with this project's trainers."""
    data = training.pair_dataset(frame, tokenizer, FIT.max_length)
    if kind == "reward":
        scorer = models.load_scorer(folder)
        return lambda: training.fit_reward_model(scorer, tokenizer, data, FIT, folder)
    policy = models.load_policy(folder)
    return lambda: training.fit_dpo(policy, tokenizer, data, FIT, folder, beta=0.1)


def stock(kind: str, folder: Path, tokenizer, frame: pd.DataFrame):
    """A call that trains with TRL's own trainer, as its documentation has it."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    columns = ["prompt", "chosen", "rejected"]
    data = Dataset.from_pandas(frame[columns], preserve_index=False)
    settings = {
        "output_dir": str(folder / "stock"),
        "learning_rate": FIT.learning_rate,
        "per_device_train_batch_size": FIT.batch_size,
        "num_train_epochs": 1,
        "max_length": FIT.max_length,
        "use_cpu": not torch.accelerator.is_available(),
        "bf16": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if kind == "reward":
        model, config, trainer = models.load_scorer(folder), RewardConfig, RewardTrainer
    else:
        model, config, trainer = str(folder), DPOConfig, DPOTrainer
    return trainer(
        model, args=config(**settings), train_dataset=data, processing_class=tokenizer
    ).train


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
