"""Intervals and tests for values that vary over examples and over seeds.

Everything is a mean over an array (seeds, examples): the seeds of training, the prompts
or pairs of a test set. A claim about a method must hold for other seeds and other
examples, so both count in every interval, and differences are paired in both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence bounds; `level` is 0.95 for a 95 % interval.

    error: its standard error, nan where unknown; seeds, n: over how many seeds of
    training and how many examples, 0 where unknown.
    """

    estimate: float
    low: float
    high: float
    level: float = 0.95
    error: float = field(default=float("nan"), compare=False)
    seeds: int = field(default=0, compare=False)
    n: int = field(default=0, compare=False)

    def within(self, least: float, most: float) -> "Interval":
        """The same without what the quantity cannot be, like a rate above 1."""
        low, high = max(self.low, least), min(self.high, most)
        return replace(self, low=low, high=high)


# --- means and differences ------------------------------------------------------------


def mean_interval(
    values: np.ndarray, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """The mean of values (seeds, examples), with an interval over both.

    A hierarchical bootstrap, made sound for few seeds. To resample three seeds as well
    understates how seeds differ: a third of the variance is lost, and nothing says that
    three are few (nominal 95 % intervals cover under 90 % where seeds matter most). So:

    - examples are resampled, once for all seeds, and the noise is scaled to their own
      share of the variance in the two-way random-effects layout
      value = mean + seed + example + residual;
    - the effect of the seeds is drawn from a normal distribution with the standard
      error of the seed means, in which the residual is counted, once;
    - the quantiles of the sum are widened as Student's t is (see `_widening`).

    On simulated data a nominal 95 % interval covers 93-97 %, with 3 and with 5 seeds,
    whichever component is the larger. One seed: the interval is over examples only and
    says nothing of other seeds. An array of shape (examples,) is one seed. Raises
    ValueError unless all values are finite.
    """
    values = _checked(values)
    return _interval(values, _noise(values, draws, seed), level)


def p_value(values: np.ndarray, *, draws: int = 2000, seed: int = 0) -> float:
    """Two-sided p-value of a mean of zero; values (seeds, examples).

    It is the level of error at which `mean_interval` just holds zero, so a 95 % interval
    leaves out zero exactly where p < 0.05. The draws tell nothing below 0.001, which is
    the least that is given.
    """
    values = _checked(values)
    noise, low, high = _noise(values, draws, seed), 0.001, 1.0

    def holds_zero(error: float) -> bool:
        found = _interval(values, noise, 1 - error)
        return found.low <= 0 <= found.high

    if not values.any():
        return 1.0
    if not holds_zero(low):
        return low
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if holds_zero(middle) else (low, middle)
    return high


def effect_size(values: np.ndarray) -> float:
    """Mean over the standard deviation of examples, each a mean over seeds; nan if 0.

    Cohen's d for paired differences; values (seeds, examples).
    """
    by_example = _checked(values).mean(axis=0)
    spread = by_example.std(ddof=1) if by_example.size > 1 else 0.0
    return float(by_example.mean() / spread) if spread > 0 else float("nan")


def ratio_interval(
    numerator: np.ndarray, denominator: np.ndarray, *, level: float = 0.95
) -> Interval:
    """mean(numerator) / mean(denominator), paired arrays (seeds, examples).

    Fieller's way (1954): the ratios r for which the interval of the mean of
    numerator - r * denominator holds zero. Where the denominator's own interval holds
    zero, no bound can be given, and both are infinite.
    """
    below = mean_interval(denominator, level=level)
    estimate = float(np.mean(numerator) / np.mean(denominator))
    if below.low <= 0 <= below.high:
        return Interval(estimate, -np.inf, np.inf, level)

    def holds(ratio: float) -> bool:
        found = mean_interval(numerator - ratio * denominator, level=level)
        return found.low <= 0 <= found.high

    bounds = [_edge(holds, estimate, side) for side in (-1, 1)]
    return Interval(estimate, *bounds, level)


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


def difference_interval(
    first: np.ndarray,
    second: np.ndarray,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of first - second, paired: the same examples and the same seeds.

    Both are (seeds, examples); one with a single seed (a rule, an off-the-shelf judge)
    is compared with every seed of the other. Raises ValueError if the examples or the
    numbers of seeds differ.
    """
    difference = paired_difference(first, second)
    return mean_interval(difference, level=level, draws=draws, seed=seed)


def detectable_difference(
    first: np.ndarray, second: np.ndarray, *, power: float = 0.8, level: float = 0.95
) -> float:
    """The smallest true difference that this comparison would have seen.

    With a true difference this large, the interval of `difference_interval` leaves out
    zero with about the probability `power`; a null result excludes no smaller effect.
    It rests on the spread seen in this run, so with few seeds it is rough and a little
    low: simulated with 3 and 5 seeds, a stated power of 0.80 was 0.68 to 0.80.
    """
    difference = paired_difference(first, second)
    interval = mean_interval(difference, level=level)
    spread = float(np.hypot(*_errors(difference)))
    return (interval.high - interval.low) / 2 + stats.norm.ppf(power) * spread


def paired_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """first - second as (seeds, examples); a single seed meets all of the other's."""
    first, second = _checked(first), _checked(second)
    seeds = {len(first), len(second)} - {1}
    if first.shape[1] != second.shape[1] or len(seeds) > 1:
        raise ValueError(
            f"cannot pair (seeds, examples) {first.shape} with {second.shape}"
        )
    return first - second


def _noise(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draws of the error of the mean, not yet widened for few seeds; (draws,)."""
    seed_error, example_error = _errors(values)
    means = values.mean(axis=0)
    noise = _weights(means.size, draws, seed) @ (means - means.mean())
    if (spread := noise.std()) > 0:
        # the scale is known: only the shape is left to the draws
        noise = example_error * (noise - noise.mean()) / spread
    return noise + seed_error * _normal(draws, seed)


def _interval(values: np.ndarray, noise: np.ndarray, level: float) -> Interval:
    """The interval of a level from the draws of `_noise`."""
    tail = (1 - level) / 2
    widened = noise * _widening(*_errors(values), values.shape, level)
    low, high = values.mean() + np.quantile(widened, [tail, 1 - tail])
    error = float(np.hypot(*_errors(values)))
    ends = float(values.mean()), float(low), float(high)
    return Interval(*ends, level, error, *values.shape)


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.atleast_2d(np.asarray(values, float))
    if values.ndim != 2 or not values.size:
        raise ValueError(f"expected (seeds, examples), got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} values are not finite")
    return values


def _errors(values: np.ndarray) -> tuple[float, float]:
    """Standard errors of the mean from seeds (with the residual) and from examples."""
    seeds, examples = values.shape
    by_seed, by_example = values.mean(axis=1), values.mean(axis=0)
    seed_error = by_seed.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
    if examples == 1:
        return float(seed_error), 0.0
    residual = values - by_seed[:, None] - by_example + values.mean()
    spare = max(seeds - 1, 1) * (examples - 1)
    noise = (residual**2).sum() / spare / seeds  # of an example's mean over the seeds
    variance = max(by_example.var(ddof=1) - noise, 0.0) / examples
    return float(seed_error), float(np.sqrt(variance))


@lru_cache(maxsize=4)
def _weights(examples: int, draws: int, seed: int) -> np.ndarray:
    """Each draw's share of each example, (draws, examples); kept for re-use."""
    chances = np.full(examples, 1 / examples)
    counts = np.random.default_rng(seed).multinomial(examples, chances, size=draws)
    return counts / examples


@lru_cache(maxsize=4)
def _normal(draws: int, seed: int) -> np.ndarray:
    """Each of `draws` even quantiles of the normal distribution once, shuffled."""
    order = np.random.default_rng(seed).permutation(draws)
    return stats.norm.ppf((order + 0.5) / draws)


def _widening(
    seed_error: float, example_error: float, shape: tuple[int, int], level: float
) -> float:
    """How much wider than normal an interval is, its two errors being estimates.

    With one error this is the ratio of Student's t to the normal quantile. For the sum
    of two, Satterthwaite's (1946) degrees of freedom give too little (92 % at worst
    with 3 seeds), the weighted quantiles of Cochran and Cox (1957) too much (97.5 %):
    the mean of the two quantiles is used, which covers 93-97 %.
    """
    variances = np.array([seed_error, example_error]) ** 2
    if not variances.any():
        return 1.0
    shares = variances / variances.sum()
    freedom = np.maximum(np.array(shape) - 1, 1)  # of a single seed the share is 0
    upper = (1 + level) / 2
    satterthwaite = stats.t.ppf(upper, 1 / np.sum(shares**2 / freedom))
    cochran_cox = shares @ stats.t.ppf(upper, freedom)
    return float((satterthwaite + cochran_cox) / 2 / stats.norm.ppf(upper))


# --- rates ----------------------------------------------------------------------------


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


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values of one family of tests, adjusted by Holm (1979); (tests,)."""
    return multipletests(p_values, method="holm")[1]
