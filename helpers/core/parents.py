"""Processes that end with the one they work for.

A run is a tree of processes: the command, the kernel of a notebook, workers, launched
trainings. If one is killed it cannot tell the others; they would go on computing, and
write into a folder that another run has taken. So each watches whom it works for.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

PARENT = "PREFBOOK_PARENT"  # the variable that tells a process whom it works for
ORPHANED = 75  # exit code of a process whose parent is gone: nobody reads it
_watched: set[int] = set()


def follow(pid: int, interval: float = 0.5) -> None:
    """End this process soon after process `pid` has; at once if it is gone already.

    Asked twice for the same one, it watches once.
    """
    if pid in _watched or pid == os.getpid():
        return
    _watched.add(pid)
    try:
        parent = psutil.Process(pid)
    except psutil.NoSuchProcess:
        os._exit(ORPHANED)
    watcher = threading.Thread(target=_watch, args=(parent, interval), daemon=True)
    watcher.start()


def follow_parent() -> None:
    """As `follow`, of the process that `PARENT` names; nothing if it names none."""
    if os.environ.get(PARENT, "").isdigit():
        follow(int(os.environ[PARENT]))


@contextmanager
def followed() -> Iterator[None]:
    """While it lasts, our processes that are started end with this one.

    They speak UTF-8, whatever the locale.
    """
    before = {name: os.environ.get(name) for name in (PARENT, "PYTHONUTF8")}
    os.environ.update({PARENT: str(os.getpid()), "PYTHONUTF8": "1"})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _watch(parent: psutil.Process, interval: float) -> None:
    """Wait for the end of a process: `psutil` knows it from another of the same pid."""
    while alive(parent):
        time.sleep(interval)
    os._exit(ORPHANED)


def alive(process: psutil.Process) -> bool:
    """Whether a process runs: one that has ended and is not yet waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
