"""Two runs begun at once on one folder: one works, the other is told who does."""

import random
import re
import shutil
import time

import pandas as pd

from helpers.core.manifests import read_manifest
from helpers.core.paths import PROJECT
from tests.chaos import subjects

STAGE = "00_data"
SIZES = (240, 320)  # what tells the two apart


def run(seed: int, tries: int) -> list[dict]:
    """One row: tries, and what went wrong."""
    wrong = []
    for number in range(seed, seed + tries):
        wrong.append(attempt(number))
        print(f"race {number}: {wrong[-1] or 'one ran'}", flush=True)
    what = "two runs begun within half a second"
    return [subjects.counted(what, wrong, "one ran, the other was refused")]


def attempt(number: int) -> str:
    """One try, drawn from its number: what went wrong, or ""."""
    draw, name = random.Random(number), "chaos-race"
    both = []
    for size in draw.sample(SIZES, 2):
        given = ("--only", STAGE, "-p", f"n_builtin={size}")
        both.append((size, subjects.start(*subjects.smoke(name, *given))))
        time.sleep(draw.uniform(0, 0.5))
    ends = [(size, subjects.ended(process)) for size, process in both]
    try:
        return judged(ends, name)
    finally:
        shutil.rmtree(PROJECT.run(name), ignore_errors=True)


def judged(ends: list[tuple[int, subjects.Ended]], name: str) -> str:
    """What is wrong with the ends of two commands on one run, or ""."""
    codes = sorted(end.code for _, end in ends)
    if codes != [0, 2]:
        return f"exit codes {codes}"
    size = next(size for size, end in ends if end.code == 0)
    refused = next(end for _, end in ends if end.code == 2)
    if not refused.in_one_line or not re.search(r"in use by", refused.wrong):
        return f"refused in other words: {refused.wrong.strip()[-200:]}"
    run = PROJECT.run(name)
    if read_manifest(run, STAGE)["parameters"]["n_builtin"] != size:
        return "the manifest is of the one that was refused"
    pairs = pd.read_parquet(run / STAGE / "pairs.parquet")
    learned = (pairs["split"] != "test").sum()
    return "" if learned <= size else f"{learned} pairs of a run that asked for {size}"
