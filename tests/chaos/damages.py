"""Damage a finished run; it must be noticed, named, and made good by the next run."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from helpers.core.paths import PROJECT
from tests.chaos import subjects


def flip(path: Path, draw: random.Random) -> None:
    """Change 200 bits."""
    content = bytearray(path.read_bytes())
    for _ in range(200):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    subjects.replace(path, bytes(content))


def cut(path: Path, draw: random.Random) -> None:
    """Lose the end."""
    content = path.read_bytes()
    subjects.replace(path, content[: draw.randrange(len(content))])


def remove(path: Path, draw: random.Random) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def filled_with(content: bytes) -> Callable[[Path, random.Random], None]:
    """Replaces a file."""
    return lambda path, draw: subjects.replace(path, content)


KINDS = {
    "bits of a model flipped": ("*/jobs/*/*.safetensors", flip),
    "a model's file removed": ("*/jobs/*/*.safetensors", remove),
    "a job's folder removed": ("*/jobs/*", remove),
    "all jobs of a stage removed": ("*/jobs", remove),
    "records cut off": ("*/records.parquet", cut),
    "records of a job flipped": ("*/jobs/*/records.parquet", flip),
    "a manifest cut off": ("*/manifest.json", cut),
    "a manifest is empty": ("*/manifest.json", filled_with(b"")),
    "a manifest is []": ("*/manifest.json", filled_with(b"[]")),
    "a manifest is {}": ("*/manifest.json", filled_with(b"{}")),
    "a job.json is []": ("*/jobs/*/job.json", filled_with(b"[]")),
    "a job.json cut off": ("*/jobs/*/job.json", cut),
    "pairs flipped": ("0[02]_*/pairs.parquet", flip),
    "an executed notebook cut off": ("notebooks/*.ipynb", cut),
    "an executed notebook removed": ("notebooks/*.ipynb", remove),
}


def run(seed: int, tries: int) -> list[dict]:
    """One row for each kind of damage: tries, and what went wrong."""
    subjects.reference()
    found: dict[str, list[str]] = {}
    for number in range(seed, seed + tries):
        kind, wrong = subjects.kept("damage", number, attempt)
        print(f"damage {number}: {kind}: {wrong or 'made good'}", flush=True)
        found.setdefault(kind, []).append(wrong)
    return [
        subjects.counted(kind, outcomes, "named and made good")
        for kind, outcomes in found.items()
    ]


def attempt(number: int) -> list[str]:
    """One try, drawn from its number: the fault, and what went wrong or ""."""
    draw, kind = random.Random(number), list(KINDS)[number % len(KINDS)]
    pattern, harm = KINDS[kind]
    name, folder = subjects.copied("damage")
    try:
        there = sorted(
            each for each in folder.glob(pattern) if not each.name.startswith(".")
        )
        place = draw.choice(there)
        harm(place, draw)
        return [kind, consequences(name, folder, place)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def consequences(name: str, folder: Path, place: Path) -> str:
    """What is not as it should be after a damage: unnoticed, unnamed, or not made good."""
    inside = place.relative_to(folder)
    stage = inside.stem if inside.parts[0] == "notebooks" else inside.parts[0]
    said = subjects.prefbook("status", "--run", name)
    row = next((line for line in said.said.splitlines() if line.startswith(stage)), "")
    if said.code or "Traceback" in said.wrong:
        return f"status fails on {inside}: {said.wrong.strip()[-200:]}"
    if "stale" not in row and "not done" not in row:
        return f"status does not notice {inside}"
    named = (inside.name, "/".join(inside.parts[1:]), "executed notebook")
    if "stale" in row and not any(each in row for each in named):
        return f"status does not name {inside}: {row.strip()}"
    done = subjects.prefbook(*subjects.smoke(name))
    if done.code:
        return f"the run does not go on after {inside}: {done.wrong.strip()[-200:]}"
    if not subjects.same(folder, list(PROJECT.stages)):
        return f"other records after {inside}"
    return ""
