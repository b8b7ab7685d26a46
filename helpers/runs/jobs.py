"""A grid of jobs over processes: each job done once, kept whole, never half.

A job is a function with its arguments and an own folder. It works in a folder aside
that is renamed when the job is done, so what a broken run finished is there when it
resumes, and so is what long trainings have left there (`core.sittings`).
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import joblib
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from helpers.core.atomic import read_json, write_json
from helpers.core.digests import damage, inventory
from helpers.core.failures import keep_failed
from helpers.core.flops import metered
from helpers.core.manifests import reading_for
from helpers.core.parents import follow
from helpers.core.paths import HALF, PROGRESS
from helpers.core.processes import ALONE, Processes
from helpers.core.progress import Line, Progress, quiet
from helpers.core.provenance import give_memory_back, idle_memory_mib, watched_memory
from helpers.core.records import ABOVE_IDLE, COLUMNS, read_records, tidy, write_records
from helpers.core.sittings import can_go_on, sitting
from helpers.runs.launch import launch
from helpers.statistics.flags import raised

JobFunction = Callable[..., list[dict]]


class JobError(RuntimeError):
    """A job failed; the message names it and its arguments."""


# --- the folder of a job --------------------------------------------------------------


def slug(job: Mapping[str, object]) -> str:
    """A job's folder name, `init=codepmp,pairs=1000,seed=0`, safe on any disk."""
    plain = ",".join(f"{name}={value}" for name, value in job.items()) or "job"
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "_", plain)[:120]
    if safe == plain:
        return safe
    return f"{safe},{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def is_done(
    folder: Path, key: str, unchanged: Callable[[Mapping[str, str]], bool]
) -> bool:
    """Whether a job's folder is there as it was made, under this key.

    unchanged: whether what it has read of the run is still the same (`readings`).
    """
    try:
        about = read_json(folder / "job.json", job=dict, key=str, files=dict, read=dict)
        same = about["key"] == key and unchanged(about["read"])
        return same and not damage(folder, about["files"])
    except (FileNotFoundError, ValueError):
        return False


def half_of(folder: Path) -> Path:
    """Where a job works until its folder can be there."""
    return folder.with_name(HALF + folder.name)


def run_job(
    function: JobFunction,
    job: dict,
    shared: dict,
    folder: Path,
    stage: str,
    key: str,
    processes: Processes = ALONE,
) -> None:
    """Run one job and leave its folder, with `records.parquet` and `job.json`.

    The record columns among the job's arguments are filled into its rows; further rows
    say what looks wrong (`flags`) and what it cost (`measured`). What was there under
    another key is replaced. It goes on from what an earlier sitting has left in its half
    folder. Raises JobError, from the cause, when it fails; nothing is left then.
    """
    aside = half_of(folder)
    aside.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with reading_for(stage) as read, sitting(aside, key, read) as clock:
            rows = measured(function, aside, {**job, **shared}, processes)
        seconds = clock.seconds()
        clock.clear()
        (aside / PROGRESS).unlink(missing_ok=True)
        common = {name: value for name, value in job.items() if name in COLUMNS}
        common["stage"] = stage
        rows = [*rows, *raised(tidy(rows)), {"metric": "seconds", "value": seconds}]
        write_records(tidy(rows, **common), aside / "records.parquet")
        about = {"job": job, "key": key, "read": read, "seconds": round(seconds, 2)}
        write_json({**about, "files": inventory(aside)}, aside / "job.json")
        aside.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(aside, folder)
    except Exception as error:
        what = f"{type(error).__name__}: {error}{keep_failed(aside, folder)}"
        shutil.rmtree(aside, ignore_errors=True)
        raise JobError(f"{stage}: job {slug(job)} failed: {what}") from error


def measured(
    function: JobFunction, out: Path, arguments: dict, processes: Processes
) -> list[dict]:
    """The rows of a job, and what it cost by itself, however many run beside it.

    `train_flops`, `optimiser_steps` and `cpu_seconds` as `flops` counts them, over all its
    processes; `peak_memory_mib` of this process, and `memory_above_idle_mib`, less what
    the libraries hold, where the job works in this process.
    """
    if processes.count > 1:  # they count themselves
        with watched_memory() as peak:
            rows = launch(function, out, arguments, processes)
        return [*rows, {"metric": "peak_memory_mib", "value": peak[0]}]
    give_memory_back()  # what an earlier job left is not this one's
    idle = idle_memory_mib()
    with watched_memory() as peak, metered() as spent:
        rows = function(out, **arguments)
    held = {"peak_memory_mib": peak[0], ABOVE_IDLE: max(0.0, peak[0] - idle)}
    memory = [{"metric": name, "value": value} for name, value in held.items()]
    return [*rows, *spent.rows(), *memory]


# --- the grid -------------------------------------------------------------------------


def worker_count(workers: int, jobs: int) -> int:
    """How many processes: `workers`, or by itself one per core, but one with a GPU."""
    if workers == 0:
        import torch

        workers = 1 if torch.accelerator.is_available() else joblib.cpu_count()
    return max(1, min(workers, jobs))


def run_grid(
    function: JobFunction,
    grid: Iterable[dict],
    folder: Path,
    *,
    stage: str,
    key: str = "",
    unchanged: Callable[[Mapping[str, str]], bool] = lambda _: True,
    workers: int = 0,
    shared: dict | None = None,
    line: Line | None = None,
    processes: Processes = ALONE,
) -> pd.DataFrame:
    """Run `function(out, **job, **shared)` for each job of the grid; all their records.

    Jobs that are done under this `key`, and that have read what is `unchanged`, are not
    run again. With one worker they run in
    this process; otherwise in processes of one thread each. With several `processes`
    each job runs on them, one job after the other. The records come in the order of the grid,
    however the jobs were run. Raises JobError at the first job that fails; the finished
    ones stay.
    """
    grid = list(grid)
    if not grid:
        return tidy([])
    places = [folder / slug(job) for job in grid]
    for half in map(half_of, places):  # of a run that was killed: nobody works there
        if half.exists() and not can_go_on(half, key, unchanged):
            shutil.rmtree(half, ignore_errors=True)
    todo = [at for at, place in enumerate(places) if not is_done(place, key, unchanged)]
    calls = [
        (function, grid[at], shared or {}, places[at], stage, key, processes)
        for at in todo
    ]
    if processes.count > 1:
        workers = 1
    line = line or Line(stage)
    line.begin(len(grid), len(grid) - len(todo))
    threads = 2 if len(grid) == 1 else 1
    workers = worker_count(workers, len(grid))
    for _ in _run_all(calls, workers, threads, line, stage):
        line.one_done()
    line.end()
    frames = [read_records(place / "records.parquet") for place in places]
    return pd.concat(frames, ignore_index=True)


def _run_all(
    calls: list[tuple], workers: int, threads: int, line: Line, stage: str
) -> Iterable[None]:
    """Run the calls of `run_job`, yielding whenever one of them is done."""
    if workers == 1 or not calls:
        for call in calls:
            Progress.line = line
            try:
                with limited(threads):
                    run_job(*call)
                yield
            finally:
                Progress.line = None
        return
    own = {"initializer": follow, "initargs": (os.getpid(),)}
    with joblib.parallel_config("loky", inner_max_num_threads=1, **own):
        parallel = joblib.Parallel(
            workers, return_as="generator_unordered", max_nbytes=None
        )
        try:
            yield from parallel(joblib.delayed(_run_quietly)(*call) for call in calls)
        except TerminatedWorkerError as error:
            hint = "often for want of memory: try fewer, `-p workers=1`"
            raise JobError(f"{stage}: a worker process died, {hint}") from error


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """So many threads for torch on the CPU: one a job, as in worker processes.

    Sums depend on the number of threads, so it must not depend on `workers` or on the
    cores. A job that is alone in its grid gets two: no other could use the second core.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_quietly(*call: object) -> None:
    """`run_job` in a worker process; a file in its half folder tells how far it is."""
    quiet()
    *_, folder, stage, _, _ = call
    Progress.line = Line(stage, half_of(folder) / PROGRESS)
    try:
        run_job(*call)
    finally:
        Progress.line = None


def stop_workers() -> None:
    """End the worker processes, if any, and give their memory back."""
    get_reusable_executor().shutdown(wait=True)
