"""The stages in sequence, through Papermill: what is stale runs, the rest is skipped.

A notebook runs in a kernel of this very interpreter, aside, and is then renamed: the
run holds whole notebooks, and a failed one up to its error.
"""

import atexit
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from helpers.config.schema import read_schema
from helpers.config.settings import Values
from helpers.core.atomic import Damaged, read_json, write_json
from helpers.core.manifests import manifest_file, read_manifest
from helpers.core.parents import followed
from helpers.core.paths import PROGRESS, Project
from helpers.core.places import without_places
from helpers.runs.locks import held
from helpers.runs.rerun import write_run_manifest
from helpers.runs.staleness import check_inputs, notebook_file, stamped, why_stale
from helpers.runs.store import flags_of
from helpers.runs.watch import Say, Watch, duration, say_on_terminal

# whose errors are raised too; the one of a cell that an interrupt ended, nobody asks for
TELL_TWICE = ("traitlets", "papermill", "asyncio")
LONGEST_SOCKET = 80  # characters of a folder that sockets lie in: the system takes 107


class StageError(RuntimeError):
    """A stage failed; the message names the notebook to open."""


class ThisInterpreter(AsyncKernelManager):
    """Kernels of the Python that runs the command, whatever `python3` is elsewhere.

    They are reached over sockets in a folder of their own: no port is opened, and
    kernels of two runs do not meet.
    """

    @default("transport")
    def _transport(self) -> str:
        return "ipc"

    @default("ip")
    def _ip(self) -> str:
        return f"{socket_folder()}/kernel"

    @default("connection_file")
    def _connection_file(self) -> str:
        return f"{Path(self.ip).parent}/kernel.json"  # the home may not be writable

    @property
    def kernel_spec(self) -> KernelSpec:
        """How the kernel is started."""
        command = [
            sys.executable,
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
            "--log-level=CRITICAL",  # ending a kernel interrupts it: no error to report
        ]
        own = kernel_environment(Path(self.ip).parent)
        about = {"display_name": "Python 3", "language": "python"}
        return KernelSpec(argv=command, env=own, **about)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: object) -> None:
        """Starts the kernel's process, there with this one's stderr, on which a kernel
        that is told to end would be heard."""
        with (Path(self.ip).parent / "kernel.log").open("wb") as log:
            await super()._async_launch_kernel(kernel_cmd, **kw, stderr=log)


def kernel_environment(folder: Path) -> dict[str, str]:
    """Where libraries of a kernel keep their own files: not in a home that takes none.

    IPython's always lie aside: what a user has told it to run first is no part of a run.
    """
    own = {"IPYTHONDIR": str(folder)}
    if not os.access(Path.home(), os.W_OK):
        own["MPLCONFIGDIR"] = str(folder)
    return own


def socket_folder() -> str:
    """A new folder for the sockets of a kernel, removed when this process ends."""
    usual = tempfile.gettempdir()
    place = usual if len(usual) <= LONGEST_SOCKET else "/tmp"
    folder = tempfile.mkdtemp(prefix="prefbook-", dir=place)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# --- running --------------------------------------------------------------------------


def execute(source: Path, out: Path, parameters: dict, cwd: Path) -> None:
    """Run one notebook in a kernel of this interpreter and save it cell by cell."""
    for library in TELL_TWICE:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    papermill.execute_notebook(
        source,
        out,
        parameters=parameters,
        cwd=cwd,
        kernel_name="python3",
        kernel_manager_class=ThisInterpreter,
        progress_bar=False,
        start_timeout=300,
    )


def run_stages(
    project: Project,
    run: Path,
    values: Values,
    say: Say = say_on_terminal,
    execute: Callable[[Path, Path, dict, Path], None] = execute,
    ended: Callable[[list[str]], None] | None = None,
) -> list[str]:
    """Run the stages of `values` that are stale, in order; returns those that ran.

    ended: told after each stage that ran which ones are done now. Raises RunError if an
    input is missing or damaged, or if another process changes the run, before anything
    runs; StageError, naming the notebook to open, when a stage fails.
    """
    check_inputs(project, run, list(values))
    others = [each for each in project.stages if each not in values]
    done, ran = [each for each in others if manifest_file(run, each).exists()], []
    with held(run, project), followed():
        for stage in values:
            reason = why_stale(project, run, stage, values[stage])
            if reason is None:
                say(f"{stage}: skipped, nothing that it depends on has changed")
                done.append(stage)
                continue
            say(f"{stage}: runs ({reason})")
            started = time.monotonic()
            with Watch(stage, run / stage / PROGRESS, say):
                run_stage(project, run, stage, values[stage], execute)
            say(f"{stage}: done in {duration(time.monotonic() - started)}")
            for line in flags_of(run, stage):
                say(f"{stage}: {line}")
            ran.append(stage)
            done.append(stage)
            if ended:
                ended(list(done))
        write_run_manifest(project, run)
    return ran


def run_stage(
    project: Project,
    run: Path,
    stage: str,
    values: Mapping[str, object],
    execute: Callable[[Path, Path, dict, Path], None] = execute,
) -> None:
    """Run one stage; its notebook gets its name when it is whole, or has failed."""
    kept = notebook_file(run, stage)
    aside = kept.with_name(f".{kept.name}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    source = project.notebook(stage)
    defaults = {name: each.default for name, each in read_schema(source).items()}
    given = {name: value for name, value in values.items() if value != defaults[name]}
    key = None
    try:
        execute(source, aside, given, project.root)
        key = read_manifest(run, stage, project)["key"]
    except Exception as error:
        message = f"{stage} failed: {first_line(error)}; open {project.shown(kept)}"
        raise StageError(message) from error
    finally:
        with suppress(FileNotFoundError, Damaged):  # what a kernel that died has left
            found = read_json(aside, metadata=dict, cells=list)
            found = without_places(found, values, project.root)
            told = {"input_path": project.shown(source)}
            told |= {"output_path": project.shown(kept)}
            found["metadata"].setdefault("papermill", {}).update(told)
            write_json(stamped(found, key), kept)
        aside.unlink(missing_ok=True)


def first_line(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, DeadKernelError):
        return "its kernel died, often for want of memory: try fewer, `-p workers=1`"
    if isinstance(error, PapermillExecutionError):
        return f"{error.ename}: {error.evalue}".split("\n")[0]
    return f"{type(error).__name__}: {error}".split("\n")[0]
