"""What a stage depends on, as digests that can be compared.

A stage's key is a digest of all that its page depends on: the notebook's code, the code
of helpers it reaches, its parameters, the data folder and what its inputs gave.
"""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from os.path import isdir  # unlike Path's, False for a text that is too long
from pathlib import Path

from helpers.core.digests import digest, folder_digest
from helpers.core.inputs import each_of
from helpers.core.manifests import read_manifest
from helpers.core.paths import Project
from helpers.runs.code_digests import code_cells, reached_from_cells

# parameters that do not change results
UNKEYED = ("run_dir", "workers", "processes", "strategy", "report_to")
FREE_TEXT = ("data_note",)  # may read like a folder's name, and means none


# --- the key --------------------------------------------------------------------------


def key_parts(project: Project, run: Path, stage: str, values: Mapping) -> dict:
    """All that a stage's results depend on, in parts that can be compared.

    Raises RunError if an input is not there.
    """
    cells = code_cells(project.notebook(stage))
    keyed = {name: value for name, value in values.items() if name not in UNKEYED}
    folders = named_folders(project, keyed)
    return {
        "parameters": keyed,
        "inputs": {
            name: read_manifest(run, name, project).get("results", {})
            for name in project.stages[stage]
        },
        "data": {name: folder_digest(folder) for name, folder in folders.items()},
        "notebook": digest(cells),
        "helpers": reached_from_cells(cells, project.package),
    }


def named_folders(project: Project, values: Mapping) -> dict[str, Path]:
    """The folders that parameters name, as far as they are there.

    By parameter, those of a list by its name and their place in it: `judge_starts 0`.
    """
    named = {
        f"{name} {number}" if isinstance(given, list) else name: project.root / value
        for name, given in values.items()
        for number, value in enumerate(each_of(given))
        if value and isinstance(value, str) and name not in FREE_TEXT
    }
    return {name: folder for name, folder in named.items() if isdir(folder)}


def plain(value: object) -> object:
    """A setting of jobs as JSON; TypeError for what has no content of its own."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if is_dataclass(value):
        return asdict(value)
    if value is None or isinstance(value, str | bool | int | float | Path):
        return str(value) if isinstance(value, Path) else value
    raise TypeError(f"{type(value).__name__}: cannot be told from another of its kind")
