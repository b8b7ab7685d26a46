"""One run of the smoke tier and the book built from it, shared by all tests here."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from filelock import FileLock

from helpers.core.paths import ROOT

NAME = "test-smoke"
# what nobody who is given a run, or a part of it, may learn
SECRETS = {
    "HF_TOKEN": "hf_planted0token",
    "WANDB_API_KEY": "planted1wandb",
    "PREFBOOK_TEST_PASSWORD": "planted2password",
}
HOME = ROOT / "runs" / ".planted3home"


def prefbook(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user types it at the project root.

    One after the other on the shared run, which two processes of tests may want at once.
    """
    (ROOT / "runs").mkdir(exist_ok=True)
    shared = FileLock(ROOT / "runs" / ".shared.lock")
    with shared if NAME in arguments else nullcontext():
        return subprocess.run(
            [sys.executable, "-m", "helpers.cli", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | environment,
        )


def once(name: str, make: Callable[[], str]) -> str:
    """What `make` says, made by the first process of tests that asks; others wait."""
    kept = ROOT / "runs" / f".once-{name}"  # `.NAME.lock` is that of the run
    kept.parent.mkdir(exist_ok=True)
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    with FileLock(kept.with_suffix(".lock")):
        if kept.exists() and kept.read_text().startswith(f"{session}\n"):
            return kept.read_text().partition("\n")[2]
        said = make()
        kept.write_text(f"{session}\n{said}")
        return said


def done_or_shown(*arguments: str) -> str:
    """What the command printed, where there are secrets; a broken stage shows it."""
    HOME.mkdir(parents=True, exist_ok=True)
    done = prefbook(*arguments, **SECRETS, HOME=str(HOME))
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


# --- a browser ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium: the one installed, or Playwright's own; else skip."""
    api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    with api.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(
                executable_path=path, args=["--no-sandbox", "--disable-gpu"]
            )
        except api.Error as error:
            pytest.skip(f"no browser to open the book in: {error}")
        yield browser
        browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder that is served on this machine."""
    handler = partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The book served on this machine."""
    with served(site) as address:
        yield address


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *args: object) -> None:
        """Not a word on each request."""
