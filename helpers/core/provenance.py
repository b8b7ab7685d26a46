"""Where results come from: commit, versions, machine, and what it cost in memory."""

import ctypes
import gc
import os
import platform
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "tokenizers",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "statsmodels",
    "papermill",
)


def provenance(root: Path) -> dict:
    """Commit, versions and machine; no commit where there is no repository."""
    from joblib import cpu_count  # slow to import, needed here only

    return {
        **commit(root),
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": cpu_count(),
        "device": device(),
    }


def commit(root: Path) -> dict:
    """The commit of the sources, and whether they differ from it.

    None where `root` only lies somewhere inside a repository: that one is another's.
    """
    # inside a hook of another repository, git's variables would name that one
    alone = {name: each for name, each in os.environ.items() if name[:4] != "GIT_"}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=alone
        )
        return done.stdout.strip()

    try:
        if not root.samefile(git("rev-parse", "--show-toplevel")):
            return {}
        head = git("rev-parse", "HEAD")
        return {"commit": head, "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {}


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, as far as they are installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def device() -> str:
    """Name of the accelerator that torch sees, or "cpu"."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.accelerator.is_available():
        return "cpu"
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return torch.accelerator.current_accelerator().type


def peak_memory_mib() -> float:
    """Largest memory that one process held, this one or an ended worker, in MiB."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    largest = max(resource.getrusage(each).ru_maxrss for each in who)
    return round(largest / (1024**2 if sys.platform == "darwin" else 1024), 1)


@cache
def idle_memory_mib() -> float:
    """What this process held when it was first asked, before any model: the libraries.

    Parts of them that load at their first use are not among it. On a GPU, where only
    what is allocated there is watched, it is nothing.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return 0.0
    return psutil.Process().memory_info().rss / 1024**2


def give_memory_back() -> None:
    """Let the system have what earlier work has freed, as far as that can be asked.

    Else a small job that follows a large one in a process seems as large: glibc keeps
    freed memory (measured: 118 MiB in place of 46).
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


@contextmanager
def watched_memory(interval: float = 0.05) -> Iterator[list[float]]:
    """The most memory that is held inside the block, MiB, as the one item of a list.

    On a GPU what torch has allocated there; else the process's resident memory, looked
    at every `interval` seconds, since the system keeps only the peak of a whole process.
    """
    torch, peak = sys.modules.get("torch"), [0.0]
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak[0] = torch.cuda.max_memory_allocated() / 1024**2
        return
    process, done = psutil.Process(), threading.Event()

    def watch() -> None:
        while not done.wait(interval):
            peak[0] = max(peak[0], process.memory_info().rss / 1024**2)

    peak[0] = process.memory_info().rss / 1024**2
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
