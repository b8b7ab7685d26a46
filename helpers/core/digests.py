"""Digests of values, files and folders: what a result depended on, in one line."""

import hashlib
import json
from pathlib import Path


def digest(content: object) -> str:
    """SHA-256 of a value as canonical JSON."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


# --- files ----------------------------------------------------------------------------


def folder_digest(folder: Path) -> str:
    """Fingerprint of a data folder: names, sizes and times of its files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [(path, path.stat()) for path in files]
    listed = [
        (path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns)
        for path, stat in facts
    ]
    return digest(listed)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
