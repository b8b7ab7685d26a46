"""Many runs: a grid of values, one run for each combination, over a scheduler.

The scheduler is submitit's: processes of this machine, or a SLURM cluster. A sweep is a
folder, `runs/NAME`, of which each run is a part; what it found is one table of records,
`records.parquet`, with a column for each parameter that varies.
"""

import itertools
import logging
import math
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from helpers.config.parameters import ParameterError
from helpers.config.settings import Values, all_values
from helpers.core.atomic import read_json, write_json
from helpers.core.inputs import shown
from helpers.core.parents import follow_parent, followed
from helpers.core.paths import PROGRESS, Project
from helpers.runs.watch import Say

MOST_POINTS = 1000  # of a grid: more is a slip of the keyboard


@dataclass(frozen=True)
class Point:
    """One combination of a grid: its run, and the values it has there, as texts."""

    run: str  # name of the run: a folder in runs/
    varied: dict[str, str]  # as given: `06_dpo.beta` -> `0.3`
    values: Values


# --- the grid --------------------------------------------------------------------------


def parse_grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """The values of each `name=value,value`; a list value is written `[a,b]`.

    Raises ParameterError for one without values, a name that comes twice, or more
    combinations than MOST_POINTS.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not values:
            raise ParameterError(f"-g {shown(text)}: expected name=value,value,...")
        if name in grid:
            raise ParameterError(f"-g {shown(text)}: {shown(name)} is varied twice")
        grid[name] = split_values(values)
    if not grid:
        raise ParameterError("-g: got none, expected what varies: name=value,value,...")
    count = math.prod(map(len, grid.values()))
    if count > MOST_POINTS:
        raise ParameterError(f"-g: got {count} runs, expected at most {MOST_POINTS}")
    return grid


def split_values(text: str) -> list[str]:
    """Parts between commas that stand in no brackets; ParameterError if one is open."""
    parts, start, depth = [], 0, 0
    for at, letter in enumerate(f"{text},"):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
        if depth not in (0, 1):
            break
    if depth:
        raise ParameterError(
            f"-g {shown(text)}: expected [ and ] in pairs, as [1,2],[3]"
        )
    return parts


def points(
    project: Project,
    name: str,
    grid: Mapping[str, Sequence[str]],
    tier: str = "cpu",
    files: Sequence[Path] = (),
    given: Sequence[str] = (),
) -> list[Point]:
    """Every combination of a grid, checked: a bad one is refused before any runs.

    Raises ParameterError, for the first combination that is not allowed or is the same
    as another.
    """
    found, same = [], {}
    for number, chosen in enumerate(itertools.product(*grid.values())):
        run = f"{name}/{number:02d}"
        varied = dict(zip(grid, chosen))
        texts = [*given, *(f"{key}={value}" for key, value in varied.items())]
        stages = list(project.stages)
        values = all_values(project, stages, f"runs/{run}", tier, files, texts)
        found.append(Point(run, varied, values))
        key = repr([{**values[stage], "run_dir": ""} for stage in stages])
        if same.setdefault(key, run) != run:
            raise ParameterError(
                f"-g: {same[key]} and {run} would be the same run, {words(found[-1])}: "
                "expected every value once"
            )
    return found


# --- running ---------------------------------------------------------------------------


def begin(project: Project, name: str, wanted: Sequence[Point], like: str) -> Path:
    """The sweep's folder with its list of runs; each run begins as a copy of `like`.

    Raises ParameterError if another sweep or a run has this name.
    """
    if "/" in name:
        raise ParameterError(f"--name {name}: expected a name without a slash")
    folder = project.run(name)
    listed = {point.run: point.varied for point in wanted}
    there = folder / "sweep.json"
    if folder.exists() and not there.exists():
        raise ParameterError(f"--name {name}: {project.shown(folder)} is not a sweep")
    if there.exists() and read_json(there) != listed:
        raise ParameterError(
            f"--name {name}: a sweep of other values has this name; choose another, or "
            f"remove {project.shown(folder)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for point in wanted:
        if like and not project.run(point.run).exists():
            copy_run(project.run(like), project.run(point.run))
    write_json(listed, there)
    return folder


def copy_run(source: Path, target: Path) -> None:
    """A run's copy, in links where the disk allows; a run never changes a file in place."""
    aside = target.with_name(f".{target.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    left_out = shutil.ignore_patterns("book", PROGRESS, ".*")
    try:
        shutil.copytree(source, aside, copy_function=os.link, ignore=left_out)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(source, aside, ignore=left_out)
    aside.replace(target)


def check_cluster(cluster: str) -> None:
    """Raise ParameterError for a cluster that is not known or cannot be used here."""
    if find_spec("submitit") is None:
        raise ParameterError("sweep: needs submitit: pip install 'prefbook[sweep]'")
    if cluster not in ("local", "slurm", "debug"):
        raise ParameterError(
            f"--cluster {shown(cluster)}: expected one of local, slurm, debug"
        )
    if cluster == "slurm" and not shutil.which("srun"):
        raise ParameterError("--cluster slurm: there is no `srun` on this machine")


def executor_of(cluster: str, folder: Path, minutes: int, gpus: int, partition: str):
    """A submitit executor that writes its logs into the sweep's folder, which it makes."""
    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)
    executor = submitit.AutoExecutor(folder=folder / "logs" / "%j", cluster=cluster)
    executor.update_parameters(
        timeout_min=minutes, gpus_per_node=gpus, name=folder.name
    )
    if partition:
        executor.update_parameters(slurm_partition=partition)
    return executor


def keeps_accounts() -> bool:
    """Whether SLURM can tell how a job ended; submitit asks it by `sacct`."""
    if not shutil.which("sacct"):
        return False
    return subprocess.run(["sacct"], capture_output=True, check=False).returncode == 0


def run_point(project: Project, point: Point) -> int:
    """Run what is stale of one combination; how many stages ran."""
    # brings Papermill, which pages need not
    from helpers.runs.pipeline import run_stages

    follow_parent()
    return len(run_stages(project, project.run(point.run), point.values))


def run_sweep(
    project: Project,
    wanted: Sequence[Point],
    executor,
    say: Say,
    parallel: int = 1,
    pause: float = 1.0,
) -> dict[str, str]:
    """Run all points over a submitit executor, at most `parallel` at a time.

    A job that fails or dies leaves the others alone: the result says why, by run. The
    same sweep can be started again; what is finished is not done again. If it is broken
    off, its jobs are cancelled; on this machine they end even if it is killed.
    """
    waiting, running, failed = list(wanted), {}, {}
    here = executor.cluster == "local"
    with followed() if here else nullcontext():
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    point = waiting.pop(0)
                    running[point.run] = executor.submit(run_point, project, point)
                    left = len(waiting)
                    say(f"{point.run}: started ({words(point)}), {left} waiting")
                for name in [name for name, job in running.items() if job.done()]:
                    error = running.pop(name).exception()
                    if error is not None:
                        failed[name] = cause(error)
                    say(f"{name}: {failed.get(name, 'done')}")
                if running:
                    time.sleep(pause)
        finally:
            for job in [] if here else running.values():
                job.cancel(check=False)
    return failed


def words(point: Point) -> str:
    """What a point varies, in words."""
    return ", ".join(f"{n}={shown(value)}" for n, value in point.varied.items())


def cause(error: Exception) -> str:
    """Why a job failed: the last line of its trace, which names the stage."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "failed:" in line or "Error:" in line]
    last = (named or lines or [type(error).__name__])[-1].strip()
    return f"failed: {last.removeprefix('helpers.runs.pipeline.StageError: ')}"
