"""Rates and ratios against closed forms and simulations whose answer is known."""

import numpy as np
import pytest

from helpers.statistics import intervals, rates
from helpers.statistics.intervals import mean_interval
from helpers.statistics.rates import mcnemar_exact, rate_interval, wilson
from tests.unit.statistics.layouts import centred


def test_a_rate_of_one_has_the_bound_of_one_seed() -> None:
    found, bound = rate_interval(np.ones((3, 100))), wilson(100, 100)
    assert (found.low, found.high) == pytest.approx((bound.low, bound.high))
    assert found.low < 0.97 and (found.seeds, found.n) == (3, 100)
    none = rate_interval(np.zeros((3, 100)))
    assert none.low == pytest.approx(0) and none.high == pytest.approx(1 - found.low)


def test_a_rate_in_the_middle_has_the_interval_of_its_mean() -> None:
    values = (np.random.default_rng(0).random((5, 800)) < 0.5).astype(float)
    found, mean = rate_interval(values), mean_interval(values)
    assert (found.low, found.high) == pytest.approx((mean.low, mean.high), abs=1e-3)


def test_a_rate_near_one_stays_a_rate() -> None:
    values = np.ones((3, 100))
    values[0, :4] = 0.0
    found = rate_interval(values)
    assert mean_interval(values).high > 1 >= found.high > found.estimate > found.low
    with pytest.raises(ValueError, match="no rate: the mean is 1.9"):
        rate_interval(2 * values)


def test_wilson_of_the_opt350m_study() -> None:
    """arXiv:2509.09055, HmR of its SFT model: 24 of 50, so 35 to 61 percent."""
    interval = wilson(24, 50)
    assert interval.estimate == 0.48
    assert (round(interval.low, 2), round(interval.high, 2)) == (0.35, 0.61)
    with pytest.raises(ValueError, match="51 of 50"):
        wilson(51, 50)


def test_mcnemar_is_the_binomial_test_of_the_discordant() -> None:
    first = np.array([True] * 5 + [False] * 6)
    second = np.array([False] * 5 + [True] + [False] * 5)
    # 5 against 1: P(X <= 1) + P(X >= 5) = 2 * 7 / 64 for X ~ Binomial(6, 1/2)
    assert mcnemar_exact(first, second) == pytest.approx(14 / 64)
    assert mcnemar_exact(first, first) == 1.0
    with pytest.raises(ValueError, match="cannot pair"):
        mcnemar_exact(first, second[:3])


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_of_a_ratio_covers_it(seeds: int) -> None:
    random, covered = np.random.default_rng(seeds), []
    for _ in range(200):
        below = centred(random, seeds) + 3
        above = centred(random, seeds) + 1.5
        found = rates.ratio_interval(above, below)
        assert found.low <= found.estimate <= found.high
        covered.append(found.low <= 0.5 <= found.high)
    assert 0.91 <= np.mean(covered) <= 0.99


def test_a_ratio_to_what_may_be_zero_has_no_bounds() -> None:
    values = centred(np.random.default_rng(0))
    found = rates.ratio_interval(values + 1, values - values.mean())
    assert found.low == -np.inf and found.high == np.inf


def test_length_control_takes_off_what_the_gap_explains() -> None:
    random, covered = np.random.default_rng(4), []
    for _ in range(200):
        gaps = random.normal(40, 30, size=(1, 150))  # one policy writes more
        x = np.tanh(gaps / gaps.std())
        won = random.random(gaps.shape) < 0.5 + 0.3 * x
        values = rates.length_controlled(won, gaps)
        found = intervals.mean_interval(values)
        covered.append(found.low <= 0.5 <= found.high)
        assert won.mean() > values.mean()
    assert 0.91 <= np.mean(covered) <= 0.99


def test_at_equal_lengths_there_is_nothing_to_control() -> None:
    won = np.array([[1.0, 0.0, 1.0, 1.0]])
    np.testing.assert_allclose(rates.length_controlled(won, np.zeros((1, 4))), won)


def test_equal_length_is_not_told_where_no_gap_straddles_zero() -> None:
    won, gaps = np.array([[1.0, 0.0, 1.0, 1.0]]), np.array([[3.0, 5.0, 1.0, 9.0]])
    assert rates.rate_at_equal_length(won, gaps) is None
    assert rates.rate_at_equal_length(won, -gaps) is None
    assert rates.rate_at_equal_length(won, gaps - 4) is not None
    always = rates.rate_at_equal_length(np.ones((3, 50)), np.zeros((3, 50)))
    assert always.low < 0.95  # no zero width


def test_no_rate_lies_outside_of_its_interval() -> None:
    for examples in range(1, 60):
        for rate in (0.0, 1.0):
            found = rates.rate_interval(np.full((1, examples), rate))
            assert found.low <= found.estimate <= found.high, (examples, rate)
