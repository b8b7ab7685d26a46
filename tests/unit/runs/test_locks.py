"""One at a time: a lock names its holder and ends with it."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import SoftFileLock

from helpers.core.paths import Project
from helpers.runs import locks
from helpers.runs.locks import InUse, held, members
from tests.toys import command

HOLDER = """
import sys, time
from pathlib import Path
from helpers.runs.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process have opened stages and left them so."""
    monkeypatch.setenv(locks.HELD, "")


@contextmanager
def other_holder(run: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds a run."""
    command = [sys.executable, "-c", HOLDER, str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_holds_it_is_said_and_a_dead_holder_s_is_taken_over(tmp_path: Path) -> None:
    project = Project(tmp_path)
    run = project.run("cpu")
    with other_holder(run) as other:
        with pytest.raises(InUse) as refused, held(run, project):
            pass
        said = str(refused.value)
        assert said.startswith(f"runs/cpu is in use by process {other.pid} (")
        assert "\n" not in said
        other.send_signal(signal.SIGKILL)
        other.wait()
        with held(run, project):
            assert locks.held_here() == [str(run)]
    assert locks.held_here() == []


def test_what_is_held_is_held_for_those_within(tmp_path: Path) -> None:
    run = tmp_path / "cpu"
    with held(run):
        with held(run):
            pass
        assert locks.held_here() == [str(run)]  # the inner one has let go of nothing
        code = f"from helpers.runs.locks import held\nfrom pathlib import Path\nwith held(Path({str(run)!r})): pass"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with other_holder(run):
        pass  # let go of


def test_two_are_let_go_of_in_any_order(tmp_path: Path) -> None:
    for name in ("a", "b"):
        locks.take(tmp_path / name)
    locks.give_back(tmp_path / "a")
    assert locks.held_here() == [str(tmp_path / "b")]
    locks.give_back(tmp_path / "b")
    assert locks.held_here() == []


def test_a_sweep_is_held_with_its_runs(tmp_path: Path) -> None:
    sweep = tmp_path / "beta"
    (sweep / "00").mkdir(parents=True)
    (sweep / "logs").mkdir()
    assert members(sweep) == []  # a run's folders are no runs
    (sweep / "sweep.json").write_text("{}")
    assert members(sweep) == [sweep / "00"]
    refused = pytest.raises(InUse, match="00 is in use")
    with other_holder(sweep / "00"), refused, held(sweep):
        pass
    assert locks.held_here() == []


def test_a_kernel_holds_a_run_until_it_gives_it_back(tmp_path: Path) -> None:
    run = tmp_path / "cpu"
    locks.take(run)
    locks.take(run)  # the cell was run again
    assert locks.held_here() == [str(run)]
    locks.give_back(run)
    assert locks.held_here() == []
    locks.give_back(run)  # which it does not hold
    with other_holder(run), pytest.raises(InUse):
        locks.take(run)


def test_a_holder_of_whom_nothing_is_known_is_another_process(tmp_path: Path) -> None:
    run = tmp_path / "cpu"
    with other_holder(run):
        for text in ("", "[]", '{"pid": "x"}'):
            locks.holder_file(run).write_text(text)
            with pytest.raises(InUse, match="in use by another process"), held(run):
                pass


COMMANDS = [["run"], ["build"], ["record"], ["push", "--dry-run"], ["clean"], ["tune"]]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: each[0])
def test_a_command_leaves_a_run_alone_that_is_in_use(
    make_project: Callable[..., Project], arguments: list[str]
) -> None:
    project = make_project({"00_a": ()})
    kept = project.run("cpu") / "kept.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")
    with other_holder(project.run("cpu")) as other:
        done = command(project, *arguments)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"runs/cpu is in use by process {other.pid}" in done.stderr
    assert kept.read_text() == "kept" and len(list(kept.parent.iterdir())) == 1


def test_a_lock_that_a_machine_left_behind_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk without locks of the system the lock is a file, which may outlive all."""
    monkeypatch.setattr(locks, "FileLock", SoftFileLock)
    project = Project(tmp_path)
    run = project.run("cpu")
    run.mkdir(parents=True)
    locks.lock_file(run).write_text("1\nanother-machine\n")
    refused = pytest.raises(InUse, match=r"if it is gone, remove runs/\.cpu\.lock")
    with refused, held(run, project):
        pass
    locks.lock_file(run).unlink()
    with held(run, project):
        pass
