"""Pairs from two writers' code: what is left out, held out, and what rules score."""

import pandas as pd
import pytest

from helpers.analysis.pair_scorers import rule_margins
from helpers.data.code.code_pairs import (
    PAIR_COLUMNS,
    build_pairs,
    hold_out,
    of_split,
    shuffle_labels,
)
from helpers.data.code.descriptions import code_prompt
from helpers.data.code.harvesting import harvest
from helpers.data.code.mutations import written
from helpers.data.hh import DataError
from helpers.statistics.compare import accuracy_table


def functions(count: int) -> pd.DataFrame:
    """Rows as of `harvest`, of functions that differ in a number."""
    rows = [
        {
            "id": f"f{at}",
            "name": "f",
            "code": code(at),
            "docstring": f"Add {at} to x.",
        }
        for at in range(count)
    ]
    return pd.DataFrame(rows)


def code(at: int, operator: str = "+") -> str:
    return f"def f(x):\n    y = x {operator} {at}\n    return y"


def built(strong: dict[int, str], weak: dict[int, str], count: int = 12, **bounds):
    """Pairs of sums against differences, but for these replies, and the drops."""
    sums = [strong.get(at, code(at)) for at in range(count)]
    differences = [weak.get(at, code(at, "-")) for at in range(count)]
    pairs, drops = build_pairs(functions(count), sums, differences, **bounds)
    return pairs.set_index("id"), dict(zip(drops["reason"], drops["count"]))


# --- what is left out ------------------------------------------------------------------


def test_good_pairs_are_kept_as_they_are() -> None:
    pairs, drops = built({}, {})
    assert list(pairs.reset_index().columns) == list(PAIR_COLUMNS)
    assert len(pairs) == 12 and set(drops.values()) == {0}
    pair = pairs.loc["f3"]
    assert pair["prompt"] == code_prompt("Add 3 to x.")
    assert (pair["chosen"], pair["rejected"]) == (code(3), code(3, "-"))


TWO = "def f(x):\n    return x\n\ndef g(x):\n    return x"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("  \n", "empty reply"),
        ("def f(x:", "does not parse, or is not one function"),
        (TWO, "does not parse, or is not one function"),
        ("x = 1\ny = 2", "does not parse, or is not one function"),
        ('def f(x):\n    "words only"', "does not parse, or is not one function"),
        ("def f(x):\n    break", "does not parse, or is not one function"),
        (code(2), "identical replies"),
        (code(2).replace("\n", "  # same\n") + "\n", "identical replies"),
        (code(2) + " + 1" * 20, "lengths too far apart"),
    ],
)
def test_a_bad_reply_of_either_writer_is_left_out(reply: str, reason: str) -> None:
    for strong, weak in (({2: reply}, {2: code(2)}), ({2: code(2)}, {2: reply})):
        pairs, drops = built(strong, weak)
        assert "f2" not in pairs.index and len(pairs) == 11
        assert drops == {**dict.fromkeys(drops, 0), reason: 1}


def test_no_layout_tells_the_writers_apart() -> None:
    reply = 'def f( x ):\n  """Sum."""\n  # here\n  y=(x+2)\n\n  return (y)\n'
    pairs, _ = built({2: reply}, {})
    assert pairs.loc["f2", "chosen"] == code(2)


def test_the_bound_on_lengths_is_that_given() -> None:
    long = {2: code(2, "-") + " + 1" * 4}
    assert "f2" in built({}, long)[0].index
    assert "f2" not in built({}, long, length_ratio=1.2)[0].index


def test_replies_must_match_the_functions() -> None:
    with pytest.raises(ValueError, match="zip"):
        build_pairs(functions(4), ["x"], ["y"])


def test_writers_that_write_no_functions_are_an_error() -> None:
    words = ["I cannot."] * 4
    with pytest.raises(DataError, match="0 of 4 code pairs are left .does not parse"):
        build_pairs(functions(4), words, words)


# --- what is held out ------------------------------------------------------------------


def test_held_out_functions_do_not_depend_on_the_order() -> None:
    ids = pd.Series([f"id{at}" for at in range(1000)])
    split = hold_out(ids, 0.25)
    assert (split == "test").sum() == 250
    turned = ids.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(hold_out(turned, 0.25).sort_index(), split)
    more = pd.concat([ids, pd.Series([f"new{at}" for at in range(100)])])
    moved = hold_out(more.reset_index(drop=True), 0.25)[:1000] != split
    assert moved.mean() < 0.05


@pytest.mark.parametrize(("count", "test"), [(1, 0), (2, 1), (3, 1), (12, 3)])
def test_some_are_held_out_and_some_are_not(count: int, test: int) -> None:
    split = hold_out(pd.Series([f"id{at}" for at in range(count)]), 0.25)
    assert (split == "test").sum() == test


# --- what tells the writers apart ------------------------------------------------------


def rules(pairs: pd.DataFrame) -> pd.Series:
    """Accuracy of both rules on the held-out pairs."""
    margins = rule_margins(pairs)
    table = accuracy_table(margins.assign(name=margins["method"]), by=["name"])
    return table.set_index("name")["estimate"]


def test_rules_are_scored_on_held_out_pairs_only() -> None:
    pairs, _ = built({}, {}, count=40)
    margins = rule_margins(pairs.reset_index())
    assert set(margins["metric"]) == {"margin"} and set(margins["subset"]) == {"code"}
    test = of_split(pairs.reset_index(), "test")["id"].tolist()
    for name in ("length", "bag of words"):
        assert margins.query("method == @name")["example"].tolist() == test


def test_rules_find_a_writer_that_gives_itself_away() -> None:
    """Sums against differences, then the same code at greater length."""
    found = rules(built({}, {}, count=40)[0].reset_index())
    assert found["bag of words"] == 1.0 and found["length"] == 0.5
    longer = {at: code(at).replace("y", "yy") for at in range(40)}
    same = {at: code(at) for at in range(40)}
    assert rules(built(longer, same, count=40)[0].reset_index())["length"] == 1.0


@pytest.fixture(scope="module")
def copied() -> pd.DataFrame:
    """Pairs of two copyists from the standard library, at the defaults of 02."""
    found = harvest(limit=1000, seed=0, max_characters=300)
    replies = [
        [
            written(row["code"], errors, f"0:{name}:{row['id']}")
            for row in found.to_dict("records")
        ]
        for name, errors in (("strong", 0.25), ("weak", 3.0))
    ]
    return build_pairs(found, *replies)[0]


def test_no_rule_tells_two_copyists_apart(copied: pd.DataFrame) -> None:
    assert len(copied) > 700
    assert rules(copied).max() < 0.7 and rules(copied)["length"] < 0.6


def test_the_stronger_copyist_is_nearer_to_the_function(copied: pd.DataFrame) -> None:
    codes = set(harvest(limit=1000, seed=0, max_characters=300)["code"])
    right = copied[["chosen", "rejected"]].isin(codes).mean()
    assert right["chosen"] > 0.7 and right["rejected"] < 0.1


def test_shuffled_labels_are_a_fair_coin_by_id() -> None:
    pairs = pd.DataFrame({"id": [f"id{i}" for i in range(1000)]}).assign(
        prompt="p", chosen="good", rejected="bad"
    )
    shuffled = shuffle_labels(pairs, seed=0)
    assert 0.45 < (shuffled["chosen"] == "bad").mean() < 0.55
    assert (shuffled["chosen"] != shuffled["rejected"]).all()
    reordered = shuffle_labels(pairs.sample(frac=1, random_state=0), seed=0)
    pd.testing.assert_frame_equal(reordered.sort_index(), shuffled)
    assert not shuffled.equals(shuffle_labels(pairs, seed=1))
    assert (pairs["chosen"] == "good").all()
