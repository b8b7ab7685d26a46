"""The project and its runs as folders: where things lie, and what finished stages say.

run/notebooks/06_dpo.ipynb     the executed notebook
run/06_dpo/records.parquet     what it measured, as tidy records
run/06_dpo/jobs/SLUG/...       what it trained, one folder a job
run/06_dpo/manifest.json       written last: key, parameters, versions, cost
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers import jobs

ROOT = Path(__file__).resolve().parent.parent

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
        """The folder of the run with this name."""
        return self.root / "runs" / name

    def shown(self, path: Path) -> str:
        """A path as it is typed at the project root."""
        inside = path.is_relative_to(self.root)
        return (path.relative_to(self.root) if inside else path).as_posix()


PROJECT = Project()


def whole_name(run: Path) -> str:
    """The name of a run's folder; of a run in a sweep that of both, `beta-00`."""
    numbered = run.name.isdigit() and run.parent.name != "runs"
    return f"{run.parent.name}-{run.name}" if numbered else run.name


# --- manifests and jobs of finished stages --------------------------------------------


def manifest_file(run: Path, stage: str) -> Path:
    """Where a stage's manifest lies; it is there exactly when the stage is done."""
    return run / stage / "manifest.json"


def read_manifest(run: Path, stage: str, project: Project = PROJECT) -> dict:
    """The manifest of a finished stage.

    Keys: stage, key, parameters, inputs, data, notebook, helpers, results, commit,
    dirty, versions, python, platform, cpu_count, device, started, seconds,
    job_seconds, peak_memory_mib, records.
    Raises RunError with the command that makes it.
    """
    try:
        return json.loads(manifest_file(run, stage).read_text("utf-8"))
    except FileNotFoundError:
        command = f"prefbook run --run {run.name} --only {stage}"
        where = project.shown(run)
        raise RunError(f"{stage} is not done in {where}: `{command}`") from None


def finished_parameters(
    run: Path, project: Project = PROJECT
) -> dict[str, dict[str, object]]:
    """The parameters of every stage that a run has finished, by stage."""
    done = [stage for stage in project.stages if manifest_file(run, stage).exists()]
    return {stage: read_manifest(run, stage, project)["parameters"] for stage in done}


def job_folder(run: Path, stage: str, **job: object) -> Path:
    """The folder of the one job of a finished stage that has these arguments.

    Raises RunError if there is none, or more than one.
    """
    read_manifest(run, stage)
    return find_job(jobs.finished_jobs(run / stage / "jobs"), stage, job)


def find_job(
    finished: list[tuple[dict, Path]], stage: str, job: Mapping[str, object]
) -> Path:
    """The folder of the one job with these arguments."""
    fits = [place for each, place in finished if job.items() <= each.items()]
    if len(fits) == 1:
        return fits[0]
    asked = ", ".join(f"{name}={value}" for name, value in job.items()) or "any"
    there = ", ".join(place.name for place in fits or [at for _, at in finished])
    found = f"{len(fits)} jobs" if fits else "no job"
    raise RunError(f"{stage}: {found} with {asked}; there is: {there or 'none'}")
