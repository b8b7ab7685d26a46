"""Functions harvested from Python files, by default those of the standard library.

Read from the syntax tree, never by pattern, and written back from it: one layout for all
of them. Nothing is executed.
"""

import ast
import hashlib
import os
import random
import sysconfig
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from helpers.data.hh import DataError

FUNCTION_COLUMNS = ("id", "path", "line", "name", "code", "docstring")
NOT_READ = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
CANDIDATES = 4  # functions to read for each one drawn: a draw need not parse everything

UNPARSABLE = "file cannot be parsed"
SPECIAL = "special method"
BODILESS = "docstring only"
SHORT = "too short"
LONG = "too long"
DUPLICATE = "duplicate"
TAKEN = "used elsewhere"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def harvest(
    root: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    *,
    min_lines: int = 3,
    max_lines: int = 12,
    max_characters: int = 600,
    without: Collection[str] = (),
) -> pd.DataFrame:
    """Functions and methods of the Python files under `root`, as FUNCTION_COLUMNS.

    root: a folder; by default the standard library of the running Python. limit: how
    many to draw with `seed`; None keeps all. `code` is written back from the syntax
    tree: one layout, no indentation around it, no comments, no docstring; the latter
    is text of its own, "" where there is none. The bounds hold for `code`, decorators
    included. Left out: tests, installed packages, special methods, functions inside
    functions, code seen before, and functions whose id is in `without`. Rows are in the
    order of path and line; `attrs["drops"]` counts what was left out by reason, among
    the files read.
    Raises DataError if `root` is no folder or holds no such function.
    """
    folder = Path(root or sysconfig.get_path("stdlib"))
    draw = random.Random(seed)
    files = source_files(folder)
    draw.shuffle(files)
    enough = float("inf") if limit is None else CANDIDATES * limit
    drops: Counter[str] = Counter()
    found: dict[str, dict] = {}
    known = set(without)
    for path in files:
        if len(found) >= enough:
            break
        for function in read_functions(path, folder, drops):
            code = function["code"]
            reason = _out_of_bounds(code, min_lines, max_lines, max_characters)
            if not reason and function["id"] in known:
                reason = TAKEN
            if reason or code in found:
                drops[reason or DUPLICATE] += 1
            else:
                found[code] = function
    if not found:
        other = f" beyond the {len(known)} used elsewhere" if known else ""
        size = f"{min_lines}-{max_lines} lines"
        raise DataError(f"{folder}: no function of {size}{other}")
    rows = list(found.values())
    if limit is not None and limit < len(rows):
        rows = draw.sample(rows, limit)
    rows.sort(key=lambda row: (row["path"], row["line"], row["id"]))
    functions = pd.DataFrame(rows, columns=list(FUNCTION_COLUMNS))
    functions.attrs["drops"] = dict(drops)
    return functions


def source_files(folder: Path) -> list[Path]:
    """The Python files under `folder` in the order of their names, without tests.

    Raises DataError if `folder` is not a folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; expected one with Python files")
    files = []
    for here, folders, names in os.walk(folder):
        folders[:] = set(folders) - NOT_READ  # not entered: installed packages are many
        files += [Path(here, name) for name in names if name.endswith(".py")]
    return sorted(path for path in files if not path.name.startswith("test_"))


def read_functions(path: Path, root: Path, drops: Counter[str]) -> Iterator[dict]:
    """Rows (FUNCTION_COLUMNS) of one file; `drops` counts what is passed over."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old code about its own escapes
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        drops[UNPARSABLE] += 1
        return
    for owner, function in _definitions(tree):
        if function.name.startswith("__") and function.name.endswith("__"):
            drops[SPECIAL] += 1
            continue
        docstring = ast.get_docstring(function)
        if docstring is not None:
            function.body = function.body[1:]
        if not function.body:
            drops[BODILESS] += 1
            continue
        code = ast.unparse(function)
        yield {
            "id": hashlib.blake2b(code.encode(), digest_size=8).hexdigest(),
            "path": path.relative_to(root).as_posix(),
            "line": function.lineno,
            "name": owner + function.name,
            "code": code,
            "docstring": docstring or "",
        }


def _definitions(node: ast.AST, owner: str = "") -> Iterator[tuple[str, Function]]:
    """(prefix such as "Class.", function) of a module, its classes and its branches."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield owner, child
        elif isinstance(child, ast.ClassDef):
            yield from _definitions(child, f"{owner}{child.name}.")
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _definitions(child, owner)


def _out_of_bounds(
    code: str, min_lines: int, max_lines: int, max_characters: int
) -> str | None:
    lines = code.count("\n") + 1
    if lines < min_lines:
        return SHORT
    if lines > max_lines or len(code) > max_characters:
        return LONG
    return None
