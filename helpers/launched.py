"""One job on several processes: what `processes > 1` does with a training.

The job's function and its arguments are written down, and `accelerate launch` starts
this module once per process, with a configuration of `notebooks/strategies`. Every
process trains its share of each batch; the first one saves.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from helpers.files import write_json
from helpers.flops import Spent, aside, metered
from helpers.progress import quiet

CLI = "accelerate.commands.launch"
SOURCES = Path(__file__).resolve().parent.parent  # where other processes find helpers
JobFunction = Callable[..., list[dict]]


class LaunchError(RuntimeError):
    """A job that failed on several processes, or cannot be launched."""


@dataclass(frozen=True)
class Processes:
    """How many processes train a model, and what each of them holds of it.

    strategy: a file of `notebooks/strategies`. `ddp`: all of it; `zero2`: its weights,
    a part of gradients and moments; `fsdp`: a part of everything.
    """

    count: int = 1
    strategy: str = "ddp"


ALONE = Processes()


def launch(
    function: JobFunction,
    out: Path,
    arguments: Mapping[str, object],
    processes: Processes,
) -> list[dict]:
    """`function(out, **arguments)` on several processes; the rows of the first, and
    what all of them spent (`flops.Spent.rows`).

    Raises LaunchError with what the first process that failed said.
    """
    if not function.__module__.startswith("helpers."):
        raise LaunchError(f"{function.__qualname__}: only functions of helpers can be")
    call, rows = out / ".call.json", out / ".rows.json"
    about = {"function": name_of(function), "arguments": encode(arguments)}
    write_json(about, call)
    config = str(config_of(processes.strategy))
    command = [sys.executable, "-m", CLI, "--config_file", config]
    command += ["--num_processes", str(processes.count), "--main_process_port", "0"]
    command += ["--module", __name__, str(call)]
    done = subprocess.run(
        command, cwd=SOURCES, capture_output=True, text=True, check=False
    )
    if done.returncode or not rows.exists():
        said = re.findall(r"^\[rank\d+\]: (\w+: .*)", done.stderr, re.MULTILINE)
        raise LaunchError(said[0] if said else done.stderr.strip()[-500:])
    found = json.loads(rows.read_text("utf-8"))
    call.unlink()
    rows.unlink()
    return found


def config_of(strategy: str) -> Path:
    """The configuration of Accelerate for a strategy."""
    return SOURCES / "notebooks" / "strategies" / f"{strategy}.yaml"


def main(call: str) -> None:
    """What every process does: the function; what it returns is kept of the first."""
    import torch
    from accelerate import PartialState

    quiet()
    about = json.loads(Path(call).read_text("utf-8"))
    function, arguments = named(about["function"]), decode(about["arguments"])
    chosen = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"  # it finds the device
    state = PartialState(cpu=not (chosen or torch.accelerator.is_available()))
    if state.device.type == "cpu":
        torch.set_num_threads(1)  # as jobs that run side by side
    out = Path(call).parent
    with tempfile.TemporaryDirectory() as aside, metered() as spent:
        rows = function(out if state.is_main_process else Path(aside), **arguments)
    costs = spent_by_all(spent).rows()
    if state.is_main_process:
        write_json([*rows, *costs], out / ".rows.json")
    state.wait_for_everyone()
    state.destroy_process_group()


# --- inside a job ----------------------------------------------------------------------


def share(count: int) -> range:
    """The places, of so many, that are this process's work; all of them if it is alone."""
    import torch.distributed as group

    several = processes() > 1
    return range(count)[group.get_rank() :: processes()] if several else range(count)


def processes() -> int:
    """On how many processes this training runs; each gets its share of every batch."""
    import torch.distributed as group

    started = group.is_available() and group.is_initialized()
    return group.get_world_size() if started else 1


def booked_once() -> AbstractContextManager:
    """While it lasts, what all processes compute alike is booked for the first only."""
    import torch.distributed as group

    return aside() if processes() > 1 and group.get_rank() else nullcontext()


def gathered(places: Iterable[int], items: Iterable[object]) -> list:
    """The items of all processes in the order of their places, in every process."""
    placed = list(zip(places, items, strict=True))
    if processes() > 1:
        from accelerate.utils import gather_object

        placed = gather_object(placed)
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def spent_by_all(spent: Spent) -> Spent:
    """The FLOPs and seconds of all processes together; they share their steps."""
    everyone = gathered(share(processes()), [(spent.flops, spent.cpu_seconds)])
    flops, seconds = map(sum, zip(*everyone, strict=True))
    return Spent(flops, spent.steps, seconds)


# --- a call as JSON --------------------------------------------------------------------


def name_of(each: type | JobFunction) -> str:
    """`module:name` of a function or a class."""
    return f"{each.__module__}:{each.__qualname__}"


def named(name: str) -> Callable:
    """What `name_of` named."""
    module, _, inside = name.partition(":")
    return getattr(importlib.import_module(module), inside)


def encode(value: object) -> object:
    """A value of a job as JSON: plain ones, paths, dataclasses, and what holds them."""
    if isinstance(value, Path):
        return {"path": str(value)}
    if is_dataclass(value):
        parts = {each.name: getattr(value, each.name) for each in fields(value)}
        return {"class": name_of(type(value)), "fields": encode(parts)["items"]}
    if isinstance(value, Mapping):
        return {"items": {name: encode(each) for name, each in value.items()}}
    if isinstance(value, list | tuple):
        return [encode(each) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise LaunchError(f"{type(value).__name__}: cannot be given to other processes")


def decode(value: object) -> object:
    """What `encode` wrote; tuples come back as lists."""
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return Path(value["path"])
    inside = {
        name: decode(each)
        for name, each in value.get("items", value.get("fields", {})).items()
    }
    return named(value["class"])(**inside) if "class" in value else inside


if __name__ == "__main__":
    main(*sys.argv[1:])
