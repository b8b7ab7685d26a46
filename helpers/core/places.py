"""Places of this machine: in files that are handed on, a name and a digest stand for them.

A parameter that names a folder or a file outside the project is kept in manifests and
executed notebooks as `hh-rlhf (1a2b3c4d5e6f)`. The way back lies in `runs/.places`, one
file a digest, beside the runs and never in one: whoever gets a run gets no path.
"""

import itertools
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from helpers.core import escape
from helpers.core.atomic import write_text
from helpers.core.digests import digest, folder_digest

DIGITS = 12  # of a digest, as far as it is shown
_SHOWN = re.compile(rf"\S.* \(([0-9a-f]{{{DIGITS}}})\)", re.DOTALL)


def is_place(value: object) -> bool:
    """Whether a parameter's value is a path that leads out of the project."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return False
    path = Path(value)
    at_home = re.match(r"~[\w.-]*(/|$)", value)
    return path.is_absolute() or bool(at_home) or ".." in path.parts


def shown(value: object, root: Path) -> object:
    """A value as others may see it: of a place its name and a digest of what is there.

    root: of the project, where relative paths start and the way back is kept. A list is
    shown item by item.
    """
    if isinstance(value, list):
        return [shown(each, root) for each in value]
    if not is_place(value):
        return value
    path = root / str(value)
    # two places may hold the same, as a copy does: each has a digest of its own
    for number in itertools.count():
        found = digest([fingerprint(path), number])[:DIGITS]
        file = way_back(found, root)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(str(value), file)
        if file.read_text("utf-8") == value:
            return f"{path.resolve().name or 'folder'} ({found})"


def all_shown(values: Mapping[str, object], root: Path) -> dict[str, object]:
    """Parameters as others may see them."""
    return {name: shown(value, root) for name, value in values.items()}


def placed(value: object, root: Path) -> object:
    """The way back from what `shown` made; on another machine the value stays."""
    if isinstance(value, list):
        return [placed(each, root) for each in value]
    known = isinstance(value, str) and _SHOWN.fullmatch(value)
    file = known and way_back(known[1], root)
    return file.read_text("utf-8") if file and file.exists() else value


def with_places(manifest: dict, root: Path) -> dict:
    """A manifest with its parameters as the run had them."""
    if "parameters" not in manifest:
        return manifest
    given = manifest["parameters"].items()
    return manifest | {"parameters": {name: placed(each, root) for name, each in given}}


def way_back(found: str, root: Path) -> Path:
    """The file that says which place of this machine a digest stands for."""
    return root / "runs" / ".places" / found


def fingerprint(path: Path) -> object:
    """What is at a path, told by names, sizes and times."""
    if path.is_dir():
        return folder_digest(path)
    facts = path.stat() if path.is_file() else None
    return facts and [facts.st_size, facts.st_mtime_ns]


# --- free text ---------------------------------------------------------------------------


def without_places(content: object, values: Mapping[str, object], root: Path) -> object:
    """JSON whose texts name no place of this machine, whatever wrote them.

    values: parameters, whose places become what `shown` says. The project's folder
    becomes `.`, those of installed packages `site-packages`, the home folder `~`.
    """
    new = {
        written: short
        for place, short in replaced(values, root).items()
        for written in spellings(place)
    }
    longest = sorted(new, key=len, reverse=True)
    # whole names only: /home/a is no part of /home/ab; but a colour may stand before it
    pattern = (
        rf"(?:(?<![\w.~-])|(?<=\dm))(?:{'|'.join(map(re.escape, longest))})(?![\w-])"
    )
    found = re.compile(pattern)

    def cleaned(value: object) -> object:
        if isinstance(value, dict):
            return {cleaned(name): cleaned(each) for name, each in value.items()}
        if isinstance(value, list):
            return [cleaned(each) for each in value]
        if isinstance(value, str):
            return found.sub(lambda match: new[match[0]], value)
        return value

    return cleaned(content)


def replaced(values: Mapping[str, object], root: Path) -> dict[str, str]:
    """Places of this machine that a text may name, and what stands there instead."""
    home, found = os.path.expanduser("~"), {}
    found |= {home: "~", str(Path(home).resolve()): "~"}
    found |= {each: "site-packages" for each in sys.path if "site-packages" in each}
    found |= {str(root): ".", str(root.resolve()): "."}
    for value in values.values():
        for each in filter(is_place, value if isinstance(value, list) else [value]):
            name = str(shown(each, root))
            found |= {each: name, str((root / each).resolve()): name}
    return {place: new for place, new in found.items() if place.strip("/.~")}


def spellings(text: str) -> set[str]:
    """How a text may be written down: as it is, in code, in HTML, in Markdown."""
    coded = text.encode("unicode_escape").decode()
    quoted = {coded.replace(quote, f"\\{quote}") for quote in "\"'"}
    return {text, coded, *quoted, escape.html(text), escape.markdown(text)}
