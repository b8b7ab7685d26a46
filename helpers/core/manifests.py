"""Manifests: what a finished stage says of itself."""

import json
from pathlib import Path

from helpers.core.paths import PROJECT, Project, RunError

# --- manifests and jobs of finished stages --------------------------------------------


def manifest_file(run: Path, stage: str) -> Path:
    """Where a stage's manifest lies; it is there exactly when the stage is done."""
    return run / stage / "manifest.json"


def read_manifest(run: Path, stage: str, project: Project = PROJECT) -> dict:
    """The manifest of a finished stage.

    Keys: stage, key, parameters, inputs, data, notebook, helpers, results, commit,
    dirty, versions, python, platform, cpu_count, device, started, seconds,
    job_seconds, peak_memory_mib, records.
    Raises RunError with the command that makes it.
    """
    try:
        return json.loads(manifest_file(run, stage).read_text("utf-8"))
    except FileNotFoundError:
        command = f"prefbook run --run {run.name} --only {stage}"
        where = project.shown(run)
        raise RunError(f"{stage} is not done in {where}: `{command}`") from None


def finished_parameters(
    run: Path, project: Project = PROJECT
) -> dict[str, dict[str, object]]:
    """The parameters of every stage that a run has finished, by stage."""
    done = [stage for stage in project.stages if manifest_file(run, stage).exists()]
    return {stage: read_manifest(run, stage, project)["parameters"] for stage in done}
