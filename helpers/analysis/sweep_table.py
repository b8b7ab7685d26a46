"""What the runs of a sweep found, as one table."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers.core.atomic import whole
from helpers.core.paths import Project, RunError
from helpers.core.places import all_shown
from helpers.core.records import read_records
from helpers.runs.sweeps import Point
from helpers.statistics import estimates

# --- what it found ---------------------------------------------------------------------


def collect(project: Project, wanted: Sequence[Point]) -> pd.DataFrame:
    """The records of the project's answer in every finished run, with what varied.

    Columns: run, one for each parameter that varies, and those of records.
    """
    found = []
    for point in wanted:
        file = project.run(point.run) / project.answer / "records.parquet"
        if (file.parent / "manifest.json").exists():
            here = {"run": point.run, **all_shown(point.varied, project.root)}
            found.append(read_records(file).assign(**here))
    if not found:
        return pd.DataFrame(columns=["run"])
    table = pd.concat(found, ignore_index=True)
    front = ["run", *wanted[0].varied]
    return table[[*front, *table.columns.difference(front, sort=False)]]


def write_table(table: pd.DataFrame, folder: Path) -> Path:
    """The sweep's one table of records; it appears whole or not at all."""
    path = folder / "records.parquet"
    with whole(path) as aside:
        table.to_parquet(aside)
    return path


def across(
    folder: Path, metric: str, contrasts: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """A metric of chapter 09, over both subsets, at every point of a sweep.

    Index: what varies, and name; column: interval. Raises RunError if the folder holds
    no sweep that has found something.
    """
    path = folder / "records.parquet"
    if not (folder / "sweep.json").exists() or not path.exists():
        raise RunError(f"{folder}: no finished sweep; `prefbook sweep` makes one")
    table = pd.read_parquet(path)
    runs = json.loads((folder / "sweep.json").read_text("utf-8"))
    varied = list(next(iter(runs.values())))
    found = estimates.from_records(table, metric, by=varied, subset="both")
    sides = list(zip(found["method"], found["opponent"]))
    found = found[[each in contrasts for each in sides]]
    return found.set_index([*varied, "name"])[["interval"]]
