"""Code pairs from a folder: real models' answers to programming tasks, as CodePMP pairs.

The folder holds `*.jsonl` or `*.jsonl.gz`; every line is one pair, with these keys:

prompt, chosen, rejected   the task, the stronger and the weaker writer's code
bench, task                which task it is; tasks are held out whole
entry_point                the function that is asked for
chosen_pass, rejected_pass whether hidden tests passed: true, false, or null if unknown
chosen_model, rejected_model  who wrote it

The code is printed anew from its syntax tree, the asked function with what it needs, so
that no layout, repeated prompt or example call tells the writers apart.
"""

import ast
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from helpers.core.inputs import quoted
from helpers.core.syntax import drop_docstrings
from helpers.data.code import code_pairs
from helpers.data.code.code_pairs import (
    EMPTY,
    IDENTICAL,
    PAIR_COLUMNS,
    UNLIKE,
    hold_out,
)
from helpers.data.json_lines import DataError, check_texts, read_objects

TEXTS = ("prompt", "chosen", "rejected", "bench", "task", "entry_point")
TEXTS += ("chosen_model", "rejected_model")
PASSES = ("chosen_pass", "rejected_pass")
EXPECTED = f"expected one object per line, with {', '.join((*TEXTS, *PASSES))}"
UNPARSABLE = "does not parse, or lacks the asked function"
UNVERIFIED = "no verified gap"
DUPLICATE = "said before"
REASONS = (EMPTY, UNVERIFIED, UNPARSABLE, UNLIKE, IDENTICAL, DUPLICATE)
# benches that ask the same tasks: the extended ones have more tests
EXTENDED = "plus"


def read_pairs(
    folder: Path,
    *,
    verified: bool = False,
    length_ratio: float = 1.5,
    held_out: float = 0.25,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs (PAIR_COLUMNS, then task and writers), and drops (columns reason, count).

    verified: only pairs of which the stronger writer's code passed the task's hidden
    tests and the weaker one's failed. split: "test" for a share `held_out` of the tasks,
    whoever wrote; no task is in both. Raises DataError for a folder without pairs, a
    line that is none, or if no pair is left to train on or to test.
    """
    found, drops, said = [], Counter(dict.fromkeys(REASONS, 0)), set()
    for row in rows(folder):
        sides = [
            printed(row[side], row["entry_point"]) for side in ("chosen", "rejected")
        ]
        reason = left_out(row, sides, verified, length_ratio)
        prompt = f"{row['prompt'].strip()}\n"
        if reason is None and (prompt, *sides) in said:
            reason = DUPLICATE
        if reason:
            drops[reason] += 1
            continue
        said.add((prompt, *sides))
        writers = f"{row['chosen_model']} over {row['rejected_model']}"
        found.append((key_of(prompt, *sides), prompt, *sides, task_of(row), writers))
    columns = [*PAIR_COLUMNS[:-1], "task", "writers"]
    pairs = pd.DataFrame(found, columns=columns)
    tasks = pd.Series(pairs["task"].unique(), dtype=object)
    split = dict(zip(tasks, hold_out(tasks, held_out)))
    pairs.insert(len(PAIR_COLUMNS) - 1, "split", pairs["task"].map(split))
    if set(pairs["split"]) != {"train", "test"}:
        counted = ", ".join(f"{why}: {n}" for why, n in drops.items() if n)
        raise DataError(
            f"{folder.name}: {len(pairs)} code pairs are left ({counted or 'no line'}), "
            "expected some to train on and some tasks held out"
        )
    return pairs, pd.DataFrame(list(drops.items()), columns=["reason", "count"])


def rows(folder: Path) -> Iterator[dict]:
    """The pairs of all files in a folder, in the order of their names."""
    files = sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")])
    if not files:
        raise DataError(f"{folder}: no *.jsonl or *.jsonl.gz with code pairs in it")
    for file in files:
        for where, row in read_objects(file, EXPECTED):
            yield checked(row, where)


def checked(row: dict, where: str) -> dict:
    """One line as a pair; DataError that says where and what it lacks."""
    check_texts(row, TEXTS, where, EXPECTED)
    for key in PASSES:
        if key not in row:
            raise DataError(f"{where}: key {key!r} is missing; {EXPECTED}")
        if not isinstance(row[key], bool | None):
            got = quoted(row[key])
            raise DataError(f"{where}: {key!r} is {got}; expected true, false or null")
    return row


def left_out(
    row: dict, sides: list[str | None], verified: bool, ratio: float
) -> str | None:
    """Why a pair is left out; None if it is not."""
    reason = code_pairs.left_out((row["chosen"], row["rejected"]), sides, ratio)
    passed = row["chosen_pass"] is True and row["rejected_pass"] is False
    if verified and not passed and reason != EMPTY:
        return UNVERIFIED
    return UNPARSABLE if reason == code_pairs.UNPARSABLE else reason


def task_of(row: dict) -> str:
    """What is held out together: a task by whichever of its benches it came."""
    number = re.sub(r"\D", "", row["task"]) or row["task"]
    return f"{row['bench'].removesuffix(EXTENDED)}/{number}"


def key_of(*texts: str) -> str:
    """The id of a pair, by what it says."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


# --- code in one layout -----------------------------------------------------------------


def printed(code: str, asked: str) -> str | None:
    """The asked function and what it needs at the top level, printed from the tree.

    Of names that are defined twice the last counts; docstrings, comments, calls for show
    and tests are gone. None if the code does not parse, does not define `asked`, or is
    nested too deeply to be printed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the writer's code, not of ours
            found = needed_only(ast.parse(code), asked)
        (found or "").encode()  # ValueError for half a character
        return found
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def needed_only(tree: ast.Module, asked: str) -> str | None:
    """The asked function with what it needs, as `printed`; None if it is not there."""
    made = {name: node for node in tree.body for name in names_of(node)}
    if not isinstance(made.get(asked), ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    needed, waiting = set(), {asked}
    while waiting:
        name = waiting.pop()
        needed.add(name)
        used = {node.id for node in ast.walk(made[name]) if isinstance(node, ast.Name)}
        waiting |= (used & made.keys()) - needed
    kept = [each for each in tree.body if any(made[n] is each for n in needed)]
    tree.body = kept
    drop_docstrings(tree)
    return ast.unparse(tree)


def names_of(statement: ast.stmt) -> list[str]:
    """The names that a statement of the top level defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(a.asname or a.name).split(".")[0] for a in statement.names]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return [node.id for node in ast.walk(statement) if is_target(node)]
    return []


def is_target(node: ast.AST) -> bool:
    """Whether a node is a name that is assigned."""
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
