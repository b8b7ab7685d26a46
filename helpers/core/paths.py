"""The project and its runs as folders: where things lie, and the graph of stages.

run/notebooks/06_dpo.ipynb     the executed notebook
run/06_dpo/records.parquet     what it measured, as tidy records
run/06_dpo/jobs/SLUG/...       what it trained, one folder a job
run/06_dpo/manifest.json       written last: key, parameters, versions, cost
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers.core.inputs import InputError, shown

ROOT = Path(__file__).resolve().parents[2]
HALF = ".job-"  # how the folder of a job begins that is not done
SITTING = "sitting.json"  # in it: what its trainings have left there, to go on from
PROGRESS = "progress.json"  # how far a stage is, or a job in a process of its own

# stage -> the stages whose results it reads
STAGES: dict[str, tuple[str, ...]] = {
    "00_data": (),
    "01_base_model": ("00_data",),
    "02_code_pairs": ("01_base_model",),
    "03_codepmp": ("01_base_model", "02_code_pairs"),
    "04_reward_model": ("00_data", "01_base_model", "03_codepmp"),
    "05_sft": ("00_data", "01_base_model"),
    "06_dpo": ("00_data", "01_base_model", "05_sft"),
    "07_ppo": ("00_data", "04_reward_model", "05_sft"),
    "08_evaluate": (
        "00_data",
        "01_base_model",
        "04_reward_model",
        "05_sft",
        "06_dpo",
        "07_ppo",
    ),
}
STAGES["09_compare"] = tuple(STAGES)
STAGES["10_ppo_curves"] = ("00_data", "04_reward_model", "05_sft", "07_ppo")


# ASCII alone: other letters can be written in several ways, which are several folders
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[0-9]{1,6})?")
MOST_IN_NAME = 100


class RunError(RuntimeError):
    """A run folder lacks something; the message says which command makes it."""


@dataclass(frozen=True)
class Project:
    """Where the sources are, and the graph of stages."""

    root: Path = ROOT
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: STAGES)
    package: Path = ROOT / "helpers"
    answer: str = "09_compare"  # the stage whose records are what a run has found

    def notebook(self, stage: str) -> Path:
        """The source notebook of a stage."""
        return self.root / "notebooks" / f"{stage}.ipynb"

    @property
    def tiers(self) -> Path:
        """The folder of the tiers, one YAML each."""
        return self.root / "notebooks" / "tiers"

    def run(self, name: str) -> Path:
        """The folder of the run or the sweep with this name; InputError for no name."""
        return self.root / "runs" / checked_name(name)

    def name_of(self, run: Path) -> str:
        """The name of a run's folder, as `--run` takes it."""
        runs = self.root / "runs"
        inside = run.is_relative_to(runs)
        return run.relative_to(runs).as_posix() if inside else run.name

    def shown(self, path: Path) -> str:
        """A path as it is typed at the project root."""
        inside = path.is_relative_to(self.root)
        return (path.relative_to(self.root) if inside else path).as_posix()


PROJECT = Project()


# a name that the hub and any disk take as it is, and one that `whole_name` has made
_PLAIN = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_MADE = re.compile(r"-x[0-9a-f]{8}$")


def checked_name(text: str, option: str = "") -> str:
    """The name of a run or a sweep, `NAME`, or of a run in a sweep, `NAME/NUMBER`.

    Whatever becomes a folder in `runs/` is held against this. Raises InputError, which
    begins with the option that was given.
    """
    if len(text) <= MOST_IN_NAME and NAME.fullmatch(text):
        return text
    raise InputError(
        f"{option} {shown(text, 60)}: expected a name of at most {MOST_IN_NAME} ASCII "
        "letters, digits, dots and dashes, as `cpu`, or `beta/00` of a sweep".strip()
    )


def in_runs(folder: str) -> bool:
    """Whether a parameter names the folder of a run or a sweep, as `runs/cpu`."""
    place, _, name = folder.partition("/")
    return place == "runs" and len(name) <= MOST_IN_NAME and bool(NAME.fullmatch(name))


def whole_name(run: Path) -> str:
    """A name for what is kept of a run, on the hub or beside others: no other run has it.

    That of its folder, if it is short and of small letters, digits and single marks; else,
    as of a run in a sweep, something like it with a digest: `beta-00-x1a2b3c4d`.
    """
    above, top = run.parent.name, run.parent.parent.name
    numbered = run.name.isdigit() and (above != "runs" or top == "runs")
    name = f"{above}/{run.name}" if numbered else run.name
    if _PLAIN.fullmatch(name) and len(name) <= 60 and not _MADE.search(name):
        return name
    like = re.sub(r"[^a-z0-9]+", "-", name.lower())[:40].strip("-")
    return f"{like or 'run'}-x{hashlib.sha256(name.encode()).hexdigest()[:8]}"
