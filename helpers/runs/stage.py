"""A stage at work: its key, its jobs, its records, and the manifest that closes it.

What its key is made of stands in `keys`. A job's key holds only what its own results
depend on, and what it reads of the run is noted as it reads (`readings`): so a figure can
change, or a run get more seeds, without training what is there again.
"""

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from helpers.config.constraints import check_across, check_models, check_together
from helpers.config.parameters import ParameterError, resolve
from helpers.config.schema import read_schema
from helpers.core.atomic import write_json
from helpers.core.digests import digest
from helpers.core.manifests import (
    check_whole,
    finished_parameters,
    manifest_file,
    read_manifest,
)
from helpers.core.parents import follow_parent
from helpers.core.paths import PROGRESS, PROJECT, Project, RunError
from helpers.core.places import all_shown
from helpers.core.processes import Processes
from helpers.core.progress import REPORT_TO, Line, quiet
from helpers.core.provenance import peak_memory_mib, provenance
from helpers.core.records import read_records, tidy, write_records
from helpers.runs import jobs, locks
from helpers.runs.code_digests import reached_from_function
from helpers.runs.contents import holdings, results
from helpers.runs.keys import key_parts, plain
from helpers.runs.readings import Unchanged, finished_jobs
from helpers.runs.store import find_job, job_folder

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
        """Where the jobs are kept, one folder each."""
        return self.dir / "jobs"

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
            finished = finished_jobs(self.jobs_dir)
            own = [each for each in finished if each[1].name in self.slugs]
            return find_job(own, stage, job)
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

        Jobs that are there, finished under the same key, are not run again. Raises
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
            key=self.job_key(function, shared),
            unchanged=Unchanged(self.run),
            workers=self.params.workers,
            shared=shared,
            line=Line(self.name, self.dir / PROGRESS),
            processes=self.processes(),
        )
        self.add(records)
        return records

    def processes(self) -> Processes:
        """On which processes this stage's trainings run; one where it does not say."""
        count = getattr(self.params, "processes", 1)
        return Processes(count, getattr(self.params, "strategy", "ddp"))

    def job_key(self, function: jobs.JobFunction, shared: Mapping[str, object]) -> str:
        """The digest of what jobs depend on beside their arguments and what they read.

        A function that is not of the package counts with all of its notebook.
        """
        code = reached_from_function(function, self.project.package)
        settings = {name: each for name, each in shared.items() if each != self.run}
        return digest(
            {
                "code": code or self.parts,
                "settings": plain(settings),
                "data": self.parts["data"],
            }
        )

    def close(self) -> None:
        """Write the records, then the manifest: only now the stage is done."""
        jobs.stop_workers()
        records = self.collected()
        write_records(records, self.dir / "records.parquet")
        for folder in self.jobs_dir.glob("*"):  # left by other parameters or breaks
            if folder.name not in self.slugs:
                shutil.rmtree(folder)
        (self.dir / PROGRESS).unlink(missing_ok=True)
        started = datetime.fromtimestamp(self.started, UTC)
        files = holdings(self.dir)
        manifest = {
            "stage": self.name,
            "key": self.key,
            **self.parts,
            "parameters": all_shown(vars(self.params), self.project.root),
            "results": results(files, records),
            "files": files,
            **provenance(self.project.root),
            "started": started.isoformat("T", "seconds"),
            "seconds": round(time.time() - self.started, 2),
            "peak_memory_mib": peak_memory_mib(),
            "job_seconds": float(records.query("metric == 'seconds'")["value"].sum()),
            "records": len(records),
        }
        write_json(manifest, manifest_file(self.run, self.name))
        locks.give_back(self.run)


def open_stage(
    name: str, namespace: Mapping[str, object], project: Project = PROJECT
) -> Stage:
    """Open a stage of the run that the notebook's `run_dir` names.

    `namespace` is the notebook's `globals()`; its parameters are held against the
    schema, so that a bad value is refused however the notebook is run. From here on the
    stage is not done until it is closed, and no other process changes the run. Raises
    ParameterError, or RunError if an input is missing or the run is in use.
    """
    quiet()
    follow_parent()
    schema = read_schema(project.notebook(name))
    for needed in ("run_dir", "workers"):
        if needed not in schema:
            raise ParameterError(f"{name}: {needed}: every notebook must declare it")
    values = resolve(schema, {each: namespace[each] for each in schema})
    check_together(name, values)
    check_models(name, values)
    os.environ[REPORT_TO] = str(values.get("report_to", "none"))
    run = (project.root / values["run_dir"]).resolve()
    locks.take(run, project)
    for needed in project.stages[name]:
        check_whole(run, name, needed, project, thorough=False)
    check_across(name, finished_parameters(run, project) | {name: values})
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
