"""An edit of one function's syntax tree, and what of a function edits look for.

`code_edits` and `code_omissions` are the kinds of them: the errors that a writer makes.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from helpers.data.code.harvesting import Function

LEAVES = (ast.Return, ast.Raise, ast.Break, ast.Continue)  # what follows is not reached
SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign)


@dataclass(frozen=True)
class Edit:
    """What changes the tree, and the probability that it is carried out if drawn.

    As in Metropolis's rule it is min(1, new / old), in counts of the standard library:
    then errors leave the shares of operators and numbers as they are, and a rare
    operator is no sign of an error.
    """

    apply: Callable[[], None]
    chance: float = 1.0


Kind = Callable[[Function], Iterator[Edit]]

# --- what a function consists of ------------------------------------------------------


def nodes(function: Function, *kinds: type) -> list:
    """The nodes of these kinds in a body, in reading order."""
    module = ast.Module(function.body, [])
    return [node for node in ast.walk(module) if isinstance(node, kinds)]


def blocks(function: Function) -> list[list[ast.stmt]]:
    """Every list of statements in a function, its body first."""
    found = [function.body]
    for node in nodes(function, ast.stmt, ast.ExceptHandler, ast.match_case):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, [])
            if block and isinstance(block, list):
                found.append(block)
    return found


def variables(function: Function) -> list[ast.Name]:
    """Where the function's own names, its arguments among them, are read.

    Not `self` and `cls`: in another's place they would be the mark of an error.
    """
    names = nodes(function, ast.Name)
    own = {argument.arg for argument in ast.walk(function.args) if is_arg(argument)}
    own |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    own -= {"self", "cls"}
    return [n for n in names if isinstance(n.ctx, ast.Load) and n.id in own]


def is_arg(node: ast.AST) -> bool:
    return isinstance(node, ast.arg)


def same(one: ast.AST, other: ast.AST) -> bool:
    """Whether two trees are the same code."""
    return ast.dump(one) == ast.dump(other)


def put(owner: object, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


def put_at(items: list, at: int, value: object) -> Callable[[], None]:
    return lambda: items.__setitem__(at, value)


def exchange(items: list, one: int, other: int) -> Callable[[], None]:
    def apply() -> None:
        items[one], items[other] = items[other], items[one]

    return apply


def exchange_fields(owner: object, one: str, other: str) -> Callable[[], None]:
    values = getattr(owner, one), getattr(owner, other)

    def apply() -> None:
        setattr(owner, one, values[1])
        setattr(owner, other, values[0])

    return apply


def exchange_between(one: object, other: object, name: str) -> Callable[[], None]:
    """The same field of two nodes exchanged."""
    values = getattr(other, name), getattr(one, name)

    def apply() -> None:
        for owner, value in zip((one, other), values):
            setattr(owner, name, value)

    return apply
