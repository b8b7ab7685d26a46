"""A run that is interrupted says what is kept, leaves nothing running, and goes on."""

import asyncio
import gc
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from helpers.core.parents import alive
from helpers.core.paths import Project
from helpers.runs import pipeline
from tests.chaos.subjects import heeds_interrupts
from tests.toys import command_line

WAITS = """
import time
begun = project.root / "begun"
if not begun.exists():
    begun.write_text("")
    time.sleep(60)
stage.add([])
"""


def started(project: Project, *arguments: str) -> subprocess.Popen:
    """A command on the toy project whose second stage is at work."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes["preexec_fn"] = heeds_interrupts
    process = subprocess.Popen(command_line(project, *arguments), **pipes)
    wait_for(project.root / "begun")
    return process


def wait_for(file: Path, seconds: float = 90) -> None:
    """Until a file is there."""
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end, f"no {file.name} after {seconds} s"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("how", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_a_run_ends_when_it_is_told(
    make_project: Callable[..., Project], how: signal.Signals, code: int
) -> None:
    project = make_project({"00_a": (), "01_b": ("00_a",)}, **{"01_b": WAITS})
    process = started(project, "run")
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(how)
    _, wrong = process.communicate(timeout=30)
    assert process.returncode == code
    if how != signal.SIGKILL:
        words = "prefbook: interrupted: runs/cpu keeps 1 finished stages; the same"
        assert wrong.startswith(words) and wrong.count("\n") == 1, wrong
    end = time.monotonic() + 10
    while any(map(alive, family)) and time.monotonic() < end:
        time.sleep(0.1)
    assert family and not any(map(alive, family))
    again = subprocess.run(
        command_line(project, "run"), capture_output=True, check=False
    )
    assert again.returncode == 0, again.stderr


def cell_that_ends_late(*_: object, **__: object) -> None:
    """What Papermill does on Ctrl-C, where the kernel still answers: it tells nobody."""

    async def fails() -> None:
        raise RuntimeError("KeyboardInterrupt of a cell")

    async def interrupted() -> None:
        asyncio.get_running_loop().create_task(fails())
        await asyncio.sleep(0.01)

    # In a thread of its own: a browser's test leaves this one with a loop that runs.
    own = threading.Thread(target=lambda: asyncio.run(interrupted()))
    own.start()
    own.join()
    gc.collect()
    logging.getLogger("papermill").error("Kernel died while waiting for a reply.")


@pytest.fixture
def talkative() -> Iterator[None]:
    """Libraries as they are before `execute` was called; afterwards as they were."""
    loggers = [logging.getLogger(name) for name in pipeline.TELL_TWICE]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.NOTSET)
    yield
    for each, level in zip(loggers, before):
        each.setLevel(level)


def test_a_cell_that_an_interrupt_ended_is_not_told_of(
    talkative: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cell_that_ends_late()
    assert "never retrieved" in caplog.text and "Kernel died" in caplog.text
    caplog.clear()
    monkeypatch.setattr(pipeline.papermill, "execute_notebook", cell_that_ends_late)
    pipeline.execute(Path("a"), Path("b"), {}, Path())
    assert caplog.text == ""


def test_the_runs_of_a_sweep_end_with_it(make_project: Callable[..., Project]) -> None:
    pytest.importorskip("submitit")
    project = make_project({"00_a": (), "01_b": ("00_a",)}, **{"01_b": WAITS})
    process = started(project, "sweep", "--name", "s", "-g", "01_b.x=1,2")
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    _, wrong = process.communicate(timeout=30)
    assert process.returncode == 143 and wrong.count("\n") == 1, wrong
    end = time.monotonic() + 10
    while any(map(alive, family)) and time.monotonic() < end:
        time.sleep(0.1)
    assert len(family) > 1 and not any(map(alive, family))
