"""The errors that a writer can make: small edits of one function's syntax tree.

Each kind yields the edits that are possible in a function; carrying one out changes the
tree in place. They are made so that words and length tell little: what is there is
exchanged, or is dropped as often as it is copied, and an operator is put for another as
often as the other for it (`Edit.chance`).
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

from helpers.harvesting import Function

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
    own = {argument.arg for argument in ast.walk(function.args) if _is_arg(argument)}
    own |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    own -= {"self", "cls"}
    return [n for n in names if isinstance(n.ctx, ast.Load) and n.id in own]


def _is_arg(node: ast.AST) -> bool:
    return isinstance(node, ast.arg)


def same(one: ast.AST, other: ast.AST) -> bool:
    """Whether two trees are the same code."""
    return ast.dump(one) == ast.dump(other)


def _put(owner: object, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


def _put_at(items: list, at: int, value: object) -> Callable[[], None]:
    return lambda: items.__setitem__(at, value)


def _exchange(items: list, one: int, other: int) -> Callable[[], None]:
    def apply() -> None:
        items[one], items[other] = items[other], items[one]

    return apply


def _exchange_fields(owner: object, one: str, other: str) -> Callable[[], None]:
    values = getattr(owner, one), getattr(owner, other)

    def apply() -> None:
        setattr(owner, one, values[1])
        setattr(owner, other, values[0])

    return apply


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
                yield Edit(_put_at(node.ops, at, new()), chance)


def other_operator(function: Function) -> Iterator[Edit]:
    """`-` for `+`, `or` for `and`."""
    for node in nodes(function, ast.BinOp, ast.AugAssign, ast.BoolOp):
        for new, chance in _neighbours(type(node.op)):
            yield Edit(_put(node, "op", new()), chance)


def other_constant(function: Function) -> Iterator[Edit]:
    """A number that is off by one, True for False."""
    for node in nodes(function, ast.Constant):
        if isinstance(node.value, bool):
            chance = min(1.0, TRUTHS[not node.value] / TRUTHS[node.value])
            yield Edit(_put(node, "value", not node.value), chance)
        elif isinstance(node.value, int):
            old = NUMBERS.get(node.value, RARE)
            for new in (node.value - 1, node.value + 1):
                if new >= 0:
                    chance = min(1.0, NUMBERS.get(new, RARE) / old)
                    yield Edit(_put(node, "value", new), chance)


def other_variable(function: Function) -> Iterator[Edit]:
    """One variable where another is meant: written over by one that is read elsewhere."""
    found = variables(function)
    for node in found:
        for other in found:
            if node.id != other.id:
                yield Edit(_put(node, "id", other.id))


def other_attribute(function: Function) -> Iterator[Edit]:
    """One attribute where another is meant, methods among themselves."""
    called = {id(call.func) for call in nodes(function, ast.Call)}
    found = [n for n in nodes(function, ast.Attribute) if isinstance(n.ctx, ast.Load)]
    for node in found:
        for other in found:
            alike = (id(node) in called) == (id(other) in called)
            if alike and node.attr != other.attr:
                yield Edit(_put(node, "attr", other.attr))


def other_exit(function: Function) -> Iterator[Edit]:
    """`continue` for `break`, and the other way round."""
    new = {ast.Break: ast.Continue, ast.Continue: ast.Break}
    for block in blocks(function):
        for at, node in enumerate(block):
            if put := new.get(type(node)):
                chance = min(1.0, OPERATORS[put] / OPERATORS[type(node)])
                yield Edit(_put_at(block, at, put()), chance)


# --- an exchange ----------------------------------------------------------------------


def swapped_arguments(function: Function) -> Iterator[Edit]:
    """Two arguments of a call, or two items of a tuple, in the other order."""
    for node in nodes(function, ast.Call, ast.Tuple):
        items = node.args if isinstance(node, ast.Call) else node.elts
        for one, other in combinations(range(len(items)), 2):
            if not same(items[one], items[other]):
                yield Edit(_exchange(items, one, other))
    for node in nodes(function, ast.Call):
        for one, other in combinations([k for k in node.keywords if k.arg], 2):
            if not same(one.value, other.value):
                yield Edit(_exchange_values(one, other))


def _exchange_values(one: ast.keyword, other: ast.keyword) -> Callable[[], None]:
    values = other.value, one.value

    def apply() -> None:
        one.value, other.value = values

    return apply


def swapped_operands(function: Function) -> Iterator[Edit]:
    """`b - a` for `a - b`, `b < a` for `a < b`."""
    for node in nodes(function, ast.BinOp):
        if not isinstance(node.op, UNTURNED) and not same(node.left, node.right):
            yield Edit(_exchange_fields(node, "left", "right"))
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
                yield Edit(_exchange_names(one, other))


def _exchange_names(one: ast.Name, other: ast.Name) -> Callable[[], None]:
    names = other.id, one.id

    def apply() -> None:
        one.id, other.id = names

    return apply


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
                yield Edit(_exchange(block, at, at + 1))


def swapped_branches(function: Function) -> Iterator[Edit]:
    """What is done if a condition holds, if it does not hold."""
    for node in nodes(function, ast.If, ast.IfExp):
        if node.orelse:
            yield Edit(_exchange_fields(node, "body", "orelse"))


def swapped_bounds(function: Function) -> Iterator[Edit]:
    """`x[n:]` for `x[:n]`."""
    for node in nodes(function, ast.Slice):
        if node.lower or node.upper:
            yield Edit(_exchange_fields(node, "lower", "upper"))


# --- too little, too much -------------------------------------------------------------


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
            yield Edit(_put(node, "test", node.test.operand))


def further_negation(function: Function) -> Iterator[Edit]:
    """A condition is negated."""
    for node in nodes(function, ast.If, ast.While, ast.IfExp):
        if not _negated(node.test) and not isinstance(node.test, ast.Compare):
            yield Edit(_put(node, "test", ast.UnaryOp(ast.Not(), node.test)))


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
                    yield Edit(_put_at(block, at, new))


Kind = Callable[[Function], Iterator[Edit]]
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
# shorter and longer: drawn with equal probability, where both are possible
TWINS: tuple[tuple[Kind, Kind], ...] = (
    (dropped_statement, repeated_statement),
    (dropped_argument, further_argument),
    (dropped_condition, further_condition),
    (dropped_negation, further_negation),
    (dropped_guard, further_guard),
)
