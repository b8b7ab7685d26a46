"""The same run again: what a run was made of, in one file, and what is different now."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from helpers.config.parameters import ParameterError
from helpers.config.schema import read_schema
from helpers.config.settings import Values, checked, from_texts, merge
from helpers.core.atomic import Damaged, read_json, write_json
from helpers.core.digests import content_digest
from helpers.core.hub import plain_name
from helpers.core.manifests import load_manifest, manifest_file
from helpers.core.paths import Project
from helpers.core.places import all_shown, with_places
from helpers.core.provenance import provenance
from helpers.runs.keys import named_folders

MADE = ("run_dir", "sweep")  # parameters whose folders runs have made
MADE_WITH = ("commit", "dirty", "python", "versions")


# --- what a run was made of -----------------------------------------------------------


def write_run_manifest(project: Project, run: Path) -> None:
    """Put what the finished stages of a run were made of into `manifest.json`."""
    done = [each for each in project.stages if manifest_file(run, each).exists()]
    manifests = {stage: load_manifest(run, stage, project) for stage in done}
    given = {stage: each["parameters"] for stage, each in manifests.items()}
    about = {
        "run": project.name_of(run),
        "stages": {
            stage: {
                "parameters": all_shown(given[stage], project.root),
                "content": each["results"]["content"],
                **{name: each[name] for name in MADE_WITH if name in each},
            }
            for stage, each in manifests.items()
        },
        "data": data_of(project, given),
    }
    write_json(about, run / "manifest.json")


def data_of(project: Project, values: Values) -> dict[str, dict]:
    """The folders that parameters name: what they are called, and their content.

    A run's own folder and its sweep are none: they are made, not given.
    """
    return {
        f"{stage}.{name}": {
            "name": plain_name(folder.name),
            "sha256": content_digest(folder),
        }
        for stage, given in values.items()
        for name, folder in named_folders(project, given).items()
        if name not in MADE
    }


# --- again ----------------------------------------------------------------------------


def read_run_manifest(file: Path) -> dict:
    """What `write_run_manifest` wrote; ParameterError for anything else."""
    try:
        about = read_json(file, run=str, stages=dict, data=dict)
        given = [each["parameters"] for each in about["stages"].values()]
    except OSError as error:
        raise ParameterError(f"{file}: {error.strerror}") from None
    except (Damaged, KeyError, TypeError) as error:
        given, about = [str(error)], {}
    if not all(isinstance(each, dict) for each in given):
        raise ParameterError(f"{file}: expected the manifest.json of a run")
    return about


def values_again(
    project: Project, about: Mapping, run_dir: str, given: Iterable[str] = ()
) -> Values:
    """The values of a manifest, held against the notebooks of today.

    given: texts `name=value`, which win; so a folder that lies elsewhere here is told. Raises ParameterError for a stage or a
    parameter that there is no longer.
    """
    for stage in about["stages"]:
        if stage not in project.stages:
            raise ParameterError(f"{stage}: this project has no such stage")
    selected = [each for each in project.stages if each in about["stages"]]
    settings = {
        each: dict(with_places(about["stages"][each], project.root)["parameters"])
        for each in selected
    }
    schemas = {each: read_schema(project.notebook(each)) for each in project.stages}
    merge(settings, from_texts(given, schemas, selected))
    return checked(project, settings, run_dir)


def differences(project: Project, about: Mapping, values: Values) -> list[str]:
    """What is not as it was: commit, versions, data; a line for each."""
    now, then = provenance(project.root), {}
    for each in about["stages"].values():
        then |= {name: each[name] for name in MADE_WITH if name in each}
    found = []
    if then.get("commit") != now.get("commit"):
        was, is_now = (str(each.get("commit", "none"))[:12] for each in (then, now))
        found.append(f"commit: was {was}, is {is_now}")
    if then.get("dirty") or now.get("dirty"):
        which = [w for w, each in (("then", then), ("now", now)) if each.get("dirty")]
        found.append(f"changes that no commit holds: {' and '.join(which)}")
    if then.get("python") != now["python"]:
        found.append(f"python: was {then.get('python')}, is {now['python']}")
    before, after = then.get("versions", {}), now["versions"]
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            was, is_now = before.get(name, "none"), after.get(name, "none")
            found.append(f"{name}: was {was}, is {is_now}")
    return found + changed_data(about["data"], data_of(project, values))


def changed_data(
    before: Mapping[str, Mapping], now: Mapping[str, Mapping]
) -> list[str]:
    """Which folders of data hold something else than they did, or are not there."""
    found = []
    for name, folder in before.items():
        if name not in now:
            found.append(f"{name}: the folder {folder.get('name')} is not there")
        elif folder.get("sha256") != now[name]["sha256"]:
            found.append(f"{name}: the content of {folder.get('name')} differs")
    return found


def outcome(about: Mapping, run: Path) -> list[str]:
    """Per stage, whether it gave the same again; what it took does not count."""
    lines = []
    for stage, before in about["stages"].items():
        now = load_manifest(run, stage)["results"]["content"]
        same = now == before.get("content")
        lines.append(f"{stage}: {'the same' if same else 'other'} results")
    return lines
