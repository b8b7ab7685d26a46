"""One run of the smoke tier and the book built from it, shared by all tests here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.core.paths import ROOT

NAME = "test-smoke"


def prefbook(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user types it at the project root."""
    command = [sys.executable, "-m", "helpers.cli", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def run() -> Path:
    """The folder of a finished smoke run; a broken stage shows what it printed."""
    shutil.rmtree(ROOT / "runs" / NAME, ignore_errors=True)
    done = prefbook("run", "--tier", "smoke", "--run", NAME)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "runs" / NAME


@pytest.fixture(scope="session")
def site(run: Path) -> Path:
    """The folder of the built book."""
    done = prefbook("build", "--run", NAME)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.strip().splitlines()[-1]).parent
