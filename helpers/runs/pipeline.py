"""The stages in sequence, through Papermill: what is stale runs, the rest is skipped.

A notebook runs in a kernel of this very interpreter, aside, and is then renamed: the
run holds whole notebooks, and a failed one up to its error.
"""

import atexit
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from helpers.config.schema import read_schema
from helpers.config.settings import Values
from helpers.core.atomic import write_json
from helpers.core.digests import digest
from helpers.core.manifests import manifest_file, read_manifest
from helpers.core.paths import Project, RunError
from helpers.core.places import clean_file
from helpers.core.provenance import versions
from helpers.runs.stage import UNKEYED, key_parts
from helpers.runs.watch import Say, Watch, duration, progress, say_on_terminal


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
        folder = tempfile.mkdtemp(prefix="prefbook-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return f"{folder}/kernel"

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
        return KernelSpec(argv=command, display_name="Python 3", language="python")


# --- what is stale --------------------------------------------------------------------


def notebook_file(run: Path, stage: str) -> Path:
    """Where the executed notebook of a stage lies."""
    return run / "notebooks" / f"{stage}.ipynb"


def why_stale(
    project: Project, run: Path, stage: str, values: Mapping[str, object]
) -> str | None:
    """Why a stage has to run with these values, in words; None if it need not."""
    if not manifest_file(run, stage).exists():
        begun = (run / stage).exists()
        return "was not finished" if begun else "never run"
    for name in project.stages[stage]:
        if not manifest_file(run, name).exists():
            return f"input {name} is not done"
    old = read_manifest(run, stage, project)
    parts = key_parts(project, run, stage, values)
    if old["key"] != digest(parts):
        return "; ".join(changes(old, parts)) or "the manifest is of another version"
    if executed_key(run, stage) != old["key"]:
        return "its executed notebook is not in the run"
    return None


def changes(old: Mapping, parts: Mapping) -> list[str]:
    """What differs between a manifest and the parts of a new key."""
    words = {
        "parameters": "parameter {} changed",
        "inputs": "input {} changed",
        "data": "files of {} changed",
        "helpers": "helpers/{}.py changed",
    }
    found = []
    for part, sentence in words.items():
        before, now = old.get(part, {}), parts[part]
        names = [name for name in [*now, *before] if name not in UNKEYED]
        differing = [name for name in names if before.get(name) != now.get(name)]
        said = [
            sentence.format(name if part != "helpers" else name.replace(".", "/"))
            for name in dict.fromkeys(differing)
        ]
        found += said[:3] + [f"and {len(said) - 3} more"] * (len(said) > 3)
    if old.get("notebook") != parts["notebook"]:
        found.append("its code changed")
    return found


def executed_key(run: Path, stage: str) -> str | None:
    """The key that the executed notebook was made under, None if it failed."""
    try:
        content = json.loads(notebook_file(run, stage).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return content["metadata"].get("prefbook", {}).get("key")


def check_inputs(project: Project, run: Path, selected: Sequence[str]) -> None:
    """RunError, with the command to run, if an input will not be there."""
    for stage in selected:
        for needed in project.stages[stage]:
            if needed not in selected:
                try:
                    read_manifest(run, needed, project)
                except RunError as error:
                    raise RunError(f"{stage} reads {needed}: {error}") from None


# --- running --------------------------------------------------------------------------


def execute(source: Path, out: Path, parameters: dict, cwd: Path) -> None:
    """Run one notebook in a kernel of this interpreter and save it cell by cell."""
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
) -> list[str]:
    """Run the stages of `values` that are stale, in order; returns those that ran.

    Raises RunError if an input is missing, before anything runs, and StageError, naming
    the notebook to open, when a stage fails.
    """
    check_inputs(project, run, list(values))
    ran = []
    for stage in values:
        reason = why_stale(project, run, stage, values[stage])
        if reason is None:
            say(f"{stage}: skipped, nothing that it depends on has changed")
            continue
        say(f"{stage}: runs ({reason})")
        started = time.monotonic()
        with Watch(stage, run / stage / "progress.json", say):
            run_stage(project, run, stage, values[stage], execute)
        say(f"{stage}: done in {duration(time.monotonic() - started)}")
        ran.append(stage)
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
        if aside.exists():
            clean_file(aside, values, project.root)
            stamp(aside, project.shown(source), project.shown(kept), key)
            os.replace(aside, kept)


def stamp(notebook: Path, source: str, kept: str, key: str | None) -> None:
    """Put the key into a notebook's metadata, and paths that hold on any machine."""
    content = json.loads(notebook.read_text("utf-8"))
    about = content["metadata"]
    about.setdefault("papermill", {}).update(input_path=source, output_path=kept)
    about["prefbook"] = {"key": key}
    write_json(content, notebook)


def first_line(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, PapermillExecutionError):
        return f"{error.ename}: {error.evalue}".split("\n")[0]
    return f"{type(error).__name__}: {error}".split("\n")[0]


def status(
    project: Project, run: Path, stages: Iterable[str]
) -> list[tuple[str, str, str, str]]:
    """One row a stage: its name, how it stands, seconds, records.

    A stage is held against the parameters it was run with: here, stale means that its
    code, its data or its inputs have changed since. Another version of a library makes
    nothing stale, for it may change nothing and a run may be long; it is said.
    """
    rows = []
    for stage in stages:
        schema = read_schema(project.notebook(stage))
        try:
            old = read_manifest(run, stage, project)
        except RunError:
            far = progress(run / stage / "progress.json").removesuffix(", ")
            begun = f"not finished: {far}" if far else "not done"
            rows.append((stage, begun, "", ""))
            continue
        defaults = {name: each.default for name, each in schema.items()}
        values = {n: old["parameters"].get(n, value) for n, value in defaults.items()}
        reason = why_stale(project, run, stage, values)
        state = f"stale: {reason}" if reason else "done" + upgraded(old)
        rows.append((stage, state, f"{old['seconds']:.0f}", f"{old['records']:,}"))
    return rows


def upgraded(manifest: Mapping) -> str:
    """What trained a stage and has another version now, in words; "" if nothing has."""
    made, now = manifest.get("versions", {}), versions()
    changed = [
        f"{name} {made[name]} (now {now.get(name, 'none')})"
        for name in ("torch", "transformers", "trl")
        if name in made and made[name] != now.get(name)
    ]
    return f", with {', '.join(changed)}" if changed else ""
