"""One run of the smoke tier and the book built from it, shared by all tests here."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from helpers.core.paths import ROOT

NAME = "test-smoke"


def prefbook(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user types it at the project root."""
    command = [sys.executable, "-m", "helpers.cli", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )


def once(name: str, make: Callable[[], str]) -> str:
    """What `make` says, made by the first process of tests that asks; others wait."""
    kept = ROOT / "runs" / f".{name}"
    kept.parent.mkdir(exist_ok=True)
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    with FileLock(kept.with_suffix(".lock")):
        if kept.exists() and kept.read_text().startswith(f"{session}\n"):
            return kept.read_text().partition("\n")[2]
        said = make()
        kept.write_text(f"{session}\n{said}")
        return said


def done_or_shown(*arguments: str) -> str:
    """What the command printed; a broken stage shows it."""
    done = prefbook(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def run() -> Path:
    """The folder of a finished smoke run."""

    def make() -> str:
        shutil.rmtree(ROOT / "runs" / NAME, ignore_errors=True)
        return done_or_shown("run", "--tier", "smoke", "--run", NAME)

    once(NAME, make)
    return ROOT / "runs" / NAME


@pytest.fixture(scope="session")
def site(run: Path) -> Path:
    """The folder of the built book."""
    said = once(f"{NAME}-site", lambda: done_or_shown("build", "--run", NAME))
    return Path(said.strip().splitlines()[-1]).parent
