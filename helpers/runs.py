"""A run is a folder; a stage is one notebook in it; its manifest says that it is done.

    run/notebooks/06_dpo.ipynb     the executed notebook
    run/06_dpo/records.parquet     what it measured, as tidy records
    run/06_dpo/jobs/KEY/...        what it trained, one folder a job
    run/06_dpo/manifest.json       written last: key, parameters, versions, cost

A stage's key is a digest of all that its results depend on: the notebook's code, the
helper modules it reaches, its parameters, the data folder and the keys of its inputs.
"""

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from helpers import jobs
from helpers.digests import code_cells, digest, folder_digest, reached
from helpers.params import ParameterError, read_schema, resolve
from helpers.provenance import peak_memory_mib, provenance
from helpers.records import read_records, tidy, write_records

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

UNKEYED = ("run_dir", "workers")  # parameters that do not change results


class RunError(RuntimeError):
    """A run folder lacks something; the message says which command makes it."""


@dataclass(frozen=True)
class Project:
    """Where the sources are, and the graph of stages."""

    root: Path = ROOT
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: STAGES)
    package: Path = ROOT / "helpers"

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


# --- the key --------------------------------------------------------------------------


def key_parts(project: Project, run: Path, stage: str, values: Mapping) -> dict:
    """All that a stage's results depend on, in parts that can be compared.

    Raises RunError if an input is not there.
    """
    cells = code_cells(project.notebook(stage))
    keyed = {name: value for name, value in values.items() if name not in UNKEYED}
    folders = {
        name: project.root / value
        for name, value in keyed.items()
        if value and isinstance(value, str)
    }
    return {
        "parameters": keyed,
        "inputs": {
            name: read_manifest(run, name, project)["key"]
            for name in project.stages[stage]
        },
        "data": {
            name: folder_digest(folder)
            for name, folder in folders.items()
            if folder.is_dir()
        },
        "notebook": digest(cells),
        "helpers": reached(cells, project.package),
    }


# --- manifests and jobs of finished stages --------------------------------------------


def manifest_file(run: Path, stage: str) -> Path:
    """Where a stage's manifest lies; it is there exactly when the stage is done."""
    return run / stage / "manifest.json"


def read_manifest(run: Path, stage: str, project: Project = PROJECT) -> dict:
    """The manifest of a finished stage.

    Keys: stage, key, parameters, inputs, data, notebook, helpers, commit, dirty,
    versions, python, platform, cpu_count, device, started, seconds, peak_memory_mib,
    records.
    Raises RunError with the command that makes it.
    """
    try:
        return json.loads(manifest_file(run, stage).read_text("utf-8"))
    except FileNotFoundError:
        command = f"prefbook run --run {run.name} --only {stage}"
        where = project.shown(run)
        raise RunError(f"{stage} is not done in {where}: `{command}`") from None


def job_folder(run: Path, stage: str, **job: object) -> Path:
    """The folder of the one job of a finished stage that has these arguments.

    Raises RunError if there is none, or more than one.
    """
    key = read_manifest(run, stage)["key"]
    return find_job(run / stage / "jobs" / key[:8], stage, job)


def find_job(folder: Path, stage: str, job: Mapping[str, object]) -> Path:
    """The folder of the one finished job in `folder` with these arguments."""
    finished = jobs.finished_jobs(folder)
    fits = [place for each, place in finished if job.items() <= each.items()]
    if len(fits) == 1:
        return fits[0]
    asked = ", ".join(f"{name}={value}" for name, value in job.items()) or "any"
    there = ", ".join(place.name for place in fits or [at for _, at in finished])
    found = f"{len(fits)} jobs" if fits else "no job"
    raise RunError(f"{stage}: {found} with {asked}; there is: {there or 'none'}")


# --- an open stage --------------------------------------------------------------------


@dataclass
class Stage:
    """A notebook at work: where it reads and writes, and the records it has so far."""

    name: str
    run: Path
    params: SimpleNamespace
    parts: dict
    project: Project = PROJECT
    started: float = field(default_factory=time.time)
    frames: list[pd.DataFrame] = field(default_factory=list)
    slugs: set[str] = field(default_factory=set)

    @property
    def dir(self) -> Path:
        """The stage's own folder in the run."""
        return self.run / self.name

    @property
    def key(self) -> str:
        """The digest of all that this stage's results depend on."""
        return digest(self.parts)

    @property
    def jobs_dir(self) -> Path:
        """Where the jobs of this key are kept."""
        return self.dir / "jobs" / self.key[:8]

    def input(self, stage: str) -> Path:
        """The folder of a finished stage that this one reads.

        Raises RunError if it is not done, or not an input in the graph of stages, since
        then a change of it would go unnoticed.
        """
        if stage not in self.project.stages[self.name]:
            raise RunError(f"{self.name} reads {stage}, but its inputs do not name it")
        read_manifest(self.run, stage, self.project)
        return self.run / stage

    def records(self, stage: str) -> pd.DataFrame:
        """The records of a finished stage that this one reads."""
        return read_records(self.input(stage) / "records.parquet")

    def job(self, stage: str, **job: object) -> Path:
        """The folder of one finished job of another stage, or of this one."""
        if stage == self.name:
            return find_job(self.jobs_dir, stage, job)
        self.input(stage)
        return job_folder(self.run, stage, **job)

    def add(self, rows: Iterable[Mapping] | pd.DataFrame) -> None:
        """Collect records; this stage's name is written into them."""
        self.frames.append(tidy(rows).assign(stage=self.name))

    def collected(self) -> pd.DataFrame:
        """The records collected so far."""
        return pd.concat([tidy([]), *self.frames], ignore_index=True)

    def run_jobs(
        self, function: jobs.JobFunction, grid: Iterable[dict], **shared: object
    ) -> pd.DataFrame:
        """Run `function(out, **job, **shared)` over a grid; collect and return records.

        Jobs that a broken run of the same key has finished are not run again. Raises
        RunError for a job that appears twice, JobError for one that fails.
        """
        grid = list(grid)
        for slug in map(jobs.slug, grid):
            if slug in self.slugs:
                raise RunError(f"{self.name}: two jobs are {slug}: tell them apart")
            self.slugs.add(slug)
        records = jobs.run_grid(
            function,
            grid,
            self.jobs_dir,
            stage=self.name,
            workers=self.params.workers,
            shared=shared,
            line=jobs.Line(self.name, self.dir / "progress.json"),
        )
        self.add(records)
        return records

    def close(self) -> None:
        """Write the records, then the manifest: only now the stage is done."""
        jobs.stop_workers()
        records = self.collected()
        write_records(records, self.dir / "records.parquet")
        for folder in (self.dir / "jobs").glob("*"):
            if folder != self.jobs_dir:
                shutil.rmtree(folder)
        for leftover in self.jobs_dir.glob(".job-*"):
            shutil.rmtree(leftover)
        (self.dir / "progress.json").unlink(missing_ok=True)
        started = datetime.fromtimestamp(self.started, UTC)
        manifest = {
            "stage": self.name,
            "key": self.key,
            **self.parts,
            "parameters": vars(self.params),
            **provenance(self.project.root),
            "started": started.isoformat("T", "seconds"),
            "seconds": round(time.time() - self.started, 2),
            "peak_memory_mib": peak_memory_mib(),
            "records": len(records),
        }
        jobs.write_json(manifest, manifest_file(self.run, self.name))


def open_stage(
    name: str, namespace: Mapping[str, object], project: Project = PROJECT
) -> Stage:
    """Open a stage of the run that the notebook's `run_dir` names.

    `namespace` is the notebook's `globals()`; its parameters are held against the
    schema, so that a bad value is refused however the notebook is run. From here on the
    stage is not done until it is closed. Raises ParameterError, or RunError if an input
    is missing.
    """
    jobs.quiet()
    schema = read_schema(project.notebook(name))
    for needed in ("run_dir", "workers"):
        if needed not in schema:
            raise ParameterError(f"{name}: {needed}: every notebook must declare it")
    values = resolve(schema, {each: namespace[each] for each in schema})
    run = (project.root / values["run_dir"]).resolve()
    parts = key_parts(project, run, name, values)
    stage = Stage(name, run, SimpleNamespace(**values), parts, project)
    manifest_file(run, name).unlink(missing_ok=True)
    clear(stage.dir)
    return stage


def clear(folder: Path) -> None:
    """Make a stage's folder, empty but for its jobs: nothing old is taken for new."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and path.name != "jobs":
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
