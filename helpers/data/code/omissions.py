"""Errors of a writer that leave something out, or say it twice or where it does not belong.

Each kind yields the edits that are possible in a function, as those of `code_edits`. What
is there is dropped as often as it is copied, so that length tells nothing.
"""

import ast
import copy
from collections.abc import Iterator

from helpers.data.code.edits import (
    LEAVES,
    SIMPLE,
    Edit,
    Kind,
    blocks,
    nodes,
    put,
    put_at,
    same,
    variables,
)
from helpers.data.code.harvesting import Function


def dropped_statement(function: Function) -> Iterator[Edit]:
    """A statement or a whole branch is forgotten."""
    for block in blocks(function):
        for at, node in enumerate(block):
            if len(block) > 1 and not isinstance(node, LEAVES):
                yield Edit(lambda block=block, at=at: block.pop(at) and None)


def repeated_statement(function: Function) -> Iterator[Edit]:
    """A statement or a whole branch is written once more, at a wrong place."""
    for block in blocks(function):
        for node in block:
            if len(block) > 1 and not isinstance(node, LEAVES):
                yield from _insertions(function, node)


def _insertions(function: Function, node: ast.stmt) -> Iterator[Edit]:
    """Copies of a statement wherever they are reached and do not stand beside it."""
    inside = {id(each) for each in ast.walk(node)}
    for block in blocks(function):
        if id(block[0]) in inside:
            continue
        for at in range(len(block) + 1):
            beside = block[max(0, at - 1) : at + 1]
            reached = at == 0 or not isinstance(block[at - 1], LEAVES)
            if reached and not any(same(each, node) for each in beside):
                new = copy.deepcopy(node)
                yield Edit(lambda b=block, at=at, new=new: b.insert(at, new))


def dropped_argument(function: Function) -> Iterator[Edit]:
    """An argument of a call that has several is forgotten."""
    for node in nodes(function, ast.Call):
        for at in range(len(node.args) if len(node.args) > 1 else 0):
            yield Edit(lambda args=node.args, at=at: args.pop(at) and None)


def further_argument(function: Function) -> Iterator[Edit]:
    """A call is given an argument of another one, too."""
    calls = [node for node in nodes(function, ast.Call) if node.args]
    given = [each for call in calls for each in call.args]
    for node in calls:
        for each in given:
            if not any(node is inner for inner in ast.walk(each)):
                new = copy.deepcopy(each)
                yield Edit(lambda args=node.args, new=new: args.append(new))


def dropped_condition(function: Function) -> Iterator[Edit]:
    """Only a part of a condition is asked for."""
    for node in nodes(function, ast.BoolOp):
        if len(node.values) > 1:
            for at in range(len(node.values)):
                yield Edit(lambda values=node.values, at=at: values.pop(at) and None)


def further_condition(function: Function) -> Iterator[Edit]:
    """A condition asks for a variable, too, where there are such conditions."""
    for node in nodes(function, ast.BoolOp):
        for name in variables(function):
            if not any(same(each, name) for each in node.values):
                new = ast.Name(name.id, ast.Load())
                yield Edit(lambda values=node.values, new=new: values.append(new))


def dropped_negation(function: Function) -> Iterator[Edit]:
    """A condition without its `not`."""
    for node in nodes(function, ast.If, ast.While, ast.IfExp):
        if _negated(node.test):
            yield Edit(put(node, "test", node.test.operand))


def further_negation(function: Function) -> Iterator[Edit]:
    """A condition is negated."""
    for node in nodes(function, ast.If, ast.While, ast.IfExp):
        if not _negated(node.test) and not isinstance(node.test, ast.Compare):
            yield Edit(put(node, "test", ast.UnaryOp(ast.Not(), node.test)))


def _negated(test: ast.expr) -> bool:
    return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)


def dropped_guard(function: Function) -> Iterator[Edit]:
    """What should depend on a condition is done always."""
    for block in blocks(function):
        for at, node in enumerate(block):
            if isinstance(node, ast.If) and not node.orelse:
                yield Edit(
                    lambda b=block, at=at, body=node.body: b.__setitem__(
                        slice(at, at + 1), body
                    )
                )


def further_guard(function: Function) -> Iterator[Edit]:
    """What should be done always depends on a condition from elsewhere."""
    tests = [node.test for node in nodes(function, ast.If)]
    for block in blocks(function):
        for at, node in enumerate(block):
            if isinstance(node, (*SIMPLE, ast.Return, ast.Raise)):
                for test in tests:
                    new = ast.If(copy.deepcopy(test), [node], [])
                    yield Edit(put_at(block, at, new))


# shorter and longer: drawn with equal probability, where both are possible
TWINS: tuple[tuple[Kind, Kind], ...] = (
    (dropped_statement, repeated_statement),
    (dropped_argument, further_argument),
    (dropped_condition, further_condition),
    (dropped_negation, further_negation),
    (dropped_guard, further_guard),
)
