"""Files that appear whole or not at all: written aside, then renamed.

Nothing but the standard library: Colab's first cell needs it before anything else.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
