"""Rates and ratios: their intervals, two rates compared, a rate at equal length."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from helpers.statistics.intervals import Interval, mean_interval


def rate_interval(values: np.ndarray, *, level: float = 0.95) -> Interval:
    """A rate over seeds and examples; values (..., examples) of right, wrong, ties 1/2.

    Weighted ones are as good (`compare.balanced`): only their mean is a rate.

    Wilson's interval for as many independent examples as would leave the rate as
    uncertain as `mean_interval` finds it, but no more than there are: the effective
    sample size of surveys (Korn and Graubard 1998). So a rate of 1 has a bound below 1,
    the same as one seed would give, and no bound leaves [0, 1].

    Simulated with 3 seeds and rates of 0.7 to 0.99 it covers 0.94 to 0.99, the more the
    less the seeds have in common.

    Raises ValueError for a mean outside [0, 1].
    """
    values = np.atleast_2d(np.asarray(values, float))
    found = mean_interval(values, level=level)
    if not -1e-9 <= found.estimate <= 1 + 1e-9:
        raise ValueError(f"no rate: the mean is {found.estimate}")
    rate, half = np.clip(found.estimate, 0, 1), (found.high - found.low) / 2
    size = float(values.shape[-1])
    if 0 < rate < 1 and half > 0:
        error = half / norm.ppf((1 + level) / 2)
        size = min(rate * (1 - rate) / error**2, values[..., 0].size * size)
    low, high = proportion_confint(rate * size, size, alpha=1 - level, method="wilson")
    # at 0 and 1 rounding leaves Wilson's bound a little inside of the rate
    low, high = min(low, rate), max(high, rate)
    return replace(found, estimate=float(rate), low=float(low), high=float(high))


def ratio_interval(
    numerator: np.ndarray, denominator: np.ndarray, *, level: float = 0.95
) -> Interval:
    """mean(numerator) / mean(denominator), paired arrays (seeds, examples).

    Fieller's way (1954): the ratios r for which the interval of the mean of
    numerator - r * denominator holds zero. Where the denominator's own interval holds
    zero, no bound can be given, and both are infinite.
    """
    told = {"level": level, "draws": 500}  # one edge asks for some thirty intervals
    below = mean_interval(denominator, **told)
    estimate = float(np.mean(numerator) / np.mean(denominator))
    if below.low <= 0 <= below.high:
        return replace(below, estimate=estimate, low=-np.inf, high=np.inf)

    def holds(ratio: float) -> bool:
        found = mean_interval(numerator - ratio * denominator, **told)
        return found.low <= 0 <= found.high

    low, high = (_edge(holds, estimate, side) for side in (-1, 1))
    return replace(below, estimate=estimate, low=low, high=high)


def _edge(holds: Callable[[float], bool], start: float, side: int) -> float:
    """How far from `start`, where it holds, a condition goes on to hold."""
    step = 1.0
    while holds(start + side * step):
        step *= 2
        if step > 2**20:
            return side * np.inf
    near, far = 0.0, step
    for _ in range(30):
        middle = (near + far) / 2
        near, far = (middle, far) if holds(start + side * middle) else (near, middle)
    return float(start + side * near)


def rate_at_equal_length(
    won: np.ndarray, gaps: np.ndarray, *, level: float = 0.95
) -> Interval | None:
    """The interval of a rate at equal length: the mean of `length_controlled`.

    None where all gaps lie on one side of zero: the rate at no gap would be read off
    a line that no example comes near.

    Simulated with 3 seeds that differ by chance only it covers 0.98 to 0.99.
    """
    gaps = np.asarray(gaps, float)
    if gaps.min() > 0 or gaps.max() < 0:
        return None
    values = length_controlled(won, gaps)
    if np.ptp(values) == 0:
        return rate_interval(values, level=level)
    return mean_interval(values, level=level).within(0, 1)


def length_controlled(won: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Values whose mean is the win rate at equal length; all (seeds, examples).

    The intercept of a linear regression of `won` (1, 1/2 or 0) on tanh(gap / sd), gap
    being the reply's length minus its opponent's: the linear form of the logistic length
    control of AlpacaEval 2 (Dubois et al. 2024, arXiv:2404.04475). Each value is the
    intercept and what its example adds to the intercept's error, so `mean_interval`
    counts the error of the regression too.
    """
    won, gaps = np.asarray(won, float), np.asarray(gaps, float)
    spread = gaps.std()
    x = np.tanh(gaps / spread) if spread > 0 else np.zeros_like(gaps)
    centred, variance = x - x.mean(), x.var()
    slope = (centred * won).mean() / variance if variance > 0 else 0.0
    intercept = won.mean() - slope * x.mean()
    residuals = won - intercept - slope * x
    pull = x.mean() * centred / variance if variance > 0 else 0.0
    return intercept + residuals * (1 - pull)


def wilson(count: int, total: int, *, level: float = 0.95) -> Interval:
    """A rate with Wilson's score interval, for one seed and few examples.

    Raises ValueError unless 0 <= count <= total and total > 0.
    """
    if not 0 <= count <= total or total == 0:
        raise ValueError(f"{count} of {total} is no rate")
    low, high = proportion_confint(count, total, alpha=1 - level, method="wilson")
    return Interval(count / total, float(low), float(high), level)


def mcnemar_exact(first: np.ndarray, second: np.ndarray) -> float:
    """p-value that two methods pass the same share of the same examples.

    first, second: booleans (n,). Exact binomial test on the examples where they differ
    (McNemar 1947). Raises ValueError if the lengths differ.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape:
        raise ValueError(f"cannot pair {first.shape} with {second.shape}")
    table = [
        [np.sum(first & second), np.sum(first & ~second)],
        [np.sum(~first & second), np.sum(~first & ~second)],
    ]
    return float(mcnemar(table, exact=True).pvalue)
