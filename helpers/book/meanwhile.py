"""Pages while a run goes on: a process aside builds them whenever a stage has ended."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.core.paths import Project
from helpers.runs.watch import Say, say_on_terminal

BUILDER = "helpers.book.early"
REST = 4  # times as long as a build takes, until the next one may begin


@contextmanager
def pages_meanwhile(
    project: Project, run: Path, say: Say = say_on_terminal
) -> Iterator[Callable[[Sequence[str]], None]]:
    """While it lasts, what it yields builds pages; it is told which stages are done."""
    early = EarlyBook(project, run, say)
    try:
        yield early.stage_ended
    finally:
        early.close()


class EarlyBook:
    """One build at a time, with a rest between two, so that they take little of a run.

    The first one that ends says where the front page is.
    """

    def __init__(self, project: Project, run: Path, say: Say) -> None:
        self.project, self.run, self.say = project, run, say
        self.thread: threading.Thread | None = None
        self.rests = 0.0  # until when
        self.told = self.closed = False

    def stage_ended(self, done: Sequence[str]) -> None:
        """Begin to build, unless a build goes on or is not long ago, or all is done."""
        busy = self.thread is not None and self.thread.is_alive()
        all_done = set(done) >= set(self.project.stages)
        if busy or all_done or time.monotonic() < self.rests:
            return
        command = [sys.executable, "-m", BUILDER, str(self.run.resolve()), *done]
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # a group of its own, which `close` ends; it follows this process by itself
        apart = {"cwd": self.project.root, "start_new_session": True}
        self.process = subprocess.Popen(command, **quiet, **apart)
        self.thread = threading.Thread(target=self.wait, daemon=True)
        self.thread.start()

    def wait(self) -> None:
        """Until the build has ended; the first time, say where the pages are, or why not."""
        began = time.monotonic()
        found, wrong = self.process.communicate()
        now = time.monotonic()
        self.rests = now + REST * (now - began)
        if self.closed or self.told:
            return
        self.told = True
        if self.process.returncode == 0:
            self.say(f"pages of what is done: {found.strip()}")
        else:
            last = (wrong.strip() or "their build ended").splitlines()[-1]
            self.say(f"pages come at the end: {last}")

    def close(self) -> None:
        """End a build that goes on: the whole book comes now, or the run was stopped."""
        self.closed = True
        if self.thread is not None and self.thread.is_alive():
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(self.process.pid, signal.SIGKILL)
            self.thread.join()
