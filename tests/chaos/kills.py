"""Kill a run while it works; it must go on, and say what an undisturbed one says.

A try: one stage of a finished run is taken away and run again; at a random moment its
command, its kernel, a worker or a whole process group gets KILL, TERM or INT. Then
nothing of it may live on, and the same command must finish the stage with equal records.
In half of the tries trainings leave checkpoints as often as they can.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from unittest.mock import patch

import psutil

from helpers.core.manifests import read_manifest
from helpers.core.parents import alive
from helpers.core.paths import PROJECT
from helpers.core.sittings import VARIABLE
from tests.chaos import subjects

TARGETS = ("command", "kernel", "worker", "group of the command", "group of the kernel")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STARTED = 8.0  # s until a notebook's first cell runs, roughly
LONGEST = 300.0  # s that a stage takes at most, on a machine that is busy
LEFT = 10.0  # s after which a process that works for a dead one has outlived it


def run(seed: int, tries: int) -> list[dict]:
    """One row for each kind of target and signal: tries, and what went wrong."""
    subjects.reference()
    found: dict[str, list[str]] = {}
    for number in range(seed, seed + tries):
        fault, wrong = subjects.kept("kill", number, attempt)
        print(f"kill {number}: {fault}: {wrong or 'recovered'}", flush=True)
        found.setdefault(fault, []).append(wrong)
    return [
        subjects.counted(fault, found[fault], "went on, equal records")
        for fault in sorted(found)
    ]


def attempt(number: int) -> list[str]:
    """One try, drawn from its number: the fault, and what went wrong or ""."""
    draw = random.Random(number)
    stage = draw.choice(list(PROJECT.stages))
    target, how = draw.choice(TARGETS), draw.choice(SIGNALS)
    usual = read_manifest(PROJECT.run(subjects.REFERENCE), stage)["seconds"]
    moment = draw.uniform(0.3, 1.0) * (STARTED + usual)
    often = draw.choice(("0", "300"))  # checkpoints at each log entry, or hardly one
    name, folder = subjects.copied("kill")
    shutil.rmtree(folder / stage)
    command = subjects.smoke(name, "--only", stage)
    try:
        with patch.dict(os.environ, {VARIABLE: often}):
            wrong = killed(command, target, how, moment)
            again = subjects.prefbook(*command)
        if again.code:
            wrong += f"does not go on: {again.wrong.strip()}"
        elif not subjects.same(folder, [stage]):
            wrong += f"other records of {stage}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [f"{how.name} to the {target}", f"try {number}: {wrong}" if wrong else ""]


def killed(command: list[str], target: str, how: signal.Signals, moment: float) -> str:
    """Start a command and kill a part of it; what lives on or is said too long, or ""."""
    process = subjects.start(*command)
    family = wait(process, moment)
    victims = chosen(process, target)
    for pid in victims:
        try:
            os.killpg(pid, how) if "group" in target else os.kill(pid, how)
        except ProcessLookupError:
            continue  # it has just ended
    family |= family_of(process)
    try:
        end = subjects.ended(process, LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"the command went on for {LONGEST:g} s; "
    said = end.wrong == "" or end.in_one_line
    wrong = "" if said else f"more than one line: {end.wrong.strip()[:200]}; "
    deadline = time.monotonic() + LEFT
    while (
        left := [each for each in family if alive(each)]
    ) and time.monotonic() < deadline:
        time.sleep(0.2)
    for each in left:
        each.kill()
    return wrong + (f"{len(left)} processes lived on; " if left else "")


def wait(process: subprocess.Popen, moment: float) -> set[psutil.Process]:
    """Until the moment, or the command's end; all processes that it had meanwhile."""
    end, family = time.monotonic() + moment, set()
    while time.monotonic() < end and process.poll() is None:
        family |= family_of(process)
        time.sleep(0.1)
    return family


def family_of(process: subprocess.Popen) -> set[psutil.Process]:
    """The processes that work for a command now, itself left out."""
    try:
        return set(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def chosen(process: subprocess.Popen, target: str) -> list[int]:
    """The pids that a target means; the command's where there is no such process yet."""
    family = family_of(process)
    kernels = [each for each in family if "ipykernel_launcher" in command_of(each)]
    workers = [each for each in family if "LokyProcess" in command_of(each)]
    wanted = {"worker": workers[:1], "kernel": kernels, "group of the kernel": kernels}
    return [each.pid for each in wanted.get(target, [])] or [process.pid]


def command_of(process: psutil.Process) -> str:
    """How a process was started; "" of one that is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
