"""The short version: every estimator of the book, and that a broken one is noticed."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from helpers.analysis import pair_scorers
from helpers.statistics import intervals, metrics, rates, sampling_errors
from helpers.statistics.intervals import Interval
from tests.coverage.cases import CASES, SHORT
from tests.coverage.means import mean
from tests.coverage.simulate import coverage, outside

REPETITIONS, SLOW = 150, 40


def named(words: str) -> list:
    found = [case for case in CASES if words in case.name]
    assert found, words
    return found


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_an_interval_holds_the_truth_as_often_as_stated(case) -> None:
    slow = case.name.startswith(("label", "detectable"))
    assert not outside(case, SLOW if slow else REPETITIONS)


def test_the_same_seed_gives_the_same_coverage() -> None:
    case = SHORT[0]
    found = [coverage(case.draw, case.estimator, 0.0, 30, seed=1) for _ in range(2)]
    assert found[0] == found[1]


def test_without_widening_for_few_seeds_it_is_noticed(monkeypatch) -> None:
    (case,) = named("mean, 3 seeds that differ by 0.5")
    monkeypatch.setattr(
        sampling_errors, "quantile", lambda _, level: norm.ppf((1 + level) / 2)
    )
    assert "covers 0.8" in outside(case, REPETITIONS)


def test_without_a_floor_it_is_noticed(monkeypatch) -> None:
    """Three seeds that agree by chance: their narrow intervals decide wrongly."""
    case = named("mean of 2% changed")[0]
    whole = sampling_errors.errors
    monkeypatch.setattr(
        sampling_errors, "errors", lambda values: whole(values)._replace(sampling=0.0)
    )
    assert "the narrowest cover 0." in outside(case, 600)


def test_contrasts_that_learn_nothing_from_each_other_are_noticed(monkeypatch) -> None:
    (case,) = named("one of 6 contrasts, 3 seeds that differ by 0.5")
    monkeypatch.setattr(sampling_errors, "pooled", lambda contrasts: None)
    assert "the narrowest cover 0." in outside(replace(case, narrow=0.88), 300)


def test_judges_taken_for_the_truth_are_noticed() -> None:
    for case in named("3 judges x 3 seeds: {'j': 0.5"):
        fixed = replace(case, estimator=lambda values: mean(values.mean(axis=0)))
        assert "covers 0." in outside(fixed, REPETITIONS)


def test_a_rate_near_one_needs_more_than_its_spread() -> None:
    def plain(values: np.ndarray) -> Interval:
        half = 1.96 * values.std() / np.sqrt(values.shape[1])
        return Interval(values.mean(), values.mean() - half, values.mean() + half)

    for case in named("rate 0.99 of 100, 100% alike"):
        assert "covers 0." in outside(replace(case, estimator=plain), REPETITIONS)


def test_a_calibration_error_of_noise_is_noticed() -> None:
    def plain(margins: np.ndarray) -> Interval:
        errors = np.array([metrics.calibration_errors(each) for each in margins])
        return intervals.mean_interval(errors)

    for case in named("calibration error, 3 seeds, 600 pairs, 1.0"):
        assert "covers 0." in outside(replace(case, estimator=plain), REPETITIONS)


def test_a_win_rate_that_length_made_is_noticed() -> None:
    for case in named("at equal length, mean gap 40"):
        plain = replace(case, estimator=lambda won, gaps: rates.rate_interval(won))
        assert "covers 0." in outside(plain, REPETITIONS)


def test_a_factor_without_the_error_of_its_gain_is_noticed() -> None:
    def plain(gain: np.ndarray, slope: np.ndarray) -> Interval:
        return pair_scorers.label_factor(np.full_like(gain, gain.mean()), slope)

    for case in named("label factor, 3 seeds, 0.03"):
        assert "covers 0." in outside(replace(case, estimator=plain), SLOW)
