"""A job in sittings: what a long training leaves, so that a killed job goes on from it.

A job works in a folder aside. Trainings of minutes leave what they have there, and
`sitting.json` says what that is, under which key, and what the job had read. When the job
is run again under the same key, and what it read is the same, they go on; records and
costs are then those of a job that nobody disturbed.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from helpers.core import flops
from helpers.core.atomic import read_json, write_json
from helpers.core.digests import damage, inventory
from helpers.core.inputs import DECIMAL, InputError, quoted
from helpers.core.paths import SITTING

VARIABLE = "PREFBOOK_CHECKPOINT_SECONDS"


def seconds_between(given: str) -> float:
    """How long a training waits between two checkpoints; InputError if that is none."""
    if not DECIMAL.fullmatch(given) or given.startswith("-") or len(given) > 20:
        raise InputError(
            f"{VARIABLE} is {quoted(given)}, expected seconds, such as 300"
        )
    return float(given)


EVERY = seconds_between(os.environ.get(VARIABLE, "300"))  # shorter trainings leave none


class Sitting:
    """The job that is running: its folder, its clock, and its trainings so far."""

    def __init__(self, folder: Path, key: str, read: Mapping[str, str]) -> None:
        self.folder, self.key, self.read = folder, key, read
        self.started, self.begun = time.monotonic(), 0
        there = (folder / SITTING).exists()
        self.left: dict[str, dict] = left_in(folder)["trainings"] if there else {}
        kept = {each["folder"].split("/")[0] for each in self.left.values()}
        for each in folder.iterdir():  # what is not vouched for was begun, not finished
            if each.name not in {*kept, SITTING}:
                remove(each)

    def seconds(self) -> float:
        """How long the job has worked, in all sittings, less what was done twice."""
        return time.monotonic() - self.started

    def clear(self) -> None:
        """The job is done: leave nothing but its results."""
        for each in [*self.folder.glob("training-*"), self.folder / SITTING]:
            remove(each)


class Training:
    """One training of a job, the `number`th: what is left of it, and how to leave more."""

    def __init__(self, sitting: Sitting, number: int) -> None:
        self.sitting, self.name = sitting, f"training-{number}"
        self.left = sitting.left.get(self.name)
        self.since = time.monotonic()

    def go_on(self) -> Path | None:
        """The checkpoint to go on from, None if there is none; clocks are set to it."""
        if self.left is None:
            return None
        flops.go_on([flops.Spent(**each) for each in self.left["spent"]])
        self.sitting.started = time.monotonic() - self.left["seconds"]
        return self.sitting.folder / self.left["folder"]

    def is_due(self) -> bool:
        """Whether it is long since something was left."""
        return time.monotonic() - self.since >= EVERY

    def leave(self, save: Callable[[Path], None], step: int, about: dict) -> None:
        """Let `save` write a checkpoint to a folder, vouch for it, remove the one before.

        about: what is found in `left` again. That it is written is no part of the method:
        no clock counts it.
        """
        began, sitting = time.monotonic(), self.sitting
        spent = [flops.as_values(each) for each in flops.so_far()]
        about = {**about, "seconds": sitting.seconds(), "spent": spent}
        folder = sitting.folder / self.name / str(step)
        with flops.aside():
            remove(folder)
            save(folder)
            about["folder"] = folder.relative_to(sitting.folder).as_posix()
            about["files"] = inventory(folder)
            sitting.left[self.name] = about
            said = {"key": sitting.key, "read": dict(sitting.read)}
            write_json({**said, "trainings": sitting.left}, sitting.folder / SITTING)
            for each in folder.parent.iterdir():
                if each != folder:
                    remove(each)
        self.since = time.monotonic()
        sitting.started += self.since - began


_sitting: ContextVar[Sitting | None] = ContextVar("sitting", default=None)


@contextmanager
def sitting(folder: Path, key: str, read: Mapping[str, str]) -> Iterator[Sitting]:
    """While it lasts, trainings are those of the job that works in `folder`.

    read: what the job has read so far; it grows. What the folder holds that no earlier
    sitting vouches for is removed.
    """
    token = _sitting.set(Sitting(folder, key, read))
    try:
        yield _sitting.get()
    finally:
        _sitting.reset(token)


def next_training() -> Training | None:
    """The training that begins now, of the job that is running; None if none is."""
    if (running := _sitting.get()) is None:
        return None
    running.begun += 1
    return Training(running, running.begun)


def can_go_on(
    folder: Path, key: str, unchanged: Callable[[Mapping[str, str]], bool]
) -> bool:
    """Whether the half folder of a job is one to go on from, under this key.

    unchanged: whether what the job has read is still the same (`readings`).
    """
    try:
        about = left_in(folder)
        same = about["key"] == key and unchanged(about["read"])
        kept = about["trainings"].values()
        return same and not any(
            damage(folder / each["folder"], each["files"]) for each in kept
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def left_in(folder: Path) -> dict:
    """What `sitting.json` of a half folder says; raises FileNotFoundError or Damaged."""
    return read_json(folder / SITTING, key=str, read=dict, trainings=dict)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
