"""Watching a stage that runs: how far it says it is, told every half minute."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from helpers.core.atomic import Damaged, read_json
from helpers.core.escape import terminal
from helpers.core.paths import HALF, PROGRESS

Say = Callable[[str], None]


def say_on_terminal(line: str) -> None:
    """Print a line at once, into a pipe too."""
    print(terminal(line), flush=True)


class Watch(threading.Thread):
    """Says, while a stage runs, how far it is: on a terminal in one line that is
    rewritten every second, elsewhere in a line every half minute, if it has moved."""

    def __init__(self, stage: str, file: Path, say: Say) -> None:
        super().__init__(daemon=True)
        self.stage, self.file, self.say = stage, file, say
        self.over = threading.Event()
        self.started = time.monotonic()
        self.terminal = say is say_on_terminal and sys.stdout.isatty()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()
        if self.terminal:
            print("\r\033[K", end="", flush=True)

    def run(self) -> None:
        """Until the stage is over: read how far it is, and say it."""
        last = ""
        while not self.over.wait(1.0 if self.terminal else 30.0):
            far = progress(self.file)
            line = f"{self.stage}: {far}{duration(time.monotonic() - self.started)}"
            if self.terminal:
                print(f"\r\033[K{terminal(line)}", end="", flush=True)
            elif far != last:
                self.say(line)
            last = far


def progress(file: Path) -> str:
    """How far a stage says it is, like `3/6 jobs, training 40/200, `, or "".

    Jobs that run in processes of their own each say it in their half folder.
    """
    halves = sorted(file.parent.glob(f"jobs/{HALF}*/{PROGRESS}"))
    found = list(filter(None, map(said, [file, *halves])))
    total = found[0]["total"] if found else 0
    parts = [f"{found[0]['done']}/{total} jobs"] if total else []
    parts += [state["note"] for state in found if state["note"]]
    return "".join(f"{part}, " for part in parts)


def said(file: Path) -> dict:
    """What a file says of how far something is; {} if it is not there, or damaged."""
    try:
        return read_json(file, done=int, total=int, note=str)
    except (FileNotFoundError, Damaged):
        return {}


def duration(seconds: float) -> str:
    """Seconds in words: `42 s`, `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
