"""What stands where in a table: the like together, the best first."""

import pandas as pd
import pytest

from helpers import methods
from helpers.analysis import ranking
from helpers.statistics.intervals import Interval


def rows(**estimates: float) -> pd.DataFrame:
    """Estimates of names on both subsets, as `ranked` takes them."""
    given = [
        {"name": name, "subset": subset, "estimate": value}
        for name, value in estimates.items()
        for subset in ("helpful", "harmless")
    ]
    frame = pd.DataFrame(given)
    return frame.assign(interval=[Interval(v, v, v) for v in frame["estimate"]])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rm (codepmp)", ranking.MODELS),
        ("rm_helpful (base)", ranking.MODELS),
        ("ppo implicit (base)", ranking.IMPLICIT),
        ("ppo (base)", ranking.POLICIES),
        ("tis_dpo", ranking.POLICIES),
        ("best_of_n (base)", ranking.BEST),
        ("best_of_n (random)", ranking.YARDSTICKS),
        ("sft", ranking.YARDSTICKS),
        ("sft log-prob", ranking.REST),
        ("bag of words", ranking.REST),
    ],
)
def test_what_a_name_is(name: str, kind: str) -> None:
    assert name in methods.names() and ranking.kind_of(name) == kind


def test_kinds_follow_each_other_and_the_best_of_each_is_first() -> None:
    table = ranking.ranked(rows(sft=0.9, ppo=0.1, sft_dpo=0.4, chosen=0.2, ipo=0.3))
    assert table.index.tolist() == [
        (ranking.POLICIES, "sft_dpo"),
        (ranking.POLICIES, "ipo"),
        (ranking.POLICIES, "ppo"),
        (ranking.YARDSTICKS, "sft"),
        (ranking.YARDSTICKS, "chosen"),
    ]
    assert table.loc[(ranking.POLICIES, "ipo"), "helpful"].estimate == 0.3


def test_rows_of_a_subset_stay_together() -> None:
    given = rows(a=0.1, b=0.5).rename(columns={"interval": "rate"})
    table = ranking.best_first(given, "rate")
    assert table[["subset", "name"]].to_numpy().tolist() == [
        ["harmless", "b"],
        ["harmless", "a"],
        ["helpful", "b"],
        ["helpful", "a"],
    ]
