"""Manifests: what a finished stage says of itself, and who may read it.

A job reads its stage's inputs and nothing else of a run: what it read beside them would
make nothing stale when it changes. `reading_for` says whose job it is.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from helpers.core.paths import PROJECT, STAGES, Project, RunError
from helpers.core.places import with_places

_reader: ContextVar[str] = ContextVar("reader", default="")


@contextmanager
def reading_for(stage: str) -> Iterator[None]:
    """While it lasts, only the declared inputs of a stage can be read."""
    token = _reader.set(stage)
    try:
        yield
    finally:
        _reader.reset(token)


def check_declared(stage: str) -> None:
    """RunError if the job that is running reads a stage that is no input of its own."""
    reader = _reader.get()
    if reader in STAGES and stage not in (reader, *STAGES[reader]):
        raise RunError(
            f"a job of {reader} reads {stage}, which is not among its inputs: declare it "
            "in `STAGES`, or nothing is stale when it changes"
        )


def manifest_file(run: Path, stage: str) -> Path:
    """Where a stage's manifest lies; it is there exactly when the stage is done."""
    return run / stage / "manifest.json"


def read_manifest(run: Path, stage: str, project: Project = PROJECT) -> dict:
    """The manifest of a finished stage; places of this machine are as they were given.

    Keys: stage, key, parameters, inputs, data, notebook, helpers, results, commit,
    dirty, versions, python, platform, cpu_count, device, started, seconds,
    job_seconds, peak_memory_mib, records.
    Raises RunError with the command that makes it, or if the job that reads it is of a
    stage that has not declared it.
    """
    check_declared(stage)
    try:
        found = json.loads(manifest_file(run, stage).read_text("utf-8"))
    except FileNotFoundError:
        command = f"prefbook run --run {run.name} --only {stage}"
        where = project.shown(run)
        raise RunError(f"{stage} is not done in {where}: `{command}`") from None
    return with_places(found, project.root)


def finished_parameters(
    run: Path, project: Project = PROJECT
) -> dict[str, dict[str, object]]:
    """The parameters of every stage that a run has finished, by stage."""
    done = [stage for stage in project.stages if manifest_file(run, stage).exists()]
    return {stage: read_manifest(run, stage, project)["parameters"] for stage in done}
