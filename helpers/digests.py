"""Digests of what results depend on: the code that is reached, and the data folders."""

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def digest(content: object) -> str:
    """SHA-256 of a value as canonical JSON."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def code_cells(notebook: Path) -> list[str]:
    """Sources of the code cells but the parameters: values count, not how they look."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code"
        and "parameters" not in cell["metadata"].get("tags", [])
    ]


def imported(source: str) -> set[str]:
    """Names of the modules of `helpers` that a piece of source may import."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("helpers.")}


def reached(sources: Iterable[str], package: Path) -> dict[str, str]:
    """Digests of the helper modules that some sources import, directly or not."""
    found: dict[str, str] = {}
    waiting = set().union(*map(imported, sources))
    while waiting:
        name = waiting.pop()
        path = package / f"{name}.py"
        if name not in found and path.is_file():
            source = path.read_text("utf-8")
            found[name] = digest(source)
            waiting |= imported(source)
    return dict(sorted(found.items()))


def folder_digest(folder: Path) -> str:
    """Fingerprint of a data folder: names, sizes and times of its files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [(path, path.stat()) for path in files]
    listed = [
        (path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns)
        for path, stat in facts
    ]
    return digest(listed)
