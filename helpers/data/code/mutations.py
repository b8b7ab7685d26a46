"""Writers with a dial: real functions with a seeded number of errors in them.

A writer copies a function and makes a Poisson number of errors (`code_edits`,
`code_omissions`), whose mean is the dial of its strength. What it writes depends on the
function and on its key alone, not on other functions or on their order. Nothing is
executed.
"""

import ast
import hashlib
import warnings

import numpy as np

from helpers.data.code.edits import Edit, Kind
from helpers.data.code.exchanges import SAME
from helpers.data.code.harvesting import Function
from helpers.data.code.omissions import TWINS

TRIES = 100  # draws for one error, before a function is left as it is


def written(code: str, errors: float, key: str) -> str:
    """A function as a writer with so many errors on average gives it.

    code: one function, as `ast.unparse` prints it. key: names writer, function and seed.
    Raises ValueError if `code` is not one function.
    """
    random = generator(key)
    return mutate(code, int(random.poisson(errors)), random)


def generator(key: str) -> np.random.Generator:
    """Random numbers that depend on a text alone."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def mutate(code: str, count: int, random: np.random.Generator) -> str:
    """`code` after `count` errors one after the other, each of a kind drawn anew.

    Every step is valid Python, one function and unlike all steps before; where no such
    error is found there are fewer. Raises ValueError if `code` is not one function.
    """
    if parsed(code) is None:
        raise ValueError(f"not one function: {code[:40]!r}")
    seen = [code]
    for _ in range(count):
        for _ in range(TRIES):
            new = one_error(seen[-1], random)
            if new is not None and new not in seen:
                seen.append(new)
                break
        else:
            break
    return seen[-1]


def one_error(
    code: str, random: np.random.Generator, kind: Kind | None = None
) -> str | None:
    """One draw of an error, of this kind or of any; None if nothing valid came of it."""
    function = parsed(code)
    kind = drawn_kind(function, random) if kind is None else kind
    edits: list[Edit] = list(kind(function)) if kind else []
    if not edits:
        return None
    edit = edits[random.integers(len(edits))]
    if random.random() >= edit.chance:
        return None
    edit.apply()
    new = ast.unparse(ast.fix_missing_locations(function))
    return new if new != code and parsed(new) is not None else None


def drawn_kind(function: Function, random: np.random.Generator) -> Kind | None:
    """A kind that is possible in a function; what lengthens as often as what shortens."""
    found: list[tuple[Kind, ...]] = [(k,) for k in SAME if possible(k, function)]
    found += [twins for twins in TWINS if all(possible(k, function) for k in twins)]
    if not found:
        return None
    group = found[random.integers(len(found))]
    return group[random.integers(len(group))]


def possible(kind: Kind, function: Function) -> bool:
    """Whether a function has a place for an error of this kind."""
    return next(iter(kind(function)), None) is not None


def parsed(code: str) -> Function | None:
    """The tree of code that is exactly one valid function, else None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of `0 is x` and the like
            compile(code, "<code>", "exec", dont_inherit=True)  # finds more than parse
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    alone = len(body) == 1 and isinstance(body[0], Function)
    return body[0] if alone else None
