"""One job on several processes: what `processes > 1` does with a training.

The job's function and its arguments are written down, and `accelerate launch` starts
this module once per process, with a configuration of `notebooks/strategies`.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

from helpers.core import manifests
from helpers.core.atomic import write_json
from helpers.core.flops import metered
from helpers.core.parents import follow_parent, followed
from helpers.core.paths import ROOT
from helpers.core.processes import Processes, spent_by_all
from helpers.core.progress import quiet

CLI = "accelerate.commands.launch"
JobFunction = Callable[..., list[dict]]


class LaunchError(RuntimeError):
    """A job that failed on several processes, or cannot be launched."""


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
    about = {"function": qualified_name(function), "arguments": encode(arguments)}
    about["stage"] = manifests.reader()
    write_json(about, call)
    config = str(config_of(processes.strategy))
    command = [sys.executable, "-m", CLI, "--config_file", config]
    command += ["--num_processes", str(processes.count), "--main_process_port", "0"]
    command += ["--module", __name__, str(call)]
    with followed():
        told = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
        done = subprocess.run(command, cwd=ROOT, check=False, **told)
    if done.returncode or not rows.exists():
        said = re.findall(
            r"^\[rank\d+\]: (?:\w+\.)*(\w+: .*)", done.stderr, re.MULTILINE
        )
        raise LaunchError(said[0] if said else done.stderr.strip()[-500:])
    found = json.loads(rows.read_text("utf-8"))
    call.unlink()
    rows.unlink()
    manifests.note_all(found["read"])
    return found["rows"]


def config_of(strategy: str) -> Path:
    """The configuration of Accelerate for a strategy."""
    return ROOT / "notebooks" / "strategies" / f"{strategy}.yaml"


def main(call: str) -> None:
    """What every process does: the function; what it returns is kept of the first."""
    import torch
    from accelerate import PartialState

    quiet()
    follow_parent()
    about = json.loads(Path(call).read_text("utf-8"))
    function, arguments = import_named(about["function"]), decode(about["arguments"])
    chosen = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"  # it finds the device
    state = PartialState(cpu=not (chosen or torch.accelerator.is_available()))
    if state.device.type == "cpu":
        torch.set_num_threads(1)  # as jobs that run side by side
    out = Path(call).parent
    with (
        tempfile.TemporaryDirectory() as aside,
        metered() as spent,
        manifests.reading_for(about["stage"]) as read,
    ):
        rows = function(out if state.is_main_process else Path(aside), **arguments)
    costs = spent_by_all(spent).rows()
    if state.is_main_process:
        write_json({"rows": [*rows, *costs], "read": read}, out / ".rows.json")
    state.wait_for_everyone()
    state.destroy_process_group()


# --- a call as JSON --------------------------------------------------------------------


def qualified_name(each: type | JobFunction) -> str:
    """`module:name` of a function or a class."""
    return f"{each.__module__}:{each.__qualname__}"


def import_named(name: str) -> Callable:
    """What `name_of` named."""
    module, _, inside = name.partition(":")
    return getattr(importlib.import_module(module), inside)


def encode(value: object) -> object:
    """A value of a job as JSON: plain ones, paths, dataclasses, and what holds them."""
    if isinstance(value, Path):
        return {"path": str(value)}
    if is_dataclass(value):
        parts = {each.name: getattr(value, each.name) for each in fields(value)}
        return {"class": qualified_name(type(value)), "fields": encode(parts)["items"]}
    if isinstance(value, Mapping):
        return {"items": {name: encode(each) for name, each in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [encode(each) for each in value]}
    if isinstance(value, list):
        return [encode(each) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise LaunchError(f"{type(value).__name__}: cannot be given to other processes")


def decode(value: object) -> object:
    """What `encode` wrote, of the types that it was."""
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return Path(value["path"])
    if "tuple" in value:
        return tuple(map(decode, value["tuple"]))
    inside = {
        name: decode(each)
        for name, each in value.get("items", value.get("fields", {})).items()
    }
    return import_named(value["class"])(**inside) if "class" in value else inside


if __name__ == "__main__":
    main(*sys.argv[1:])
