"""Errors in real functions: valid code, seeded, and of another behaviour."""

import ast
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.data.code import exchanges, omissions
from helpers.data.code.harvesting import harvest
from helpers.data.code.mutations import generator, mutate, one_error, parsed, written
from helpers.recipes import code_writers

KINDS = {k.__name__: k for k in (*exchanges.SAME, *sum(omissions.TWINS, ()))}
NUMBERS = [(1, 2), (2, 1), (3, 3), (0, 5), (-2, 4), (7, 0)]
LISTS = [([1, -1, 2, 3],), ([4, 5, 6, -2, 8],)]
# a kind of error -> a function that has a place for it, and arguments
EXAMPLES = {
    "other_comparison": ("def f(a, b):\n    return a < b", NUMBERS),
    "other_operator": ("def f(a, b):\n    return a + b * 3", NUMBERS),
    "other_constant": ("def f(a, b):\n    return a * 2 - (b, 7)[1]", NUMBERS),
    "other_variable": ("def f(a, b):\n    return a - 2 * b", NUMBERS),
    "other_attribute": (
        "def f(text):\n    return text.upper() + text.lower()",
        [("Abc",), ("x",)],
    ),
    "other_exit": (
        """def f(items):
    total = 0
    for each in items:
        if each < 0:
            break
        total += each
    return total""",
        LISTS,
    ),
    "swapped_arguments": ("def f(a, b):\n    return pow(3 + a, b + 9)", NUMBERS),
    "swapped_operands": ("def f(a, b):\n    return a - b < 1", NUMBERS),
    "swapped_variables": ("def f(a, b):\n    return a - b * b", NUMBERS),
    "swapped_sides": ("def f(a, b):\n    a = b\n    return [a, b]", NUMBERS),
    "swapped_statements": (
        "def f(a, b):\n    a += b\n    a *= 3\n    a -= 1\n    return a",
        NUMBERS,
    ),
    "swapped_branches": (
        """def f(a, b):
    if a > b:
        a = 1
    else:
        a = 2
    return a""",
        NUMBERS,
    ),
    "swapped_bounds": ("def f(items):\n    return items[1:]", LISTS),
    "dropped_statement": (
        "def f(a, b):\n    a += b\n    a *= 3\n    return a",
        NUMBERS,
    ),
    "repeated_statement": (
        "def f(a, b):\n    a += b\n    a *= 3\n    a -= 1\n    return a",
        NUMBERS,
    ),
    "dropped_argument": (
        "def f(a, b):\n    return max(a, b) + round(a / 3, 1)",
        NUMBERS,
    ),
    "further_argument": ("def f(a, b):\n    return pow(a, 2) + pow(3, b + 2)", NUMBERS),
    "dropped_condition": ("def f(a, b):\n    return a > 1 and b > 1", NUMBERS),
    "further_condition": ("def f(a, b):\n    return a > 2 or b > 4", NUMBERS),
    "dropped_negation": (
        "def f(a, b):\n    if not a:\n        return b\n    return a",
        NUMBERS,
    ),
    "further_negation": (
        "def f(a, b):\n    if a:\n        return b\n    return 9",
        NUMBERS,
    ),
    "dropped_guard": (
        "def f(a, b):\n    if a > b:\n        a = b\n    return a",
        NUMBERS,
    ),
    "further_guard": (
        "def f(a, b):\n    if a > b:\n        a = b\n    a += 1\n    return a",
        NUMBERS,
    ),
}


ERRORS = (ArithmeticError, AttributeError, LookupError, NameError, TypeError)


def behaviour(code: str, inputs: list[tuple], folder: Path) -> list:
    """What the one function of our own examples does with each of these arguments."""
    path = folder / "example.py"
    path.write_text(code, encoding="utf-8")
    function = runpy.run_path(str(path))["f"]
    found = []
    for arguments in inputs:
        given = [list(a) if isinstance(a, list) else a for a in arguments]
        try:
            found.append(function(*given))
        except (*ERRORS, ValueError) as error:
            found.append(type(error).__name__)
    return found


def test_every_kind_has_its_example() -> None:
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_an_error_of_each_kind_changes_what_a_function_does(
    name: str, tmp_path: Path
) -> None:
    code, inputs = EXAMPLES[name]
    right, different, drawn = behaviour(code, inputs, tmp_path), 0, 0
    for seed in range(30):
        wrong = one_error(code, generator(f"{name}:{seed}"), KINDS[name])
        if wrong is not None:
            drawn += 1
            different += behaviour(wrong, inputs, tmp_path) != right
    assert drawn >= 5  # rarer operators are drawn seldom
    assert different > 0.6 * drawn


def test_a_change_without_effect_would_be_seen(tmp_path: Path) -> None:
    code, inputs = EXAMPLES["swapped_statements"]
    other = code.replace("a *= 3", "a = 3 * a")
    assert behaviour(other, inputs, tmp_path) == behaviour(code, inputs, tmp_path)


@pytest.fixture(scope="module")
def library() -> pd.DataFrame:
    return harvest(limit=150, seed=3)


def test_mutants_of_real_functions_are_functions_and_differ(library) -> None:
    kinds = Counter()
    for row in library.to_dict("records"):
        new = mutate(row["code"], 3, generator(row["id"]))
        tree = parsed(new)
        assert tree is not None and ast.unparse(tree) == new
        other = ast.dump(tree) != ast.dump(parsed(row["code"]))
        assert other == (new != row["code"])
        kinds[other] += 1
    assert kinds[True] > 0.9 * len(library)  # some have no place for an error


def test_the_dial_is_the_mean_number_of_errors(library) -> None:
    codes = library["code"].tolist()
    for errors in (0.0, 0.25, 2.0):
        replies = [written(code, errors, f"{at}") for at, code in enumerate(codes)]
        same = np.mean([reply == code for reply, code in zip(replies, codes)])
        assert same == pytest.approx(np.exp(-errors), abs=0.09)  # of a Poisson variable


def test_what_is_written_depends_on_the_key_alone(library, tmp_path) -> None:
    rows = library.head(40).to_dict("records")
    found = {}
    for name, order in (("there", rows), ("back", rows[::-1]), ("part", rows[5:9])):
        (tmp_path / name).mkdir()
        settings = {"errors": {"weak": 2.0}, "seed": 1, "method": "weak"}
        code_writers.copyist(tmp_path / name, functions=order, **settings)
        table = pd.read_parquet(tmp_path / name / "replies.parquet")
        found[name] = table.set_index("id")["reply"]
    assert found["there"].to_dict() == found["back"].to_dict()
    assert found["part"].to_dict().items() <= found["there"].to_dict().items()
    code = rows[0]["code"]
    assert len({written(code, 9.0, f"{seed}:weak") for seed in range(5)}) > 1


def test_errors_leave_operators_about_as_frequent_as_they_were(library) -> None:
    """Or `!=`, which is rarer than `==`, would be the mark of the weak writer."""

    def shares(codes: list[str]) -> Counter:
        nodes = [node for code in codes for node in ast.walk(parsed(code))]
        return Counter(
            type(op).__name__
            for node in nodes
            if isinstance(node, ast.Compare)
            for op in node.ops
        )

    codes = library["code"].tolist()
    before = shares(codes)
    kind = exchanges.other_comparison
    draws = [one_error(c, generator(f"{c}:{s}"), kind) for c in codes for s in range(9)]
    after = shares([draw for draw in draws if draw])
    old, new = (each["NotEq"] / each["Eq"] for each in (before, after))
    assert new < 2 * old + 0.3  # every == for != and back would give the inverse


def test_only_a_function_can_be_copied() -> None:
    for code in ("x = 1", "def f(:", "def f():\n    pass\n\ndef g():\n    pass"):
        with pytest.raises(ValueError, match="not one function"):
            written(code, 1.0, "key")


def test_a_function_without_a_place_for_errors_stays() -> None:
    code = "def f():\n    pass"
    assert mutate(code, 5, generator("key")) == code


def test_writers_learn_from_no_function_they_are_asked_for() -> None:
    asked, others = [{"id": "a"}, {"id": "b"}], [{"id": "c"}]
    code_writers.check_apart(asked, others)
    with pytest.raises(
        ValueError, match="1 functions, b first, are asked for and lear"
    ):
        code_writers.check_apart(asked, [*others, {"id": "b"}])
