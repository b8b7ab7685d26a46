"""Digests of values, files and folders: what a result depended on, and what it is now."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

# path in a folder -> size in bytes, SHA-256, time of the last change in ns
Inventory = dict[str, list]


def digest(content: object) -> str:
    """SHA-256 of a value as canonical JSON."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


# --- files ----------------------------------------------------------------------------


def folder_digest(folder: Path) -> str:
    """Fingerprint of a data folder: names, sizes and times of its files."""
    listed = [
        (name, path.stat().st_size, path.stat().st_mtime_ns)
        for name, path in files_of(folder)
    ]
    return digest(listed)


def content_digest(folder: Path) -> str:
    """Fingerprint of a data folder's content: the same for a copy on another machine."""
    return digest([(name, file_digest(path)) for name, path in files_of(folder)])


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder, by its path in it, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


# --- what a folder held when it was finished ------------------------------------------


def inventory(folder: Path) -> Inventory:
    """What a folder holds, so that `damage` can tell whether it still does."""
    return {name: entry(path) for name, path in files_of(folder)}


def entry(path: Path) -> list:
    """One file of an inventory."""
    stat = path.stat()
    return [stat.st_size, file_digest(path), stat.st_mtime_ns]


def damage(folder: Path, held: Mapping[str, list], thorough: bool = True) -> list[str]:
    """What has become of the files of an inventory: `a.bin is missing`, `b is damaged`.

    thorough: read every file; else those only whose size or time is another than it was.
    What came to the folder later does not count. Raises ValueError for what is no
    inventory.
    """
    found = []
    for name, expected in held.items():
        path = folder / name
        if not is_entry(expected):
            raise ValueError(f"{name}: expected size, SHA-256 and time of a file")
        if not path.is_file():
            found.append(f"{name} is missing")
        elif differs(path, expected, thorough):
            found.append(f"{name} is damaged")
    return found


def is_entry(value: object) -> bool:
    """Whether a value read from a file can be an entry of an inventory."""
    kinds = (int, str, int)
    return isinstance(value, list) and tuple(map(type, value)) == kinds


def differs(path: Path, expected: list, thorough: bool) -> bool:
    """Whether a file is not what its entry says."""
    stat = path.stat()
    if stat.st_size != expected[0]:
        return True
    touched = stat.st_mtime_ns != expected[2]
    return (thorough or touched) and file_digest(path) != expected[1]
