"""What a function is for, in one line, and the prompt that asks for its code.

The description is the docstring's first sentence; without one it is written from the
signature and the body, as CodePMP's describer writes it from the code (arXiv:2410.02229).
"""

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from helpers.data.code.harvesting import Function

DESCRIPTION_WIDTH = 120  # characters


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
