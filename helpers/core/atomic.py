"""Files that appear whole or not at all: written aside, then renamed; and read back.

Nothing but the standard library: Colab's first cell needs it before anything else.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Damaged(ValueError):
    """A file of ours that is not what we write: says which."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place aside to write to, which becomes `path` at the end if nothing failed."""
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write text as UTF-8."""
    with whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(content: object, path: Path) -> None:
    """Write JSON; what JSON does not know is written as its text."""
    write_text(json.dumps(content, indent=1, default=str) + "\n", path)


def read_json(path: Path, **needed: type | tuple[type, ...]) -> dict:
    """The object that a file of ours holds, with the keys that are needed.

    needed: key -> the type of its value. Raises FileNotFoundError if there is no file,
    Damaged if it holds anything else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):  # not UTF-8, not JSON, too deep
        raise damaged(path, "it is not JSON") from None
    if not isinstance(content, dict):
        raise damaged(path, "it is no JSON object")
    for key, kind in needed.items():
        if not isinstance(content.get(key), kind):
            raise damaged(path, f"it has no {key}")
    return content


def damaged(path: Path, why: str) -> Damaged:
    """The error for a file, named as it lies in its folder."""
    return Damaged(f"{path.parent.name}/{path.name} is damaged: {why}")
