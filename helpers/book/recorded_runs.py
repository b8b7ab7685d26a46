"""What was measured once and is kept with the sources, so that any book can show it.

A measurement is a folder under `book/recorded`: `table.csv` and `about.json` (title,
text, command, and where and when it was measured); those on real pairs are under
`book/recorded/real`. A run is a folder under `book/recorded/runs`: the tables and findings
of its comparison as Markdown, its figures, and `about.json`. Numbers only: no text of data
or models.
"""

import json
import re
import shutil
from collections.abc import Mapping
from os.path import isdir  # unlike Path's, False for a name that is too long
from pathlib import Path

import pandas as pd

from helpers.analysis.run_notes import setting
from helpers.book.measured import measurement
from helpers.book.side_by_side import (
    FULL,
    NUMBERS,
    numbers,
    recorded_answer,
    run_folders,
    side_by_side,
)
from helpers.config.schema import read_schema
from helpers.core import escape
from helpers.core.atomic import write_json
from helpers.core.manifests import read_manifest
from helpers.core.markdown_tables import markdown_table
from helpers.core.measurements import MADE_WITH
from helpers.core.paths import PROJECT, Project
from helpers.core.places import shown
from helpers.methods import title
from helpers.runs.store import data_source

# --- runs ----------------------------------------------------------------------------

REAL_PAGE = """\
# On real pairs

The other pages show the run that this copy of the book was built from. Runs that take
longer, or data that are not part of the repository, are recorded: the tables below are
those of their chapter 09, as it was executed. Their models are trained from scratch too,
except where it is said, and small. So they tell how the methods compare at that size on
those pairs, not what large models would do. A reward model that has seen almost only one
subset learns its taste, and can fall below one half on the other: read the two apart.
"""
NO_RUN = """
No whole run is recorded in this copy. `prefbook record --run NAME` records one.
"""


def record_run(run: Path, out: Path, project: Project = PROJECT) -> None:
    """Keep the tables and findings of a run's comparison, and what it was made with.

    Raises RunError if the run has no finished 09.
    """
    manifests = {
        stage: read_manifest(run, stage, project)
        for stage in (*project.stages["09_compare"], "09_compare")
    }
    last = manifests["09_compare"]
    aside = out.with_name(f".{out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    for kind in ("tables", "figures"):
        shutil.copytree(run / "09_compare" / kind, aside / kind)
    numbers(run).to_csv(aside / NUMBERS, index=False, float_format="%.6g")
    about = {
        "name": out.name,
        "kind": kind_of(run),
        "data": data_of(run, project),
        "parameters": changed_parameters(manifests, project),
        "date": last["started"][:10],
        "seconds": round(sum(each["seconds"] for each in manifests.values())),
        "commits": commits_of(manifests),
        **{name: last[name] for name in MADE_WITH if name in last},
    }
    write_json(about, aside / "about.json")
    shutil.rmtree(out, ignore_errors=True)
    aside.replace(out)


def kind_of(run: Path) -> str:
    """What kind of numbers a run's are, in words: data, models, seeds."""
    found = setting(run)
    seeds = "1 seed" if found["seeds"] == 1 else f"{found['seeds']} seeds"
    return f"{found['source']}, models {found['models']}, {seeds}"


def data_of(run: Path, project: Project = PROJECT) -> str:
    """What data a run learned from: a name, never a place on a disk, and how many pairs."""
    source = data_source(run)
    if isdir(project.root / source):
        source = "a folder in the layout of Anthropic/hh-rlhf"
    source = shown(source, project.root)  # of a folder that is no longer there
    pairs = pd.read_parquet(
        run / "00_data" / "pairs.parquet", columns=["subset", "split"]
    )
    counts = pairs.groupby(["split", "subset"]).size()
    listed = ", ".join(
        f"{split} {subset} {n:,}" for (split, subset), n in counts.items()
    )
    return f"{source}; pairs: {listed}"


def commits_of(manifests: Mapping[str, dict]) -> str:
    """Which commit of the sources made which stages: a stage may be kept from before."""
    stages: dict[str, list[str]] = {}
    for stage, manifest in manifests.items():
        commit = manifest.get("commit", "no repository")[:12]
        stages.setdefault(commit, []).append(stage.partition("_")[0])
    if len(stages) == 1:
        return next(iter(stages))
    return "; ".join(f"{each} for {', '.join(made)}" for each, made in stages.items())


def changed_parameters(
    manifests: Mapping[str, dict], project: Project = PROJECT
) -> dict[str, dict]:
    """Per stage, the parameters that differ from the defaults of the sources today."""
    passed = ("run_dir", "workers", "processes", "report_to", "data_source")
    found = {}
    for stage, manifest in manifests.items():
        schema = read_schema(project.notebook(stage))
        used = manifest["parameters"]
        changed = {
            name: shown(used[name], project.root)
            for name, each in schema.items()
            if name in used and name not in passed and used[name] != each.default
        }
        if changed:
            found[stage] = changed
    return found


def real_page(run: Path, root: Path) -> str:
    """The page "On real pairs": all numbers side by side, then what was recorded."""
    folder = root / "book" / "recorded"
    measured = sorted(folder.glob("real/*/about.json"))
    parts = [line for about in measured for line in measurement(about.parent)]
    runs = [path for path in run_folders(root) if path.name != FULL]
    parts += [run_section(path) for path in runs] or [NO_RUN]
    answer = recorded_answer(root)
    return "\n".join([REAL_PAGE, answer, *side_by_side(run, root), *parts])


def run_section(folder: Path) -> str:
    """A recorded run as Markdown: what it was made with, then its tables."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    changed = [
        escape.code(f"{stage}.{name}={value}")
        for stage, values in about["parameters"].items()
        for name, value in values.items()
    ]
    facts = {
        "data": escape.markdown(about["data"]),
        "differs from the defaults by": ", ".join(changed) or "nothing",
        "machine": f"{about['cpu_count']} cores, device {about['device']}",
        "time": f"{about['seconds'] / 60:.0f} minutes, {about['date']}",
        "commit": about["commits"],
    }
    table = pd.DataFrame(facts.items(), columns=["what", "value"])
    superseded = about.get("superseded")  # why the run should be made again
    tables = sorted((folder / "tables").glob("*.md"))
    figures = sorted((folder / "figures").glob("*.[ps][nv]g"))  # older ones are PNG
    if superseded:  # tables are enough of what no longer counts
        figures = []
    return "\n".join(
        [
            f"\n## Run `{about['name']}`\n",
            *(f":::{{warning}}\n{why}\n:::\n" for why in filter(None, [superseded])),
            markdown_table(table),
            *(in_titles(path.read_text(encoding="utf-8")) for path in tables),
            *(figure_of(path, folder) for path in figures),
        ]
    )


CELL = re.compile(r"(?<!\\)\|")  # a pipe that ends a cell; an escaped one is text


def in_titles(text: str) -> str:
    """Markdown whose tables name methods as records do, with their titles."""
    return "\n".join(
        "|".join(f" {title(cell.strip())} " if cell.strip() else cell for cell in cells)
        if line.startswith("|")
        else line
        for line in text.splitlines()
        for cells in [CELL.split(line)]
    )


def figure_of(path: Path, folder: Path) -> str:
    """A kept figure as Markdown, for a page beside the folder `recorded`."""
    words = path.stem.replace("_", " ")
    place = f"recorded/runs/{folder.name}/figures/{path.name}"
    return f"\n```{{figure}} {place}\n:alt: {words}, of the recorded run {folder.name}\n\n{words}\n```"
