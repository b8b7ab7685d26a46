"""Errors of a writer that put one thing for another, or exchange two.

Each kind yields the edits that are possible in a function; carrying one out changes the
tree in place. They are made so that words and length tell little: an operator is put for
another as often as the other for it (`Edit.chance`).
"""

import ast
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise

from helpers.data.code.edits import (
    LEAVES,
    SIMPLE,
    Edit,
    Kind,
    blocks,
    exchange,
    exchange_between,
    exchange_fields,
    nodes,
    put,
    put_at,
    same,
    variables,
)
from helpers.data.code.harvesting import Function

# how often these stand in the 6,501 functions of CPython 3.11's library
OPERATORS = {
    ast.Eq: 905, ast.NotEq: 276, ast.Is: 850, ast.IsNot: 526, ast.In: 410,
    ast.NotIn: 179, ast.Lt: 203, ast.LtE: 140, ast.Gt: 194, ast.GtE: 123,
    ast.Add: 1246, ast.Sub: 397, ast.Mult: 289, ast.FloorDiv: 93, ast.Div: 77,
    ast.BitAnd: 92, ast.BitOr: 79, ast.LShift: 42, ast.RShift: 28,
    ast.And: 546, ast.Or: 371, ast.Break: 73, ast.Continue: 39,
}  # fmt: skip
NUMBERS = {0: 1340, 1: 1442, 2: 378, 3: 133, 4: 104}
RARE = 40  # of any other number
TRUTHS = {True: 637, False: 588}
# which operator is taken for which, both ways
NEIGHBOURS = (
    (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn),
    (ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Lt, ast.Gt), (ast.LtE, ast.GtE),
    (ast.Lt, ast.GtE), (ast.Gt, ast.LtE), (ast.Add, ast.Sub), (ast.Mult, ast.Add),
    (ast.Mult, ast.FloorDiv), (ast.FloorDiv, ast.Div), (ast.BitAnd, ast.BitOr),
    (ast.LShift, ast.RShift), (ast.And, ast.Or),
)  # fmt: skip
# `%` is mostly the formatting of strings: turned round it would be seen at once
UNTURNED = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor, ast.Mod)
SYMMETRIC = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)


# --- one thing for another ------------------------------------------------------------


def _neighbours(old: type) -> Iterator[tuple[type, float]]:
    """What an operator is taken for, with the edit's probability."""
    for pair in NEIGHBOURS:
        if old in pair:
            new = pair[1 - pair.index(old)]
            yield new, min(1.0, OPERATORS[new] / OPERATORS[old])


def other_comparison(function: Function) -> Iterator[Edit]:
    """`<` for `<=` or `>`, `==` for `!=`, `in` for `not in`."""
    for node in nodes(function, ast.Compare):
        for at, operator in enumerate(node.ops):
            for new, chance in _neighbours(type(operator)):
                yield Edit(put_at(node.ops, at, new()), chance)


def other_operator(function: Function) -> Iterator[Edit]:
    """`-` for `+`, `or` for `and`."""
    for node in nodes(function, ast.BinOp, ast.AugAssign, ast.BoolOp):
        for new, chance in _neighbours(type(node.op)):
            yield Edit(put(node, "op", new()), chance)


def other_constant(function: Function) -> Iterator[Edit]:
    """A number that is off by one, True for False."""
    for node in nodes(function, ast.Constant):
        if isinstance(node.value, bool):
            chance = min(1.0, TRUTHS[not node.value] / TRUTHS[node.value])
            yield Edit(put(node, "value", not node.value), chance)
        elif isinstance(node.value, int):
            old = NUMBERS.get(node.value, RARE)
            for new in (node.value - 1, node.value + 1):
                if new >= 0:
                    chance = min(1.0, NUMBERS.get(new, RARE) / old)
                    yield Edit(put(node, "value", new), chance)


def other_variable(function: Function) -> Iterator[Edit]:
    """One variable where another is meant: written over by one that is read elsewhere."""
    found = variables(function)
    for node in found:
        for other in found:
            if node.id != other.id:
                yield Edit(put(node, "id", other.id))


def other_attribute(function: Function) -> Iterator[Edit]:
    """One attribute where another is meant, methods among themselves."""
    called = {id(call.func) for call in nodes(function, ast.Call)}
    found = [n for n in nodes(function, ast.Attribute) if isinstance(n.ctx, ast.Load)]
    for node in found:
        for other in found:
            alike = (id(node) in called) == (id(other) in called)
            if alike and node.attr != other.attr:
                yield Edit(put(node, "attr", other.attr))


def other_exit(function: Function) -> Iterator[Edit]:
    """`continue` for `break`, and the other way round."""
    new = {ast.Break: ast.Continue, ast.Continue: ast.Break}
    for block in blocks(function):
        for at, node in enumerate(block):
            if put := new.get(type(node)):
                chance = min(1.0, OPERATORS[put] / OPERATORS[type(node)])
                yield Edit(put_at(block, at, put()), chance)


# --- an exchange ----------------------------------------------------------------------


def swapped_arguments(function: Function) -> Iterator[Edit]:
    """Two arguments of a call, or two items of a tuple, in the other order."""
    for node in nodes(function, ast.Call, ast.Tuple):
        items = node.args if isinstance(node, ast.Call) else node.elts
        for one, other in combinations(range(len(items)), 2):
            if not same(items[one], items[other]):
                yield Edit(exchange(items, one, other))
    for node in nodes(function, ast.Call):
        for one, other in combinations([k for k in node.keywords if k.arg], 2):
            if not same(one.value, other.value):
                yield Edit(exchange_between(one, other, "value"))


def swapped_operands(function: Function) -> Iterator[Edit]:
    """`b - a` for `a - b`, `b < a` for `a < b`."""
    for node in nodes(function, ast.BinOp):
        if not isinstance(node.op, UNTURNED) and not same(node.left, node.right):
            yield Edit(exchange_fields(node, "left", "right"))
    for node in nodes(function, ast.Compare):
        right = node.comparators
        if len(right) == 1 and not isinstance(node.ops[0], SYMMETRIC):
            yield Edit(_exchange_compared(node))


def _exchange_compared(node: ast.Compare) -> Callable[[], None]:
    left, right = node.left, node.comparators[0]

    def apply() -> None:
        node.left, node.comparators[0] = right, left

    return apply


def swapped_variables(function: Function) -> Iterator[Edit]:
    """Two variables of one statement in each other's place."""
    found = {id(each) for each in variables(function)}
    for statement in nodes(function, *SIMPLE, ast.Return):
        names = [n for n in ast.walk(statement) if id(n) in found]
        for one, other in combinations(names, 2):
            if one.id != other.id:
                yield Edit(exchange_between(one, other, "id"))


def swapped_sides(function: Function) -> Iterator[Edit]:
    """`b = a` for `a = b`."""
    places = (ast.Name, ast.Attribute, ast.Subscript)
    for node in nodes(function, ast.Assign):
        sides = node.targets[0], node.value
        plain = len(node.targets) == 1 and all(isinstance(s, places) for s in sides)
        if plain and not same(*sides):
            yield Edit(_exchange_sides(node))


def _exchange_sides(node: ast.Assign) -> Callable[[], None]:
    def apply() -> None:
        target, node.value = node.value, node.targets[0]
        node.targets[0] = target

    return apply


def swapped_statements(function: Function) -> Iterator[Edit]:
    """A statement before the one that it should follow."""
    for block in blocks(function):
        for at, (one, other) in enumerate(pairwise(block)):
            if not isinstance(other, LEAVES) and not same(one, other):
                yield Edit(exchange(block, at, at + 1))


def swapped_branches(function: Function) -> Iterator[Edit]:
    """What is done if a condition holds, if it does not hold."""
    for node in nodes(function, ast.If, ast.IfExp):
        if node.orelse:
            yield Edit(exchange_fields(node, "body", "orelse"))


def swapped_bounds(function: Function) -> Iterator[Edit]:
    """`x[n:]` for `x[:n]`."""
    for node in nodes(function, ast.Slice):
        if node.lower or node.upper:
            yield Edit(exchange_fields(node, "lower", "upper"))


SAME: tuple[Kind, ...] = (
    other_comparison,
    other_operator,
    other_constant,
    other_variable,
    other_attribute,
    other_exit,
    swapped_arguments,
    swapped_operands,
    swapped_variables,
    swapped_sides,
    swapped_statements,
    swapped_branches,
    swapped_bounds,
)
