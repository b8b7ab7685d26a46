"""What the faults are tried on: runs of the smoke tier, started as a user starts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from helpers.core.atomic import write_json
from helpers.core.paths import PROJECT, ROOT
from helpers.core.provenance import commit
from helpers.core.records import MEASURED, read_records
from helpers.runs.sweeps import copy_run

REFERENCE = (
    "chaos"  # the run that nothing disturbs: a folder in runs/, all others in it
)
COMMAND = [sys.executable, "-m", "helpers.cli"]
QUIET = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, its two outputs, seconds."""

    code: int
    said: str
    wrong: str
    seconds: float

    @property
    def in_one_line(self) -> bool:
        """Whether what went wrong is said in one line, without a traceback."""
        return self.wrong.count("\n") == 1 and "Traceback" not in self.wrong


def start(*arguments: str, **further: object) -> subprocess.Popen:
    """The command `prefbook`, begun in a process group of its own."""
    options = {"cwd": ROOT, "start_new_session": True, "preexec_fn": heeds_interrupts}
    options |= {**QUIET, **further}
    return subprocess.Popen([*COMMAND, *arguments], **options)


def heeds_interrupts() -> None:
    """Of a command that is begun: a shell lets what it starts aside ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(process: subprocess.Popen, seconds: float = 600) -> Ended:
    """Wait for the end of a command that `start` began."""
    began = time.monotonic()
    said, wrong = process.communicate(timeout=seconds)
    return Ended(process.returncode, said, wrong, time.monotonic() - began)


def prefbook(*arguments: str, **further: object) -> Ended:
    """The command `prefbook`, from its start to its end."""
    return ended(start(*arguments, **further))


def smoke(run: str, *further: str) -> list[str]:
    """The arguments that run the smoke tier, with workers in processes of their own."""
    return ["run", "--run", run, "--tier", "smoke", "-p", "workers=2", *further]


# --- the run that nothing disturbs ------------------------------------------------------


def reference() -> Path:
    """The undisturbed run, made if it is not there or stale."""
    done = prefbook(*smoke(f"{REFERENCE}"))
    if done.code:
        raise RuntimeError(f"the undisturbed run fails: {done.wrong}")
    return PROJECT.run(REFERENCE)


def copied(name: str) -> tuple[str, Path]:
    """A copy of the undisturbed run to harm: its name and its folder."""
    run = f"{REFERENCE}-{name}"
    shutil.rmtree(PROJECT.run(run), ignore_errors=True)  # of a try that was stopped
    copy_run(PROJECT.run(REFERENCE), PROJECT.run(run))
    return run, PROJECT.run(run)


def replace(path: Path, content: bytes) -> None:
    """Change a file of a copy, and not the one that it is linked with."""
    path.unlink()
    path.write_bytes(content)


def content(run: Path, stages: Sequence[str]) -> pd.DataFrame:
    """What some stages of a run have measured, without what tells of the machine."""
    found = [read_records(run / stage / "records.parquet") for stage in stages]
    records = pd.concat(found, ignore_index=True)
    return records[~records["metric"].isin(MEASURED)].reset_index(drop=True)


def same(run: Path, stages: Sequence[str]) -> bool:
    """Whether some stages of a run say what those of the undisturbed one say."""
    return content(run, stages).equals(content(PROJECT.run(REFERENCE), stages))


# --- what became of tries ---------------------------------------------------------------


def kept(part: str, number: int, attempt: Callable[[int], list[str]]) -> list[str]:
    """What became of a try: `attempt(number)`, or what it was when this commit had it.

    So that hundreds of tries need not be made in one sitting. Nothing is kept of sources
    that differ from their commit.
    """
    sources = commit(ROOT)
    if sources.get("dirty", True):
        return attempt(number)
    place = PROJECT.run(f"{REFERENCE}-tries") / sources["commit"]
    file = place / f"{part}-{number}.json"
    if not file.exists():
        place.mkdir(parents=True, exist_ok=True)
        write_json(attempt(number), file)
    return json.loads(file.read_text("utf-8"))


def counted(fault: str, outcomes: Sequence[str], good: str) -> dict:
    """A row of the table: a fault, its tries, how many went wrong, and in which words.

    outcomes: what went wrong in each try, "" where nothing did; `good` says so.
    """
    wrong = [each for each in outcomes if each]
    said = "; ".join(sorted(set(wrong))) or (good if outcomes else "not tried here")
    return {
        "fault": fault,
        "tries": len(outcomes),
        "wrong": len(wrong),
        "outcome": said,
    }


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment with changes; None takes a variable away."""
    now = {**os.environ, **{n: v for n, v in changes.items() if v is not None}}
    return {
        name: value for name, value in now.items() if changes.get(name, "") is not None
    }
