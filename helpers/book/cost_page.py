"""The page "What it costs": the time of this run, and recorded measurements."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from helpers.book.measured import measurement
from helpers.config.settings import all_values
from helpers.core import escape
from helpers.core.markdown_tables import markdown_table
from helpers.core.measurements import ELSEWHERE
from helpers.core.paths import PROJECT, STAGES
from helpers.core.records import PROCESSOR, read_records
from helpers.methods import title_of
from helpers.planning.estimate import REAL, shape_of, works
from helpers.planning.tables import assumed, memory_table, plan_text

INTRODUCTION = """\
# What it costs

The first two tables are of this run, on the machine that [Reproducibility](reproducibility)
describes; those for other tiers are estimated from measurements. The others were recorded: they
take long, or need other software beside this project's, and are not measured again when
the book is built.
What each method costs together with all it needs stands in
[the comparison](../notebooks/09_compare.ipynb).
"""
STAGES_TEXT = """
Jobs run side by side, and one that is there already is not run again: a stage can be run
anew in less time than its jobs took.
"""
JOBS_TEXT = """
One job trains or examines one model; the mean is over seeds. Jobs that run side by side
wait for each other, so that their seconds say little of what they need: `processor` is the
time of all cores that worked for a job, without the reading of test pairs after it.
"""
PLANS = {"laptop": "two cores", "t4": "T4", "h100": "H100"}  # tier -> its machine
PLANS_TEXT = """
## What other tiers would take

{assumed} `prefbook plan` makes the same table for other values.
"""
MEMORY_TEXT = """
What has to lie in memory for it, without activations; a T4 has 16 GB, an H100 80. What
trainings held together with these was measured, in the tables of the tiers below.
"""


def costs_page(run: Path, manifests: Mapping[str, dict], recorded: Path) -> str:
    """The page as Markdown."""
    parts = [
        INTRODUCTION,
        "## The stages of this run\n",
        markdown_table(stage_times(manifests)),
        STAGES_TEXT,
        "## The jobs of this run\n",
        markdown_table(job_times(run, manifests)),
        JOBS_TEXT,
    ]
    return "\n".join([*parts, *plans(), *recorded_tables(recorded)])


def recorded_tables(recorded: Path) -> list[str]:
    """What was measured apart from any run and has no page of its own."""
    folders = [about.parent for about in sorted(recorded.glob("*/about.json"))]
    shown = [folder for folder in folders if folder.name not in ELSEWHERE]
    return [line for folder in shown for line in measurement(folder)]


def plans() -> list[str]:
    """What the tiers for real models would take, estimated, and what must fit in memory."""
    parts = [PLANS_TEXT.format(assumed=assumed())]
    for tier, machine in PLANS.items():
        values = all_values(PROJECT, list(STAGES), "runs/plan", tier, planned=True)
        shape = shape_of(values)
        size = f"{shape.parameters / 1e6:.0f} million parameters"
        parts += [f"\nTier `{tier}`, {size}, {machine}:\n"]
        parts += [plan_text(works(values, shape), machine)]
    memory = memory_table(REAL.parameters).to_markdown(floatfmt=".1f")
    return [*parts, MEMORY_TEXT, memory, ""]


def stage_times(manifests: Mapping[str, dict]) -> pd.DataFrame:
    """Seconds and memory of every stage, and its share of the whole."""
    total = sum(each["seconds"] for each in manifests.values())
    rows = [
        {
            "stage": stage,
            "last run, s": f"{each['seconds']:.0f}",
            "share": f"{each['seconds'] / total:.0%}",
            "its jobs, s": f"{each['job_seconds']:.0f}",
            "peak memory, MiB": f"{each['peak_memory_mib']:.0f}",
        }
        for stage, each in manifests.items()
    ]
    jobs = sum(each["job_seconds"] for each in manifests.values())
    last = {
        "stage": "together",
        "last run, s": f"{total:.0f}",
        "its jobs, s": f"{jobs:.0f}",
    }
    return pd.DataFrame([*rows, last]).fillna("")


def job_times(run: Path, manifests: Mapping[str, dict]) -> pd.DataFrame:
    """Seconds of each kind of job: how many, mean and sum, and mean processor time."""
    kinds = ["stage", "method", "init", "pairs"]
    tables = [read_records(run / stage / "records.parquet") for stage in manifests]
    records = pd.concat(tables)
    wall, processor = (
        records[records["metric"] == metric].groupby(kinds, sort=False, dropna=False)
        for metric in ("seconds", PROCESSOR)
    )
    found = wall["value"].agg(jobs="count", mean="mean", total="sum").reset_index()
    own = processor["value"].mean().rename("own").reset_index()
    found = found.merge(own, on=kinds, how="left")
    return pd.DataFrame(
        {
            "stage": found["stage"],
            "kind": [
                escape.markdown(title_of(*key))
                for key in zip(found["method"], found["init"])
            ],
            "pairs": ["" if pd.isna(each) else f"{each:,}" for each in found["pairs"]],
            "jobs": found["jobs"].map(str),
            "mean, s": found["mean"].map("{:.1f}".format),
            "processor, s": found["own"].map("{:.1f}".format),
            "together, s": found["total"].map("{:.0f}".format),
        }
    )
