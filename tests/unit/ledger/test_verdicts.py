"""The rule that decides claims: its errors simulated, its borders by hand."""

import math

import numpy as np
import pytest
from scipy import stats as distributions

from helpers.ledger import rule
from helpers.ledger.rule import (
    ALPHA,
    EQUIVALENT,
    FAILS,
    HOLDS,
    OPEN,
    UNTESTED,
    Case,
    Decision,
    Part,
)
from helpers.statistics.intervals import Interval


def interval(estimate: float, error: float, freedom: float = 4) -> Interval:
    """A 95 % interval by Student's t."""
    half = distributions.t.ppf(0.975, freedom) * error
    return Interval(estimate, estimate - half, estimate + half, error=error)


def drawn(
    truth: float, number: int, seed: int, freedom: int = 4, error: float = 1.0
) -> list[Interval]:
    """Intervals of an estimate whose error is estimated with few degrees of freedom."""
    generator = np.random.default_rng(seed)
    estimates = truth + error * generator.normal(size=number)
    spreads = error * np.sqrt(generator.chisquare(freedom, number) / freedom)
    halves = distributions.t.ppf(0.975, freedom) * spreads
    return [
        Interval(x, x - half, x + half, error=spread)
        for x, half, spread in zip(estimates, halves, spreads)
    ]


def alone(*intervals: Interval, least: float = 0.1, **part: float) -> Decision:
    """The decision on a claim that is a family by itself."""
    case = Case([Part(each, **part) for each in intervals], least)
    return rule.decide({"claim": case})["claim"]


def rates(cases: list[dict[str, Case]]) -> dict[str, float]:
    """How often a family has at least one claim of each status."""
    found = [{each.status for each in rule.decide(one).values()} for one in cases]
    return {
        status: float(np.mean([status in each for each in found]))
        for status in rule.STATUSES
    }


# --- one interval ----------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 3.7, 20, 1e7])
def test_p_at_a_bound_is_that_of_the_level(freedom):
    own = interval(0.4, 0.2, freedom)
    assert rule.one_sided(own, own.low, 1) == pytest.approx(0.025, rel=1e-3)
    assert rule.one_sided(own, own.high, -1) == pytest.approx(0.025, rel=1e-3)
    t = distributions.t(freedom)
    assert rule.one_sided(own, 0, 1) == pytest.approx(t.sf(2), rel=1e-3)
    assert rule.one_sided(own, 0, -1) == pytest.approx(t.sf(-2), rel=1e-3)


@pytest.mark.parametrize(
    ("seeds", "t"), [(0, distributions.norm), (3, distributions.t(2))]
)
def test_an_unknown_error_is_that_of_so_many_seeds(seeds, t):
    half = t.ppf(0.975) * 0.2
    own = Interval(0.4, 0.4 - half, 0.4 + half, seeds=seeds)
    assert math.isnan(own.error)
    assert rule.one_sided(own, 0, 1) == pytest.approx(t.sf(2), rel=1e-6)


def test_a_narrow_interval_keeps_its_error_and_a_wide_one_gets_a_larger():
    narrow = Interval(0.4, 0.3, 0.5, error=0.2)
    assert rule.one_sided(narrow, 0, 1) == pytest.approx(distributions.norm.sf(2))
    wide = Interval(0.4, -9.6, 10.4, error=0.2)
    assert rule.one_sided(wide, 0, 1) > 0.3


@pytest.mark.parametrize(
    "useless",
    [
        Interval(0.5, 0.5, 0.5, error=0.0),
        Interval(0.5, -np.inf, np.inf),
        Interval(0.5, np.nan, np.nan),
        Interval(np.inf, 1.0, np.inf),
    ],
)
def test_an_interval_without_a_width_or_a_bound_decides_nothing(useless):
    assert alone(useless).status == OPEN


def test_an_interval_counts_by_the_half_that_faces_the_edge():
    skew = Interval(2.0, 1.5, 40.0)  # a factor with a long upper arm
    assert alone(skew, edge=1.0).status == HOLDS
    assert alone(skew, edge=3.0).status == OPEN  # by the lower arm it would fail


def test_a_recorded_p_counts_on_the_side_of_the_estimate():
    own = interval(1.0, 1.0)
    assert alone(own).status == OPEN
    assert alone(own, p=0.01).status == HOLDS
    assert alone(own, p=0.01, sign=-1).status == FAILS
    assert alone(interval(1.0, 0.01), p=0.2).status == OPEN


# --- claims ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimate", "part", "status"),
    [
        (1.0, {}, HOLDS),
        (1.0, {"sign": -1}, FAILS),
        (-1.0, {}, FAILS),
        (-1.0, {"sign": -1}, HOLDS),
        (1.0, {"edge": 2.0}, FAILS),
        (0.0, {}, EQUIVALENT),
        (0.09, {}, OPEN),
        (2.0, {"edge": 2.0}, EQUIVALENT),
    ],
)
def test_what_one_interval_decides(estimate, part, status):
    error = 0.05 if status == OPEN else 0.02
    assert alone(interval(estimate, error, 30), **part).status == status


def test_a_claim_holds_if_all_parts_do_and_fails_if_one_does_not():
    up, null, down = (interval(each, 0.1, 30) for each in (1, 0, -1))
    assert alone(up, up).status == HOLDS
    assert alone(up, null).status == OPEN
    assert alone(up, null, down).status == FAILS
    assert alone(null, up, least=2).status == EQUIVALENT


def test_a_small_effect_that_is_sure_counts_as_equivalent():
    small = interval(0.04, 0.005, 30)
    assert rule.p_values([Part(small)], 0.1)[HOLDS] < 0.001
    assert alone(small, least=0.1).status == EQUIVALENT
    assert alone(small, least=0.01).status == HOLDS


def test_parts_share_the_level_of_their_claim():
    """Four true zeros: "does not hold" in 10 % by the former rule, below 5 % now."""
    parts = np.reshape(np.array(drawn(0, 4 * 3000, seed=1), object), (3000, 4))
    former = np.mean([any(each.high < 0 for each in own) for own in parts])
    cases = [{"c": Case([Part(each) for each in own], 0.1)} for own in parts]
    found = rates(cases)
    assert former > 0.08
    assert found[FAILS] < 0.04
    assert found[HOLDS] < 0.01


# --- families ----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "parts"), [(1, 1), (6, 1), (6, 2)])
def test_a_family_of_true_nulls_errs_in_five_percent(size, parts):
    number = 1200
    pool = iter(drawn(0, number * size * parts, seed=size + parts))
    families = [
        {
            str(name): Case([Part(next(pool)) for _ in range(parts)], 0.1)
            for name in range(size)
        }
        for _ in range(number)
    ]
    found = rates(families)
    assert found[HOLDS] + found[FAILS] < 0.065
    assert found[EQUIVALENT] < 0.01


def test_an_effect_as_large_as_the_least_of_interest_is_rarely_called_equivalent():
    pool = iter(drawn(0.1, 2 * 1500, seed=3, freedom=20, error=0.02))
    cases = [{"a": Case([Part(next(pool))], 0.1)} for _ in range(1500)]
    found = rates(cases)
    assert found[EQUIVALENT] < 0.065 and found[FAILS] == 0
    assert found[HOLDS] > 0.8


def test_a_true_effect_is_found_and_a_true_zero_called_equivalent():
    pool = iter(drawn(1.0, 300 * 6, seed=4, freedom=8, error=0.15))
    effects = [
        {str(k): Case([Part(next(pool))], 0.1) for k in range(6)} for _ in range(300)
    ]
    decisions = [each for one in effects for each in rule.decide(one).values()]
    assert np.mean([each.status == HOLDS for each in decisions]) > 0.9
    pool = iter(drawn(0.0, 300, seed=5, freedom=8, error=0.02))
    zeros = [{"z": Case([Part(each)], 0.1)} for each in pool]
    assert rates(zeros)[EQUIVALENT] > 0.9


def test_holm_is_over_the_whole_family():
    own = Case([Part(interval(1.0, 1.0), p=0.02)], 0.1)
    null = Case([Part(interval(0.1, 1.0))], 0.1)
    assert rule.decide({"a": own})["a"].status == HOLDS
    found = rule.decide({"a": own, "b": null, "c": null})["a"]
    assert found.status == OPEN and found.p == pytest.approx(0.06)
    assert "0.06, 3 questions being asked together" in found.why


def test_what_is_left_out_keeps_the_size_of_the_family():
    own = Case([Part(interval(1.0, 1.0), p=0.02)], 0.1)
    out = Case((), 0.1, (UNTESTED, "x was not run"))
    found = rule.decide({"a": own, "b": out, "c": out})
    assert found["a"].status == OPEN and found["a"].p == pytest.approx(0.06)
    assert found["b"] == Decision(UNTESTED, why="x was not run")


def test_a_verdict_is_given_in_the_words_of_its_claim():
    words = {"holds": "it helps", "fails": "it hurts"}
    assert rule.in_words(Decision(HOLDS), words) == "it helps"
    assert rule.in_words(Decision(FAILS), words) == "it hurts"
    assert rule.in_words(Decision(EQUIVALENT), words) == "equivalent"
    open_one = Decision(OPEN, why="the judge fails")
    assert rule.in_words(open_one, words) == "not decided: the judge fails"
    absent = Decision(UNTESTED, why="x was not run")
    assert rule.in_words(absent, words) == "not testable here: x was not run"


def test_the_rule_is_told_in_full():
    for status in rule.STATUSES:
        assert f"**{status}**" in rule.RULE
    assert str(ALPHA) in rule.RULE and "Holm" in rule.RULE
