"""Processes end with the one they work for, however that ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from helpers.core.parents import ORPHANED, PARENT, alive, follow, followed

CHILD = "from helpers.core.parents import follow_parent; follow_parent(); print('on', flush=True); import time; time.sleep(60)"
PARENT_CODE = f"""
import subprocess, sys, time
from helpers.core.parents import followed
with followed():
    child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE)
    child.stdout.readline()
    print(child.pid, flush=True)
    time.sleep(60)
"""


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_its_parent(how: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT_CODE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert alive(child)
        parent.send_signal(how)
        parent.wait()
        assert within(5, lambda: not alive(child))


def test_who_follows_nobody_lives_on() -> None:
    """The same child without the variable: what the test above would see else."""
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "on\n"
        time.sleep(1.5)
        assert child.poll() is None
        child.kill()


def test_a_parent_that_is_gone_already_ends_it_at_once() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = os.environ | {PARENT: str(ended.pid)}
    done = subprocess.run([sys.executable, "-c", CHILD], env=own, check=False)
    assert done.returncode == ORPHANED


def test_following_oneself_does_nothing_and_the_variable_is_put_back() -> None:
    follow(os.getpid())
    before = dict(os.environ)
    with followed():
        assert os.environ[PARENT] == str(os.getpid())
    assert dict(os.environ) == before
