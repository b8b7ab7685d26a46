"""What of a run is stale: which stages have to run again, and why, in words.

A stage is stale when what it depends on has changed since, or when it no longer holds
what it gave: a file that is missing or damaged is as good as none.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from helpers.config.schema import read_schema
from helpers.core.atomic import Damaged, damaged, read_json
from helpers.core.digests import digest
from helpers.core.manifests import (
    check_whole,
    damaged_files,
    first_few,
    load_manifest,
    manifest_file,
)
from helpers.core.paths import HALF, PROGRESS, SITTING, Project, RunError
from helpers.core.provenance import versions
from helpers.runs.keys import UNKEYED, key_parts
from helpers.runs.watch import progress


def notebook_file(run: Path, stage: str) -> Path:
    """Where the executed notebook of a stage lies."""
    return run / "notebooks" / f"{stage}.ipynb"


def why_stale(
    project: Project,
    run: Path,
    stage: str,
    values: Mapping[str, object],
    thorough: bool = True,
) -> str | None:
    """Why a stage has to run with these values, in words; None if it need not.

    thorough: read all that the stage holds, else only what seems touched.
    """
    try:
        old = load_manifest(run, stage, project)
    except FileNotFoundError:
        begun = (run / stage).exists()
        return "was not finished" if begun else "never run"
    except Damaged as error:
        return str(error)
    for name in project.stages[stage]:
        try:
            load_manifest(run, name)
        except FileNotFoundError:
            return f"input {name} is not done"
        except Damaged as error:
            return f"input {error}"
    parts = key_parts(project, run, stage, values)
    if old["key"] != digest(parts):
        return "; ".join(changes(old, parts)) or "the manifest is of another version"
    if wrong := damaged_files(run, stage, thorough):
        return "; ".join(first_few(wrong))
    try:
        if executed_key(run, stage) != old["key"]:
            return "its executed notebook is not in the run"
    except Damaged as error:
        return str(error)
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
        found += first_few(said)
    if old.get("notebook") != parts["notebook"]:
        found.append("its code changed")
    return found


# --- the executed notebook ------------------------------------------------------------


def executed_key(run: Path, stage: str) -> str | None:
    """The key that the executed notebook was made under, None if there is none.

    Raises Damaged if the notebook is not as it was stamped.
    """
    path = notebook_file(run, stage)
    try:
        content = read_json(path, metadata=dict, cells=list)
    except FileNotFoundError:
        return None
    about = content["metadata"].pop("prefbook", None) or {}
    if about.get("sha256") != digest(content):
        raise damaged(path, "it is not as it was executed")
    return about.get("key")


def stamped(content: dict, key: str | None) -> dict:
    """An executed notebook with its key, and a digest that shows if it is damaged."""
    plain = {name: each for name, each in content.items() if name != "metadata"}
    about = {n: each for n, each in content["metadata"].items() if n != "prefbook"}
    own = {"key": key, "sha256": digest({**plain, "metadata": about})}
    return {**plain, "metadata": {**about, "prefbook": own}}


# --- a run ----------------------------------------------------------------------------


def check_inputs(project: Project, run: Path, selected: Sequence[str]) -> None:
    """RunError, with the command to run, if an input will not be there, or damaged."""
    readers = {each: stage for stage in selected for each in project.stages[stage]}
    for needed, stage in readers.items():
        if needed not in selected:
            check_whole(run, stage, needed, project)


def check_there(project: Project, run: Path) -> None:
    """RunError, with the command that makes it, if there is no such run."""
    if not run.is_dir():
        command = f"`prefbook run --run {project.name_of(run)}`"
        raise RunError(f"there is no {project.shown(run)}: {command} makes it")


def check_fresh(project: Project, run: Path, allowed: bool = False) -> None:
    """RunError if stages of a run are stale or not done; stale ones may be `allowed`.

    What is made of such a run would show values side by side that do not belong
    together.
    """
    rows = status(project, run, project.stages)
    stale = [f"{stage} ({state})" for stage, state, *_ in rows if stale_state(state)]
    if stale and not allowed:
        name = project.name_of(run)
        raise RunError(
            f"run {name}: {', '.join(first_few(stale))}; `prefbook run --run {name}` with "
            "its tier and values makes it whole, --stale takes it as it is"
        )


def stale_state(state: str) -> bool:
    """Whether a state of `status` says that a stage is not what it should be."""
    return state != "done" and not state.startswith("done,")


def status(
    project: Project, run: Path, stages: Iterable[str]
) -> list[tuple[str, str, str, str]]:
    """One row a stage: its name, how it stands, seconds, records.

    A stage is held against the parameters it was run with: here, stale means that its
    code, its data or its inputs have changed since, or that a file is damaged. Another
    version of a library makes nothing stale, for it may change nothing and a run may be
    long; it is said.
    """
    rows = []
    for stage in stages:
        try:
            old = load_manifest(run, stage, project)
        except FileNotFoundError:
            far = progress(run / stage / PROGRESS).removesuffix(", ")
            begun = f"not finished: {far}" if far else "not done"
            rows.append((stage, begun, "", ""))
            continue
        except Damaged as error:
            rows.append((stage, f"stale: {error}", "", ""))
            continue
        schema = read_schema(project.notebook(stage))
        defaults = {name: each.default for name, each in schema.items()}
        values = {n: old["parameters"].get(n, value) for n, value in defaults.items()}
        reason = why_stale(project, run, stage, values, thorough=False)
        state = f"stale: {reason}" if reason else "done" + upgraded(old)
        rows.append((stage, state, f"{old['seconds']:.0f}", f"{old['records']:,}"))
    return rows


def upgraded(manifest: Mapping) -> str:
    """What trained a stage and has another version now, in words; "" if nothing has."""
    made, now = manifest["versions"], versions()
    changed = [
        f"{name} {made[name]} (now {now.get(name, 'none')})"
        for name in ("torch", "transformers", "trl")
        if name in made and made[name] != now.get(name)
    ]
    return f", with {', '.join(changed)}" if changed else ""


def kept(project: Project, run: Path) -> str:
    """What a run that was interrupted has, in words, and how it goes on."""
    done = [each for each in project.stages if manifest_file(run, each).exists()]
    begun = [each for each in project.stages if each not in done]
    folder = run / begun[0] / "jobs" if begun else run
    found = {
        "finished jobs": len(list(folder.glob("[!.]*"))) if begun else 0,
        "checkpoints": len(list(folder.glob(f"{HALF}*/{SITTING}"))),
    }
    more = [f" and {count} {what}" for what, count in found.items() if count]
    more = f"{''.join(more)} of {begun[0]}" if more else ""
    where = project.shown(run)
    return f"{where} keeps {len(done)} finished stages{more}; the same command goes on"
