"""Machines that refuse: a full or a read-only disk, a home that is none, odd locales."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import subjects
from tests.toys import GRAPH, command_line, toy_project

BIG = '(stage.dir / "big.bin").write_bytes(bytes(10**6))\nstage.add([])'


def run(seed: int, tries: int) -> list[dict]:
    """One row for each kind of machine; it is tried once, whatever is asked for.

    Not at all where this process may not mount the disk that it takes.
    """
    rows = []
    for name, attempt in PLACES.items():
        with tempfile.TemporaryDirectory() as folder:
            wrong = attempt(Path(folder))
        tries = [] if wrong is None else [wrong]
        rows.append(subjects.counted(name, tries, "one line, and it goes on"))
        print(f"{name}: {rows[-1]['outcome']}", flush=True)
    return rows


def run_toy(folder: Path, work: dict[str, str] | None = None, **variables: str | None):
    """Run the toy project in a folder, as a command with other variables."""
    project = toy_project(folder, GRAPH, **(work or {}))
    changed = subjects.environment(PYTHONPATH=str(subjects.ROOT), **variables)
    process = subprocess.Popen(
        command_line(project, "run"), cwd=folder, env=changed, **subjects.QUIET
    )
    return subjects.ended(process)


def works(end: subjects.Ended) -> str:
    """What is wrong with a command that should have worked, or ""."""
    if end.code:
        return f"exit code {end.code}: {end.wrong.strip()[-200:]}"
    return f"says {end.wrong.strip()[-200:]}" if end.wrong else ""


def refused(end: subjects.Ended) -> str:
    """What is wrong with a command that should have failed in one line, or ""."""
    if end.code != 1:
        return f"exit code {end.code}: {end.wrong.strip()[-200:]}"
    return "" if end.in_one_line else f"in many lines: {end.wrong.strip()[-300:]}"


@contextmanager
def small_disk(folder: Path, *options: str) -> Iterator[Path]:
    """A disk of 96 KB, if this process may mount one; else none."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    done = subprocess.run(mounted, capture_output=True, check=False)
    try:
        yield disk if done.returncode == 0 else None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(disk)], check=False)


def full_disk(folder: Path) -> str | None:
    """A stage that writes more than fits; with room the run goes on."""
    with small_disk(folder) as disk:
        if disk is None:
            return None
        (folder / "toy").mkdir()
        (folder / "toy" / "runs").symlink_to(disk)
        wrong = refused(run_toy(folder / "toy", {"01_b": BIG}))
    (folder / "toy" / "runs").unlink()
    return wrong or works(run_toy(folder / "toy", {"01_b": BIG}))


def read_only_disk(folder: Path) -> str | None:
    """Runs on a disk that takes nothing."""
    with small_disk(folder) as disk:
        if disk is None:
            return None
        (folder / "toy").mkdir()
        (folder / "toy" / "runs").symlink_to(disk)
        again = ["mount", "-o", "remount,ro", str(disk)]
        subprocess.run(again, check=True)
        return refused(run_toy(folder / "toy"))


def long_folder_of_temporary_files(folder: Path) -> str:
    """Sockets in a folder whose name is longer than the system takes."""
    long = folder / ("long-" * 20) / ("longer-" * 10)
    long.mkdir(parents=True)
    return works(run_toy(folder / "toy", TMPDIR=str(long)))


def no_home(folder: Path) -> str:
    """A home that is a file, so that nothing can be made in it."""
    (folder / "home").write_text("")
    gone = {"XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None, "JUPYTER_CONFIG_DIR": None}
    return works(run_toy(folder / "toy", HOME=str(folder / "home"), **gone))


def plain_ascii(folder: Path) -> str:
    """A locale that knows ASCII only."""
    own = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    work = {"00_a": "print('é → ü')\nstage.add([])"}
    return works(run_toy(folder / "toy", work, **own))


PLACES = {
    "a full disk": full_disk,
    "a read-only disk": read_only_disk,
    "a long folder of temporary files": long_folder_of_temporary_files,
    "a home that cannot be written": no_home,
    "a locale of ASCII only": plain_ascii,
}
