"""Preference pairs from source code, by the method of CodePMP (arXiv:2410.02229).

Functions are harvested from Python files, each gets a one-line description, and two
language models write code from it: the stronger model's code is chosen, the weaker
one's rejected. No test is run and nobody judges; "stronger is better" is the only
label. The models stand elsewhere: here are the functions, descriptions and pairs.
"""

import ast
import hashlib
import os
import random
import re
import sysconfig
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from helpers.hh import DataError

FUNCTION_COLUMNS = ("id", "path", "line", "name", "code", "docstring")
PAIR_COLUMNS = ("id", "prompt", "chosen", "rejected")
NOT_READ = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
CANDIDATES = 4  # functions to read for each one drawn: a draw need not parse everything
DESCRIPTION_WIDTH = 120  # characters

UNPARSABLE = "file cannot be parsed"
SPECIAL = "special method"
BODILESS = "docstring only"
SHORT = "too short"
LONG = "too long"
DUPLICATE = "duplicate"
EMPTY = "empty reply"
IDENTICAL = "identical replies"

Function = ast.FunctionDef | ast.AsyncFunctionDef


# --- functions ------------------------------------------------------------------------


def harvest(
    root: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    *,
    min_lines: int = 3,
    max_lines: int = 12,
    max_characters: int = 600,
) -> pd.DataFrame:
    """Functions and methods of the Python files under `root`, as FUNCTION_COLUMNS.

    root: a folder; by default the standard library of the running Python. limit: how
    many to draw with `seed`; None keeps all. `code` is written back from the syntax
    tree: one layout, no indentation around it, no comments, no docstring; the latter
    is text of its own, "" where there is none. The bounds hold for `code`, decorators
    included. Left out: tests, installed packages, special methods, functions inside
    functions, and code seen before. Rows are in the order of path and line;
    `attrs["drops"]` counts what was left out by reason, among the files read.
    Raises DataError if `root` is no folder or holds no such function.
    """
    folder = Path(root or sysconfig.get_path("stdlib"))
    draw = random.Random(seed)
    files = source_files(folder)
    draw.shuffle(files)
    enough = float("inf") if limit is None else CANDIDATES * limit
    drops: Counter[str] = Counter()
    found: dict[str, dict] = {}
    for path in files:
        if len(found) >= enough:
            break
        for function in read_functions(path, folder, drops):
            code = function["code"]
            reason = _out_of_bounds(code, min_lines, max_lines, max_characters)
            if reason or code in found:
                drops[reason or DUPLICATE] += 1
            else:
                found[code] = function
    if not found:
        raise DataError(f"{folder}: no function of {min_lines}-{max_lines} lines")
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


# --- descriptions and prompts ---------------------------------------------------------


def describe(function: Mapping[str, object]) -> str:
    """One line that says what a row of `harvest` does, at most DESCRIPTION_WIDTH long.

    The first sentence of its docstring; without one, a sentence written from its name,
    its arguments and what its body does.
    """
    paragraph = str(function["docstring"]).strip().split("\n\n")[0]
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split()))[0]
    if not re.search(r"[A-Za-z]{2}", sentence):
        sentence = _written(str(function["name"]), str(function["code"]))
    return textwrap.shorten(sentence, DESCRIPTION_WIDTH, placeholder=" ...")


def described(functions: pd.DataFrame, sentences: Sequence[str]) -> pd.DataFrame:
    """Functions whose docstrings are replaced by what somebody says of them, in order."""
    return functions.assign(docstring=list(sentences))


def _written(name: str, code: str) -> str:
    """A description of code without one: `Method pop(self) of Stack: returns item.`"""
    function = ast.parse(code).body[0]
    owner, _, _ = name.rpartition(".")
    kind = "method" if owner else "function"
    kind = f"async {kind}" if isinstance(function, ast.AsyncFunctionDef) else kind
    names = ", ".join(argument.arg for argument in _arguments(function.args))
    head = f"{kind.capitalize()} {function.name}({names})" + (owner and f" of {owner}")
    doings = ", ".join(_doings(function))
    return f"{head}: {doings}." if doings else f"{head}."


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    ordered = [*arguments.posonlyargs, *arguments.args, arguments.vararg]
    ordered += [*arguments.kwonlyargs, arguments.kwarg]
    return [argument for argument in ordered if argument is not None]


def _doings(function: Function) -> list[str]:
    """What a body does, by verb: loops, sets, raises, yields, returns; else calls."""
    verbs = ("loops over", "sets", "raises", "yields", "returns", "calls")
    done: dict[str, list[str]] = {verb: [] for verb in verbs}
    for node in _own_nodes(function):
        match node:
            case ast.For(iter=value) | ast.AsyncFor(iter=value):
                done["loops over"].append(_short(value))
            case ast.Assign(targets=[ast.Attribute() as target]):
                done["sets"].append(_short(target))
            case ast.Raise(exc=ast.Call(func=error)):
                done["raises"].append(_short(error))
            case ast.Raise(exc=ast.expr() as error):
                done["raises"].append(_short(error))
            case ast.Yield(value=ast.expr() as value) | ast.YieldFrom(value=value):
                done["yields"].append(_short(value))
            case ast.Return(value=ast.expr() as value):
                done["returns"].append(_short(value))
            case ast.Call(func=called):
                done["calls"].append(_short(called))
    if any(done[verb] for verb in done if verb != "calls"):
        done["calls"] = []
    return [
        f"{verb} {' or '.join(dict.fromkeys(objects[:2]))}"
        for verb, objects in done.items()
        if objects
    ]


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a body in reading order, not those of functions inside it."""
    waiting = list(reversed(function.body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _short(expression: ast.expr, width: int = 24) -> str:
    """An expression as a description names it: `total`, else `the result of sum`."""
    text = ast.unparse(expression)
    if len(text) <= width and "\n" not in text:
        return text
    if isinstance(expression, ast.Call):
        return f"the result of {_short(expression.func)}"
    return "an expression"


def code_prompt(description: str) -> str:
    """The instruction that asks for code; the code follows it directly."""
    return (
        "### Instruction: Write the Python function that is described.\n"
        f"### Description: {description}\n"
        "### Response:\n"
    )


def code_documents(functions: pd.DataFrame) -> list[tuple[str, str]]:
    """(prompt, code) of every function, to train a language model on."""
    return [
        (code_prompt(describe(row)), row["code"])
        for row in functions.to_dict("records")
    ]


# --- pairs ----------------------------------------------------------------------------


def build_pairs(
    functions: pd.DataFrame,
    strong_replies: Sequence[str],
    weak_replies: Sequence[str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs (PAIR_COLUMNS) from two models' code, and drops (columns reason, count).

    The replies stand in the order of `functions`. As in the paper a pair with an empty
    side is dropped; so is one whose sides are the same text, which has no gradient.
    Whitespace at the end does not count. Raises ValueError if the lengths differ.
    """
    rows = []
    drops = Counter({EMPTY: 0, IDENTICAL: 0})
    prompts = [prompt for prompt, _ in code_documents(functions)]
    columns = (functions["id"], prompts, strong_replies, weak_replies)
    for key, prompt, strong, weak in zip(*columns, strict=True):
        chosen, rejected = strong.rstrip(), weak.rstrip()
        if not (chosen and rejected):
            drops[EMPTY] += 1
        elif chosen == rejected:
            drops[IDENTICAL] += 1
        else:
            rows.append((key, prompt, chosen, rejected))
    pairs = pd.DataFrame(rows, columns=list(PAIR_COLUMNS))
    return pairs, pd.DataFrame(list(drops.items()), columns=["reason", "count"])


def shuffle_labels(pairs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The control without a label: each pair's sides swapped with probability 1/2.

    Whether a pair is swapped depends on its id and `seed` alone, not on its place.
    """
    swapped = pairs["id"].map(lambda key: _coin(f"{seed}:{key}")).astype(bool)
    return pairs.assign(
        chosen=pairs["chosen"].mask(swapped, pairs["rejected"]),
        rejected=pairs["rejected"].mask(swapped, pairs["chosen"]),
    )


def _coin(text: str) -> bool:
    return bool(hashlib.blake2b(text.encode(), digest_size=1).digest()[0] & 1)
