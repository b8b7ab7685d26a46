"""Manifests: what a finished stage says of itself, and who may read it.

A job reads its stage's inputs and nothing else of a run: what it read beside them would
make nothing stale when it changes. `reading_for` says whose job it is, and keeps what
it reads (`helpers.runs.readings`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from helpers.core.atomic import Damaged, read_json
from helpers.core.digests import damage
from helpers.core.paths import PROJECT, STAGES, Project, RunError
from helpers.core.places import with_places

NUMBER = (int, float)
NEEDED = {  # what every reader of a manifest may rely on
    "stage": str,
    "key": str,
    "parameters": dict,
    "results": dict,
    "files": dict,
    "versions": dict,
    "started": str,
    "seconds": NUMBER,
    "records": int,
}

# the stage whose job is running, and what the job has read: question -> digest
_reader: ContextVar[tuple[str, dict[str, str] | None]] = ContextVar(
    "reader", default=("", None)
)


@contextmanager
def reading_for(stage: str) -> Iterator[dict[str, str]]:
    """While it lasts, only the declared inputs of a stage can be read; what was read."""
    read: dict[str, str] = {}
    token = _reader.set((stage, read))
    try:
        yield read
    finally:
        _reader.reset(token)


def read_by_job() -> dict[str, str] | None:
    """What the job that is running has read so far; None if none is."""
    return _reader.get()[1]


def reader() -> str:
    """The stage whose job is running; "" if none is."""
    return _reader.get()[0]


def note_all(read: Mapping[str, str]) -> None:
    """Note what the job that is running has read in other processes."""
    if (own := read_by_job()) is not None:
        own.update(read)


def check_declared(stage: str) -> None:
    """RunError if the job that is running reads a stage that is no input of its own."""
    own = reader()
    if own in STAGES and stage not in (own, *STAGES[own]):
        raise RunError(
            f"a job of {own} reads {stage}, which is not among its inputs: declare it "
            "in `STAGES`, or nothing is stale when it changes"
        )


def manifest_file(run: Path, stage: str) -> Path:
    """Where a stage's manifest lies; it is there exactly when the stage is done."""
    return run / stage / "manifest.json"


def load_manifest(run: Path, stage: str, project: Project = PROJECT) -> dict:
    """The manifest of a stage; places of this machine are as they were given.

    Raises FileNotFoundError if there is none, Damaged if it is none.

    Keys: stage, key, parameters, inputs, data, notebook, helpers, results, files, commit,
    dirty, versions, python, platform, cpu_count, device, started, seconds,
    job_seconds, peak_memory_mib, records.
    """
    found = read_json(manifest_file(run, stage), **NEEDED)
    return with_places(found, project.root)


def read_manifest(run: Path, stage: str, project: Project = PROJECT) -> dict:
    """The manifest of a finished stage, as `load_manifest`.

    Raises RunError with the command that makes it, or if the job that reads it is of a
    stage that has not declared it.
    """
    check_declared(stage)
    try:
        return load_manifest(run, stage, project)
    except FileNotFoundError:
        why = f"{stage} is not done in {project.shown(run)}"
    except Damaged as error:
        why = f"{project.shown(run)}: {error}"
    raise RunError(f"{why}: {way_out(run, stage, project)}") from None


def way_out(run: Path, stage: str, project: Project = PROJECT) -> str:
    """The command that makes a stage of a run again."""
    return f"`prefbook run --run {project.name_of(run)} --only {stage}`"


def check_whole(
    run: Path,
    stage: str,
    needed: str,
    project: Project = PROJECT,
    thorough: bool = True,
) -> None:
    """RunError, with the way out, if what a stage reads is not done, or damaged.

    needed: the stage that it reads; thorough: as for `digests.damage`.
    """
    try:
        read_manifest(run, needed, project)
    except RunError as error:
        raise RunError(f"{stage} reads {needed}: {error}") from None
    if wrong := damaged_files(run, needed, thorough):
        what = f"{stage} reads {needed}, of which {', '.join(first_few(wrong))}"
        raise RunError(f"{what}: {way_out(run, needed, project)}")


def first_few(said: Sequence[str], most: int = 3) -> list[str]:
    """The first few of some findings, and how many more there are."""
    return [*said[:most], *([f"and {len(said) - most} more"] * (len(said) > most))]


def damaged_files(run: Path, stage: str, thorough: bool = True) -> list[str]:
    """What a finished stage no longer holds as it was written, in words.

    thorough: as for `digests.damage`.
    """
    try:
        held = load_manifest(run, stage)["files"]
        return damage(run / stage, held, thorough)
    except ValueError as error:  # the manifest itself
        return [str(error)]


def finished_parameters(
    run: Path, project: Project = PROJECT
) -> dict[str, dict[str, object]]:
    """The parameters of every stage that a run has finished, by stage."""
    found = {}
    for stage in project.stages:
        with suppress(FileNotFoundError, Damaged):  # it will run again
            found[stage] = load_manifest(run, stage, project)["parameters"]
    return found
