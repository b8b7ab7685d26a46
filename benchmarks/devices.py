"""Speed and memory of every kind of training: what `prefbook plan` rests on.

    python benchmarks/devices.py prepare FOLDER --data ../shared/hh-rlhf
    python benchmarks/devices.py measure FOLDER --tier h100
    python benchmarks/devices.py measure FOLDER --tier t4 --like-t4 --memory 15
    python benchmarks/devices.py measure FOLDER --tier laptop --batches 4

`prepare` keeps pairs and a tokenizer that was trained on their texts. The settings are the
tier's, and so is a model that the package index carries; of another OPT-350M's shape with
random weights stands in. `--like-t4` computes in float16 with loss scaling and samples as
on a T4; `--memory` refuses torch more than so many GB.

Each training runs three times: a few batches, watched kernel by kernel on a GPU; a quarter
of the batches; all of them. Speeds are of what the last took beyond the one before, so
starting does not count. The reference pass of DPO does; loading models and tokenising do
not.
"""

import gc
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import typer
from devices_work import KINDS, VOCABULARY, Given, begin
from pairs import hh_name
from torch.profiler import ProfilerActivity, profile

from helpers.core import measurements
from helpers.core.progress import quiet
from helpers.core.provenance import watched_memory
from helpers.data import hh
from helpers.models import hardware, loading
from helpers.planning.machines import RECOMPUTED

# what the names of kernels for matrix products and attention have in common
MATRICES = ("gemm", "cutlass", "nvjet", "xmma", "flash", "fmha", "attention")
SOURCE = "source.txt"  # what the pairs are, in words
ON_GPU = (
    "TFLOP/s count the second forward of activation checkpointing; busy is the share of "
    "the time in which the GPU computed, matrices that of its work in matrix products and "
    "attention."
)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def prepare(
    folder: Path,
    data: Annotated[str, typer.Option(help="A data_source of 00_data.")] = "built-in",
    pairs: Annotated[int, typer.Option(help="Training pairs to keep.")] = 4000,
) -> None:
    """Keep pairs and a tokenizer."""
    limits = {"n_builtin": 8000, "max_pairs": 0, "judge_fraction": 0.0, "seed": 0}
    found, _ = hh.load_pairs(data, **limits)
    found = found[found["split"] == "train"]
    texts = (found["prompt"] + found["chosen"]).tolist()
    loading.build_tokenizer(texts, VOCABULARY).save_pretrained(folder / "tokenizer")
    drawn = found.sample(frac=1, random_state=0).head(pairs)
    drawn.to_parquet(folder / "pairs.parquet")
    (folder / SOURCE).write_text(hh_name(data), "utf-8")
    print(f"{len(drawn)} pairs in {folder}")


@app.command()
def measure(
    folder: Path,
    tier: Annotated[str, typer.Option(help="Whose settings: t4 or h100.")],
    batches: Annotated[int, typer.Option(help="Batches on the clock.")] = 40,
    like_t4: Annotated[bool, typer.Option(help="Compute as a T4 would.")] = False,
    memory: Annotated[float, typer.Option(help="GB torch may have; 0: all.")] = 0.0,
    layers: Annotated[int, typer.Option(help="Blocks; the true number is 24.")] = 24,
    only: Annotated[str, typer.Option(help="Names, by commas; empty: all.")] = "",
    out: Annotated[str, typer.Option(help="Folder to record the table in.")] = "",
) -> None:
    """Measure every training once and print a table."""
    quiet()
    if memory:
        total = torch.cuda.get_device_properties().total_memory
        torch.cuda.set_per_process_memory_fraction(memory * 1e9 / total)
    given = begin(folder, tier, layers)
    with computing_as_t4() if like_t4 else nullcontext():
        text = about(given, tier, hardware.precision(given.policy()), memory)
        rows = []
        for name in only.split(",") if only else KINDS:
            rows.append(measured(name, given, batches))
            table = pd.DataFrame(rows).set_index("work").dropna(axis=1, how="all")
            if out:  # after each: time on a GPU may end before the list does
                measurements.keep_measurement(
                    table, Path(out), f"Trainings of the tier `{tier}`", text
                )
    print(f"{text}\n\n{table.to_markdown(floatfmt='.4g')}")


def about(given: Given, tier: str, precision: str, memory: float) -> str:
    """What was measured, in words."""
    precision = precision.partition(" (")[0]
    source = (given.folder / SOURCE).read_text("utf-8")
    limit = f"; torch was refused more than {memory:g} GB" if memory else ""
    model = given.model or "OPT with random weights"
    on_gpu = f" {ON_GPU}" if torch.cuda.is_available() else ""
    return (
        f"{model}, {given.parameters / 1e6:.0f} million parameters, pairs of {source}, "
        f"settings of the tier `{tier}`: {precision}{limit}. `peak GB` is what was held at "
        f"most.{on_gpu}"
    )


def computing_as_t4():
    """Half precision and batches of replies as on a T4, whatever the GPU."""
    return patch.multiple(
        hardware, native_bf16=lambda: False, replies_at_once=lambda: 64
    )


# --- clocks --------------------------------------------------------------------------


def measured(name: str, given: Given, batches: int) -> dict:
    """One row of the table; what does not fit into memory has no times."""
    row: dict[str, object] = {"work": name}
    started = time.perf_counter()
    try:
        busy, matrices = kernels(name, given, batches // 4)  # and to warm up
        few, many = timed(name, given, batches // 4), timed(name, given, batches)
        row |= rates(few, many, given.parameters, torch.cuda.is_available())
        share = busy * row["tokens/s"]
        row["TFLOP/s while busy"] = row["TFLOP/s"] / share
        row |= {"busy": share, "matrices": matrices}
    except torch.OutOfMemoryError:
        row["peak GB"] = "does not fit"
    print(f"{name}: {time.perf_counter() - started:.0f} s in all, {row}", flush=True)
    return row


def timed(name: str, given: Given, batches: int) -> dict[str, float]:
    """Seconds, tokens, and the most memory that was held, GB."""
    free()
    run, tokens = KINDS[name](given, batches)
    with watched_memory() as peak:
        started = time.perf_counter()
        run()
        synchronise()
        seconds = time.perf_counter() - started
    return {**tokens, "seconds": seconds, "peak": peak[0] * 1024**2 / 1e9}


def rates(few: dict, many: dict, parameters: float, recomputed: bool) -> dict:
    """What the longer run took beyond the shorter one: starting cancels out.

    recomputed: whether activations were, for gradients (`flops`).
    """
    more = {name: many[name] - few[name] for name in many}
    seconds = more["seconds"]
    found = {
        "batch": many["batch"],
        "tokens/s": count(more) / seconds,
        "TFLOP/s": flops(more, parameters, recomputed) / seconds / 1e12,
        "peak GB": many["peak"],
    }
    if "steps" in more:
        found["ms a token"] = 1000 * seconds / more["steps"]
    return found


def count(tokens: dict[str, float]) -> float:
    """Tokens that are trained on, else read, else sampled."""
    kinds = (tokens.get(name, 0) for name in ("trained", "read", "sampled"))
    return next(filter(None, kinds))


def flops(tokens: dict[str, float], parameters: float, recomputed: bool) -> float:
    """6 per parameter and token trained on, and 2 for a second forward; else 2."""
    passed = tokens.get("read", 0) + tokens.get("sampled", 0)
    learned = 6 * (RECOMPUTED if recomputed else 1) * tokens.get("trained", 0)
    return parameters * (learned + 2 * passed)


def kernels(name: str, given: Given, batches: int) -> tuple[float, float]:
    """Seconds a token in which the GPU computes, and the matrix products' share of it."""
    free()
    run, tokens = KINDS[name](given, batches)
    if not torch.cuda.is_available():
        run()
        return np.nan, np.nan
    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        run()
        synchronise()
    times = {
        each.key.lower(): each.self_device_time_total / 1e6
        for each in watched.key_averages()
        if not each.key.startswith("Mem")
    }
    matrices = sum(
        value for key, value in times.items() if any(m in key for m in MATRICES)
    )
    busy = sum(times.values())
    return busy / count(tokens), matrices / busy


def free() -> None:
    """Let go of what the measurement before held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    app()
