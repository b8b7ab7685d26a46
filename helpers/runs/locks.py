"""One at a time: who changes a run holds its lock, and lets go of it when it ends.

The lock is one of the system on a file beside the run's folder, so it is gone with its
holder, however that ended; a second file says who holds it. Processes that a holder
starts work under its lock.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from helpers.core.atomic import Damaged, read_json, write_json
from helpers.core.paths import PROJECT, Project, RunError

HELD = "PREFBOOK_HELD"  # the variable that tells what is held, to those started too
_taken: dict[Path, ExitStack] = {}


class InUse(RunError):
    """Another process changes the run; the message says which."""


@contextmanager
def held(run: Path, project: Project = PROJECT) -> Iterator[None]:
    """While it lasts, no other process changes a run, or one of a sweep's runs.

    Raises InUse if one does.
    """
    with ExitStack() as stack:
        for folder in (run, *members(run)):
            if str(folder) not in held_here():
                stack.enter_context(locked(folder, project))
        yield


def take(run: Path, project: Project = PROJECT) -> None:
    """Hold a run until `give_back`, or until this process ends; for a notebook's kernel.

    Taken twice it is held once. Raises InUse.
    """
    if run not in _taken:
        stack = ExitStack()
        stack.enter_context(held(run, project))
        _taken[run] = stack


def give_back(run: Path) -> None:
    """Let go of a run that was taken."""
    if run in _taken:
        _taken.pop(run).close()


def members(run: Path) -> list[Path]:
    """The runs of a sweep; none for a run."""
    found = run.iterdir() if (run / "sweep.json").exists() else ()
    return sorted(each for each in found if each.is_dir() and each.name.isdigit())


def held_here() -> list[str]:
    """The folders that this process holds, or one that has started it."""
    return [each for each in os.environ.get(HELD, "").split(os.pathsep) if each]


@contextmanager
def locked(run: Path, project: Project) -> Iterator[None]:
    """Hold the lock of one folder."""
    file = lock_file(run)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        said = in_use(run, project)
        if isinstance(
            lock, SoftFileLock
        ):  # a disk without locks: it may be left behind
            said += f"; if it is gone, remove {project.shown(file)}"
        raise InUse(said) from None
    try:
        started = datetime.now().isoformat(" ", "seconds")
        about = {"pid": os.getpid(), "what": what_runs(), "since": started}
        write_json(about, holder_file(run))
        os.environ[HELD] = os.pathsep.join([*held_here(), str(run)])
        yield
    finally:
        others = [each for each in held_here() if each != str(run)]
        os.environ[HELD] = os.pathsep.join(others)
        holder_file(run).unlink(missing_ok=True)
        lock.release()


def lock_file(run: Path) -> Path:
    """Where the lock of a folder lies: beside it, since the folder may be removed."""
    return run.with_name(f".{run.name}.lock")


def holder_file(run: Path) -> Path:
    """Where it stands who holds the lock of a folder."""
    return run.with_name(f".{run.name}.holder.json")


def what_runs() -> str:
    """This process in words: the command as it was typed, or a notebook's kernel."""
    name = Path(sys.argv[0]).name
    if "ipykernel" in name or "ipykernel_launcher" in sys.argv[0]:
        return "a notebook"
    name = "prefbook" if name in ("cli.py", "prefbook") else name
    return " ".join([name, *sys.argv[1:]])[:100]


def in_use(run: Path, project: Project) -> str:
    """Who holds the lock of a folder, and what to do."""
    try:
        about = read_json(holder_file(run), pid=int, what=str, since=str)
        who = f"process {about['pid']} ({about['what']}, since {about['since']})"
    except (OSError, Damaged):
        who = "another process"  # it has just begun
    return (
        f"{project.shown(run)} is in use by {who}: wait until it has ended, or end it"
    )
