"""Manifests of stages that no test has run: what is said, and the rest of a whole one."""

from pathlib import Path

from helpers.core.atomic import write_json
from helpers.core.manifests import manifest_file
from helpers.runs.contents import holdings


def write_manifest(run: Path, stage: str, **about: object) -> dict:
    """Put a manifest into a stage's folder, made if need be; `about`: what it says.

    It holds the files that are there already.
    """
    whole = {
        "stage": stage,
        "key": "",
        "parameters": {},
        "results": {"content": "", "seconds": ""},
        "files": holdings(run / stage),
        "versions": {},
        "started": "2026-01-02T03:04",
        "seconds": 60.0,
        "records": 0,
    } | about
    (run / stage).mkdir(parents=True, exist_ok=True)
    write_json(whole, manifest_file(run, stage))
    return whole
