"""Intervals and tests against closed forms and simulations whose answer is known."""

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from helpers import stats
from helpers.stats import (
    Interval,
    detectable_difference,
    difference_interval,
    holm,
    mcnemar_exact,
    mean_interval,
    wilson,
)


def layout(
    draw: np.random.Generator,
    seeds: int,
    examples: int,
    *,
    of_seeds: float,
    of_examples: float = 1.0,
) -> np.ndarray:
    """Values of mean zero: a seed's effect, an example's effect, and a residual."""
    return (
        of_seeds * draw.normal(size=(seeds, 1))
        + of_examples * draw.normal(size=(1, examples))
        + draw.normal(size=(seeds, examples))
    )


def covers(interval: Interval, truth: float = 0.0) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("of_seeds", [0.15, 0.5])
def test_coverage_where_seeds_differ(seeds: int, of_seeds: float) -> None:
    """Nominal 95 %: between 93 and 97 % of the intervals hold the truth."""
    draw = np.random.default_rng(seeds)
    hits = [
        covers(mean_interval(layout(draw, seeds, 60, of_seeds=of_seeds), draws=200))
        for _ in range(1500)
    ]
    assert 0.93 <= np.mean(hits) <= 0.97


def test_resampling_three_seeds_would_cover_too_little() -> None:
    """Why the seeds are not resampled: the plain hierarchical bootstrap falls short."""
    draw = np.random.default_rng(0)
    hits = []
    for _ in range(300):
        values = layout(draw, 3, 100, of_seeds=0.5)
        of_seeds = draw.multinomial(3, [1 / 3] * 3, size=400) / 3
        of_examples = draw.multinomial(100, [0.01] * 100, size=400) / 100
        means = ((of_seeds @ values) * of_examples).sum(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        hits.append(low <= 0 <= high)
    assert np.mean(hits) < 0.85


def test_coverage_of_a_paired_difference_of_rates() -> None:
    draw = np.random.default_rng(7)
    hits = []
    for _ in range(1000):
        ease = draw.uniform(0.2, 0.7, size=300)  # shared by both methods
        luck = draw.uniform(-0.1, 0.1, size=(2, 3, 1))
        first, second = (draw.random((2, 3, 300)) < ease + luck).astype(float)
        hits.append(covers(difference_interval(first, second, draws=200)))
    assert 0.93 <= np.mean(hits) <= 0.97


def test_seeds_alone_give_the_t_interval() -> None:
    interval = mean_interval(np.array([[1.0], [2.0], [3.0]]))
    half = 4.302653 / np.sqrt(3)  # Student's t(0.975, 2) * sd / sqrt(seeds)
    assert interval.estimate == 2.0
    assert interval.high - 2 == pytest.approx(half, rel=0.02)
    assert 2 - interval.low == pytest.approx(half, rel=0.02)


def test_examples_alone_give_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    interval = mean_interval(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(2000)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.05)


def test_seeds_that_agree_add_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(1, 300))
    one, three = mean_interval(values), mean_interval(np.repeat(values, 3, axis=0))
    assert (three.low, three.high) == pytest.approx((one.low, one.high))


def test_pairing_narrows_the_interval() -> None:
    draw = np.random.default_rng(0)
    examples = 3 * draw.normal(size=(1, 500))
    first, second = examples + 0.2 * draw.normal(size=(2, 3, 500))
    paired = difference_interval(first + 1, second)
    mean = mean_interval(first)
    assert paired.estimate == pytest.approx(1.0, abs=0.05)
    assert paired.high - paired.low < 0.3 * (mean.high - mean.low)


def test_a_single_seed_meets_every_seed() -> None:
    draw = np.random.default_rng(0)
    many, rule = draw.normal(size=(3, 40)), draw.normal(size=40)
    repeated = np.repeat(rule[None], 3, axis=0)
    assert difference_interval(many, rule) == difference_interval(many, repeated)


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=(3, 50))
    assert mean_interval(values) == mean_interval(values.copy())
    assert mean_interval(values, level=0.5).high < mean_interval(values).high
    constant = mean_interval(np.ones((3, 50)))
    assert (constant.low, constant.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((3, 4)), np.zeros((3, 5)), "cannot pair"),
        (np.zeros((3, 4)), np.zeros((2, 4)), "cannot pair"),
        (np.zeros((3, 4)), np.full((3, 4), np.nan), "12 values are not finite"),
        (np.zeros((3, 0)), np.zeros((3, 0)), "expected .seeds, examples."),
    ],
)
def test_arrays_that_cannot_be_compared(
    first: np.ndarray, second: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        difference_interval(first, second)


def test_detectable_difference_of_one_seed_is_that_of_the_t_test() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 1, 500))
    effect = TTestPower().solve_power(nobs=500, alpha=0.05, power=0.8)
    expected = effect * (first - second).std(ddof=1)
    assert detectable_difference(first, second) == pytest.approx(expected, rel=0.05)


def test_detectable_difference_is_detected_as_often_as_said() -> None:
    draw = np.random.default_rng(0)
    samples = [layout(draw, 5, 100, of_seeds=0.1) for _ in range(300)]
    size = np.mean([detectable_difference(s, np.zeros(100)) for s in samples])
    seen = [
        mean_interval(layout(draw, 5, 100, of_seeds=0.1) + size, draws=500).low > 0
        for _ in range(500)
    ]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.06)


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


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])


def test_a_rate_stays_a_rate() -> None:
    wide = Interval(0.9, 0.6, 1.2).within(0, 1)
    assert wide == Interval(0.9, 0.6, 1.0)
    assert wide.within(-np.inf, np.inf) == wide


# --- p-values, ratios, equal length ----------------------------------------------------


def centred(
    random: np.random.Generator, seeds: int = 3, examples: int = 60
) -> np.ndarray:
    """Values of a two-way layout with mean 0, seeds and examples both random."""
    return (
        random.normal(scale=0.3, size=(seeds, 1))
        + random.normal(size=(1, examples))
        + random.normal(size=(seeds, examples))
    )


def test_p_is_below_5_percent_exactly_where_the_interval_leaves_out_zero() -> None:
    random, seen = np.random.default_rng(1), set()
    for shift in np.linspace(-1.5, 1.5, 60):
        values = centred(random) + shift
        interval, p = stats.mean_interval(values), stats.p_value(values)
        if abs(p - 0.05) > 1e-3:
            assert (p < 0.05) == (interval.low > 0 or interval.high < 0)
        seen.add(p < 0.05)
    assert seen == {True, False}


def test_p_values_under_the_null_are_small_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    found = np.array([stats.p_value(centred(random, 5)) for _ in range(400)])
    assert 0.02 <= (found < 0.05).mean() <= 0.08
    assert 0.40 <= (found < 0.5).mean() <= 0.60
    assert stats.p_value(np.zeros((3, 5))) == 1
    assert stats.p_value(np.ones((1, 50)) + random.normal(size=(1, 50)) / 9) == 0.001


def test_holm_keeps_the_error_of_a_family() -> None:
    random = np.random.default_rng(3)
    families = [
        [stats.p_value(centred(random, 3, 30)) for _ in range(5)] for _ in range(150)
    ]
    wrong = [stats.holm(each).min() < 0.05 for each in families]
    alone = [min(each) < 0.05 for each in families]
    assert np.mean(wrong) <= 0.09 < np.mean(alone)


def test_an_effect_size_is_the_mean_in_standard_deviations() -> None:
    values = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    assert stats.effect_size(values) == 3.0
    assert np.isnan(stats.effect_size(np.ones((2, 4))))


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_of_a_ratio_covers_it(seeds: int) -> None:
    random, covered = np.random.default_rng(seeds), []
    for _ in range(200):
        below = centred(random, seeds) + 3
        above = centred(random, seeds) + 1.5
        found = stats.ratio_interval(above, below)
        assert found.low <= found.estimate <= found.high
        covered.append(found.low <= 0.5 <= found.high)
    assert 0.91 <= np.mean(covered) <= 0.99


def test_a_ratio_to_what_may_be_zero_has_no_bounds() -> None:
    values = centred(np.random.default_rng(0))
    found = stats.ratio_interval(values + 1, values - values.mean())
    assert found.low == -np.inf and found.high == np.inf


def test_length_control_takes_off_what_the_gap_explains() -> None:
    random, covered = np.random.default_rng(4), []
    for _ in range(200):
        gaps = random.normal(40, 30, size=(1, 150))  # one policy writes more
        x = np.tanh(gaps / gaps.std())
        won = random.random(gaps.shape) < 0.5 + 0.3 * x
        values = stats.length_controlled(won, gaps)
        found = stats.mean_interval(values)
        covered.append(found.low <= 0.5 <= found.high)
        assert won.mean() > values.mean()
    assert 0.91 <= np.mean(covered) <= 0.99


def test_at_equal_lengths_there_is_nothing_to_control() -> None:
    won = np.array([[1.0, 0.0, 1.0, 1.0]])
    np.testing.assert_allclose(stats.length_controlled(won, np.zeros((1, 4))), won)
