"""What a job reads of its run, noted while it reads, so that it can be asked again.

A job is done again when something that it has read is another now, and for no other
reason: a run that gets more seeds, sizes or methods keeps the trainings that it has. So a
job reads its run through `store`, which notes each question here; the digest of its answer
is kept in `job.json`, and a later run asks the same questions before it relies on the job.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from helpers.core import manifests
from helpers.core.atomic import Damaged, read_json
from helpers.core.digests import digest
from helpers.core.paths import RunError

RECORDS = "records.parquet"  # of a job: they hold what it took, too

# --- what can be asked -----------------------------------------------------------------


def finished_jobs(folder: Path) -> list[tuple[dict, Path]]:
    """The finished jobs in a folder: their arguments and their own folders, by name.

    One whose `job.json` is damaged is none: it will be done again.
    """
    found = []
    for file in sorted(folder.glob("[!.]*/job.json")):
        with suppress(Damaged):
            found.append((read_json(file, job=dict)["job"], file.parent))
    return found


def having(
    finished: list[tuple[dict, Path]], wanted: Mapping[str, object]
) -> list[tuple[dict, Path]]:
    """Those of some jobs that have these arguments."""
    return [each for each in finished if wanted.items() <= each[0].items()]


def with_arguments(run: Path, stage: str, wanted: Mapping) -> list[tuple[dict, Path]]:
    """The finished jobs of a stage that have these arguments."""
    return having(finished_jobs(run / stage / "jobs"), wanted)


def what_jobs_gave(run: Path, stage: str, **wanted: object) -> dict[str, str]:
    """A digest of what each job with these arguments has left, but for its records."""
    found = {}
    for _, folder in with_arguments(run, stage, wanted):
        files = read_json(folder / "job.json", files=dict)["files"]
        left = {name: each[1] for name, each in files.items() if name != RECORDS}
        found[folder.name] = digest(left)
    return found


def most(run: Path, stage: str, of: str, **wanted: object) -> object:
    """The largest value of an argument among jobs with these arguments."""
    return max(job[of] for job, _ in with_arguments(run, stage, wanted))


def file(run: Path, stage: str, name: str) -> str:
    """The digest of a file that a finished stage has left; RunError if it left none."""
    files = manifests.read_manifest(run, stage)["files"]
    if name not in files:
        raise RunError(f"{stage} has left no {name}: {manifests.way_out(run, stage)}")
    return files[name][1]


def parameter(run: Path, stage: str, name: str) -> object:
    """What a finished stage was given."""
    return manifests.read_manifest(run, stage)["parameters"][name]


KINDS: dict[str, Callable[..., object]] = {
    each.__name__: each for each in (what_jobs_gave, most, file, parameter)
}

# --- noting, and asking again ----------------------------------------------------------


def ask(run: Path, kind: str, stage: str, **asked: object) -> object:
    """The answer to a question, whose digest the job that is running keeps, if one is.

    Raises RunError if the job's stage has not declared the one that it asks about.
    """
    manifests.check_declared(stage)
    answer = KINDS[kind](run, stage, **asked)
    if (read := manifests.read_by_job()) is not None:
        read[json.dumps([kind, stage, asked], sort_keys=True)] = digest(answer)
    return answer


def note(run: Path, kind: str, stage: str, **asked: object) -> None:
    """As `ask`, of what is read in another way: asked only where a job is running."""
    if manifests.read_by_job() is not None:
        ask(run, kind, stage, **asked)


class Unchanged:
    """Whether what jobs have read of a run is still the same; each thing asked once."""

    def __init__(self, run: Path) -> None:
        self.run, self.known = run, dict[str, str]()

    def __call__(self, read: Mapping[str, str]) -> bool:
        """read: by question, the digest of what was the answer."""
        return all(self.now(question) == answer for question, answer in read.items())

    def now(self, question: str) -> str:
        """The digest of an answer of today; "" if there is none."""
        if question not in self.known:
            self.known[question] = ""
            with suppress(ValueError, LookupError, TypeError, OSError, RunError):
                kind, stage, asked = json.loads(question)
                self.known[question] = digest(KINDS[kind](self.run, stage, **asked))
        return self.known[question]
