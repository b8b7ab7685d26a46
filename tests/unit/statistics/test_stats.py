"""Intervals and tests against closed forms and simulations whose answer is known."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from helpers.statistics import intervals, sampling_errors
from helpers.statistics.intervals import (
    Interval,
    detectable,
    difference_interval,
    holm,
    mean_interval,
    paired_difference,
)
from tests.unit.statistics.layouts import centred


def layout_of(
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


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=(3, 50))
    assert mean_interval(values) == mean_interval(values.copy())
    assert mean_interval(values, level=0.5).high < mean_interval(values).high


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((3, 4)), np.zeros((3, 5)), "cannot pair"),
        (np.zeros((3, 4)), np.zeros((2, 4)), "cannot pair 3 seeds with 2"),
        (np.zeros((2, 3, 4)), np.zeros((3, 3, 4)), "cannot pair"),
        (np.zeros((2, 3, 4)), np.zeros((3, 4)), "cannot pair"),
        (np.zeros((3, 4)), np.full((3, 4), np.nan), "12 values are not finite"),
        (np.zeros((3, 0)), np.zeros((3, 0)), "expected .seeds, examples."),
    ],
)
def test_arrays_that_cannot_be_compared(
    first: np.ndarray, second: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        difference_interval(first, second)


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    random = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        family = random.random(size) ** 3
        family[size // 2 :] = family[0]  # ties
        expected = multipletests(family, method="holm")[1]
        np.testing.assert_allclose(holm(family), expected)


def test_a_rate_stays_a_rate() -> None:
    wide = Interval(0.9, 0.6, 1.2).within(0, 1)
    assert wide == Interval(0.9, 0.6, 1.0)
    assert wide.within(-np.inf, np.inf) == wide


# --- p-values, ratios, equal length ----------------------------------------------------


def test_p_is_below_5_percent_exactly_where_the_interval_leaves_out_zero() -> None:
    random, seen = np.random.default_rng(1), set()
    for shift in np.linspace(-1.5, 1.5, 60):
        values = centred(random) + shift
        interval, p = intervals.mean_interval(values), intervals.p_value(values)
        if abs(p - 0.05) > 1e-3:
            assert (p < 0.05) == (interval.low > 0 or interval.high < 0)
        seen.add(p < 0.05)
    assert seen == {True, False}


def test_p_values_under_the_null_are_small_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    found = np.array(
        [intervals.p_value(centred(random, 5), draws=200) for _ in range(400)]
    )
    assert 0.02 <= (found < 0.05).mean() <= 0.08
    assert 0.40 <= (found < 0.5).mean() <= 0.60
    assert intervals.p_value(np.zeros((3, 5))) == 1
    assert (
        intervals.p_value(np.ones((1, 50)) + random.normal(size=(1, 50)) / 9) == 0.001
    )


def test_holm_keeps_the_error_of_a_family() -> None:
    random = np.random.default_rng(3)
    families = [
        [intervals.p_value(centred(random, 3, 30), draws=200) for _ in range(5)]
        for _ in range(150)
    ]
    wrong = [intervals.holm(each).min() < 0.05 for each in families]
    alone = [min(each) < 0.05 for each in families]
    assert np.mean(wrong) <= 0.09 < np.mean(alone)


def test_an_effect_size_is_the_mean_in_standard_deviations() -> None:
    values = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    assert intervals.effect_size(values) == 3.0
    assert np.isnan(intervals.effect_size(np.ones((2, 4))))


# --- what must not decide --------------------------------------------------------------


def test_seeds_that_agree_by_chance_do_not_narrow_below_the_examples() -> None:
    """Six other replies of 300 in each seed: the seeds' means are one and the same."""
    values = np.zeros((3, 300))
    for seed in range(3):
        values[seed, 6 * seed : 6 * seed + 6] = 1.0
    interval = mean_interval(values)
    assert interval.estimate == pytest.approx(0.02)
    half = 1.96 * values.std() / np.sqrt(900)
    assert interval.high - 0.02 >= 0.98 * half and 0.02 - interval.low >= 0.98 * half
    assert intervals.p_value(values) < 0.05  # the floor alone does not undo a true one
    assert intervals.p_value(values * np.sign(np.arange(300) % 2 - 0.5)) > 0.5


def test_what_never_varies_is_not_certain() -> None:
    interval = mean_interval(np.full((3, 50), -2.0))
    # all of 50 alike are seen with a chance of 2.5 % where 7.1 % are others
    assert interval.high == pytest.approx(-2 * 0.025 ** (1 / 50))
    one = mean_interval(np.array([[0.3]]))
    assert (one.low, one.high) == (-np.inf, np.inf)
    assert intervals.p_value(np.array([[0.3]])) == 1.0
    nothing = mean_interval(np.zeros((3, 50)))
    assert (nothing.low, nothing.high) == (0.0, 0.0)


def test_a_family_widens_what_agrees_by_chance_and_narrows_nothing() -> None:
    random = np.random.default_rng(0)
    family = [layout_of(random, 3, 100, of_seeds=0.3) for _ in range(9)]
    lucky = layout_of(random, 3, 100, of_seeds=0.0)
    spread = sampling_errors.pooled([*family, lucky])
    assert 0.03 < spread.variance < 0.3 and spread.freedom == 10
    for values in (*family, lucky):
        own, within = (mean_interval(values, family=each) for each in (None, spread))
        assert within.low <= own.low and own.high <= within.high
        p = [intervals.p_value(values, family=each) for each in (None, spread)]
        assert p[0] <= p[1]
    own, within = (mean_interval(lucky, family=each) for each in (None, spread))
    assert within.high - within.low > 1.5 * (own.high - own.low)
    assert sampling_errors.pooled([lucky[:1]]) is None


def test_p_is_that_of_the_interval_with_a_floor_and_a_family_too() -> None:
    random = np.random.default_rng(5)
    spread, seen = sampling_errors.Spread(0.05, 6), set()
    for shift in np.linspace(0, 0.8, 30):
        values = layout_of(random, 3, 60, of_seeds=0.0) + shift
        interval = mean_interval(values, family=spread)
        p = intervals.p_value(values, family=spread)
        if abs(p - 0.05) > 1e-3:
            assert (p < 0.05) == (interval.low > 0 or interval.high < 0)
        seen.add(p < 0.05)
    assert seen == {True, False}


# --- judges ----------------------------------------------------------------------------


def test_judges_that_disagree_widen_the_interval() -> None:
    values = layout_of(np.random.default_rng(0), 3, 100, of_seeds=0.1)
    alike = mean_interval(np.stack([values] * 3))
    plain = mean_interval(values)
    assert (alike.low, alike.high) == pytest.approx((plain.low, plain.high))
    apart = mean_interval(np.stack([values - 0.5, values, values + 0.5]))
    # three judges, 0.5 apart: Student's t with 2 degrees of freedom
    assert apart.high - apart.low > 2 * 4.3 * 0.5 / np.sqrt(3) * 0.9
    assert (apart.judges, apart.seeds, apart.n) == (3, 3, 100)
    assert plain.judges == 0


def test_one_judge_says_what_the_values_say() -> None:
    values = layout_of(np.random.default_rng(0), 3, 100, of_seeds=0.1)
    assert mean_interval(values[None]) == mean_interval(values)


def test_differences_are_paired_judge_by_judge() -> None:
    random = np.random.default_rng(0)
    judge = 5 * random.normal(size=(3, 1, 1))
    first, second = judge + random.normal(size=(2, 3, 3, 100))
    assert paired_difference(first, second).shape == (3, 3, 100)
    found = difference_interval(first, second)
    assert found.high - found.low < 1 < mean_interval(first).high


# --- who meets whom --------------------------------------------------------------------


def test_only_what_is_fixed_meets_every_seed() -> None:
    draw = np.random.default_rng(0)
    many, rule = draw.normal(size=(3, 40)), draw.normal(size=40)
    repeated = np.repeat(rule[None], 3, axis=0)
    found = difference_interval(many, rule, fixed=(False, True))
    assert found == difference_interval(many, repeated)
    for fixed in ((False, False), (True, False)):
        with pytest.raises(ValueError, match="cannot pair 3 seeds with 1"):
            paired_difference(many, rule, fixed=fixed)
    with pytest.raises(ValueError, match="cannot pair 3 seeds with 2"):
        paired_difference(many, many[:2], fixed=(True, True))


# --- what would have been seen ---------------------------------------------------------


def test_detectable_difference_of_one_seed_is_that_of_the_t_test() -> None:
    values = np.random.default_rng(0).normal(size=(1, 500))
    effect = TTestPower().solve_power(nobs=500, alpha=0.05, power=0.8)
    found = detectable(values)
    assert found.estimate == pytest.approx(effect * values.std(ddof=1), rel=0.02)
    assert found.low == pytest.approx(found.high)  # no seeds whose spread is unknown


def test_detectable_difference_of_seeds_alone_is_that_of_the_t_test_too() -> None:
    values = np.array([[1.0], [2.0], [4.0]])
    effect = TTestPower().solve_power(nobs=3, alpha=0.05, power=0.8)
    assert detectable(values).estimate == pytest.approx(
        effect * values.std(ddof=1), rel=0.02
    )


def test_few_seeds_leave_the_detectable_difference_open() -> None:
    random = np.random.default_rng(0)
    contrasts = [layout_of(random, 3, 100, of_seeds=0.3) for _ in range(8)]
    alone = detectable(contrasts[0])
    pooled = detectable(contrasts[0], family=sampling_errors.pooled(contrasts))
    assert alone.high > 5 * alone.low > 0
    assert pooled.high / pooled.low < alone.high / alone.low / 2
