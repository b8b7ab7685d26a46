"""Intervals and tests for values that vary over examples, seeds and judges.

Everything is a mean over an array (seeds, examples) or (judges, seeds, examples): the
judges of replies, the seeds of training, the prompts or pairs of a test set. A claim
about a method must hold for other judges of the kind, other seeds and other examples, so
all count in every interval, and differences are paired in all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special, stats

from helpers.statistics import sampling_errors
from helpers.statistics.sampling_errors import Errors, Spread


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence bounds; `level` is 0.95 for a 95 % interval.

    error: its standard error, nan where unknown; seeds, n, judges: over how many seeds
    of training, examples and judges, 0 where unknown. A bound that cannot be given is
    infinite.
    """

    estimate: float
    low: float
    high: float
    level: float = 0.95
    error: float = field(default=float("nan"), compare=False)
    seeds: int = field(default=0, compare=False)
    n: int = field(default=0, compare=False)
    judges: int = field(default=0, compare=False)

    def within(self, least: float, most: float) -> "Interval":
        """The same without what the quantity cannot be, like a rate above 1."""
        low, high = max(self.low, least), min(self.high, most)
        return replace(self, low=low, high=high)


# --- means ------------------------------------------------------------------------------


def mean_interval(
    values: np.ndarray,
    *,
    family: Spread | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of values (seeds, examples) or (judges, seeds, examples), as an interval.

    A hierarchical bootstrap, made sound for few seeds. To resample three seeds as well
    understates how seeds differ: a third of the variance is lost, and nothing says that
    three are few (nominal 95 % intervals cover under 90 % where seeds matter most). So:

    - examples are resampled, once for all seeds, and the noise is scaled to their own
      share of the variance in the random-effects layout
      value = mean + judge + seed + example + interactions and residual;
    - the effect of the seeds is drawn from a normal distribution with the standard
      error of the seed means, in which the residual is counted, once; that of several
      judges likewise, so the interval is for other judges of the same kind;
    - the quantiles of the sum are widened as Student's t is (`sampling_errors.quantile`);
    - three seeds may agree by chance: half the width is no less than the examples alone
      give, and, with `family`, than the spread of seeds in related contrasts gives
      (`sampling_errors.pooled`);
    - where no value differs from another, see `_constant`.

    Simulated (`make coverage`) with 3 and 5 seeds, and with 3 judges of 3 seeds, a
    nominal 95 % interval covers 0.93 to 0.97, whichever component is the larger; up to
    0.99 where values are few and other ones in each seed, as there the floor is all;
    0.96 to 0.98 with a family of six. The floor costs no power (0.80 stays 0.80), a
    family at most 0.03.

    One seed: the interval is over examples only and says nothing of other seeds; one
    judge likewise. An array of shape (examples,) is one seed. Raises ValueError unless
    all values are finite.
    """
    return _Mean(values, family, draws, seed).interval(level)


def p_value(
    values: np.ndarray,
    *,
    family: Spread | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of a mean of zero; values and family as in `mean_interval`.

    It is the level of error at which `mean_interval` just holds zero, so a 95 % interval
    leaves out zero exactly where p < 0.05. The draws tell nothing below 0.001, which is
    the least that is given.
    """
    mean, low, high = _Mean(values, family, draws, seed), 0.001, 1.0

    def holds_zero(error: float) -> bool:
        found = mean.interval(1 - error)
        return found.low <= 0 <= found.high

    if not holds_zero(low):
        return low
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if holds_zero(middle) else (low, middle)
    return high


class _Mean:
    """The mean of values with the draws of its error: its interval at any level."""

    def __init__(
        self, values: np.ndarray, family: Spread | None, draws: int, seed: int
    ) -> None:
        values = _checked(values)
        self.about = dict(zip(("seeds", "n"), values.shape[-2:]))
        self.about["judges"] = len(values) if values.ndim == 3 else 0
        self.values = values = values.reshape(-1, *values.shape[-2:])
        self.mean = float(values.mean())
        self.errors = sampling_errors.errors(values)
        self.about["error"] = self.errors.whole
        self.wider = family and sampling_errors.borrowing(
            self.errors, values.shape[1], family
        )
        self.noise = sampling_errors.noise(values, self.errors, draws, seed)

    def interval(self, level: float) -> Interval:
        """From the draws, or from a floor of half the width where that is wider."""
        tail, normal = (1 - level) / 2, special.ndtri((1 + level) / 2)
        widened = self.noise * sampling_errors.quantile(self.errors, level) / normal
        low, high = np.quantile(widened, [tail, 1 - tail])
        floor = max(normal * self.errors.sampling, _constant(self.values, level))
        if self.wider:
            floor = max(floor, _half(self.wider, level))
        bounds = self.mean + min(low, -floor), self.mean + max(high, floor)
        return Interval(self.mean, *map(float, bounds), level, **self.about)


def _half(found: Errors, level: float) -> float:
    """Half the width of an interval by its errors, no less than the examples give."""
    sampling = float(special.ndtri((1 + level) / 2)) * found.sampling
    return max(sampling_errors.quantile(found, level) * found.whole, sampling)


def _constant(values: np.ndarray, level: float) -> float:
    """Half the width where no value differs from another; 0 where any does.

    Others than the n seen may differ: a share of them for which n alike are seen with a
    chance of (1 - level) / 2, the exact bound of a rate of 1. They are counted as zero.
    Of a single value nothing is known. n: of seeds or of examples, of which there are
    more.
    """
    most, seen = np.abs(values).max(), max(values.shape)
    if np.ptp(values) > 1e-9 * most or most == 0:
        return 0.0
    if seen == 1:
        return np.inf
    return float(most * (1 - ((1 - level) / 2) ** (1 / seen)))


def effect_size(values: np.ndarray) -> float:
    """Mean over the standard deviation of examples, each a mean over seeds; nan if 0.

    Cohen's d for paired differences; values as in `mean_interval`.
    """
    by_example = _checked(values).mean(axis=tuple(range(np.ndim(values) - 1)))
    spread = by_example.std(ddof=1) if by_example.size > 1 else 0.0
    return float(by_example.mean() / spread) if spread > 0 else float("nan")


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.atleast_2d(np.asarray(values, float))
    if values.ndim > 3 or not values.size:
        raise ValueError(
            "expected (seeds, examples) or (judges, seeds, examples), "
            f"got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} values are not finite")
    return values


# --- differences ------------------------------------------------------------------------


def paired_difference(
    first: np.ndarray, second: np.ndarray, *, fixed: tuple[bool, bool] = (False, False)
) -> np.ndarray:
    """first - second, (seeds, examples) or, judge by judge, (judges, seeds, examples).

    fixed: whether first, and whether second, has no seeds, as a rule or a loaded judge;
    only such a one meets all seeds of the other. Raises ValueError where judges, seeds
    or examples do not match.
    """
    first, second = _checked(first), _checked(second)
    others = [(*each.shape[:-2], each.shape[-1]) for each in (first, second)]
    if others[0] != others[1]:
        raise ValueError(
            "cannot pair (seeds, examples) or (judges, seeds, examples) "
            f"{first.shape} with {second.shape}"
        )
    seeds = first.shape[-2], second.shape[-2]
    meets_all = any(each and of == 1 for each, of in zip(fixed, seeds))
    if seeds[0] != seeds[1] and not meets_all:
        raise ValueError(
            f"cannot pair {seeds[0]} seeds with {seeds[1]}: give both the same seeds; "
            "what is not trained and has no seeds is to be called fixed"
        )
    return first - second


def difference_interval(
    first: np.ndarray,
    second: np.ndarray,
    *,
    fixed: tuple[bool, bool] = (False, False),
    family: Spread | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of first - second, paired; `paired_difference`, then `mean_interval`."""
    difference = paired_difference(first, second, fixed=fixed)
    return mean_interval(difference, family=family, level=level, draws=draws, seed=seed)


def detectable(
    difference: np.ndarray,
    *,
    family: Spread | None = None,
    power: float = 0.8,
    level: float = 0.95,
) -> Interval:
    """The smallest true difference that this comparison would have seen, as a range.

    difference: paired, as in `mean_interval`. With a true difference this large the
    interval leaves out zero with the probability `power` (noncentral t with
    Satterthwaite's degrees of freedom); a null result excludes no smaller effect. The
    spread of seeds is the family's where that is given; the range is what the
    chi-square interval of that spread leaves open, so with few seeds it is wide.

    Simulated with 3 and 5 seeds, alone and in a family of six, the range holds the
    difference that is seen with a power of 0.8 in 0.95 to 0.98.
    """
    values = _checked(difference)
    values = values.reshape(-1, *values.shape[-2:])
    own = sampling_errors.errors(values)
    found = sampling_errors.borrowing(own, values.shape[1], family) if family else own
    freedom, tail = found.freedom[1], (1 - level) / 2
    scales = np.sqrt(freedom / stats.chi2.ppf([0.5, 1 - tail, tail], freedom))
    scales[0] = 1.0  # the estimate itself
    sizes = [
        _seen(own._replace(seeds=found.seeds * scale), power, level) for scale in scales
    ]
    return Interval(*sizes, level, seeds=values.shape[1], n=values.shape[2])


def _seen(found: Errors, power: float, level: float) -> float:
    """The true mean that an interval of these errors tells from zero with a power."""
    if found.whole == 0:
        return _half(found, level) * (
            1 + special.ndtri(power) / special.ndtri((1 + level) / 2)
        )
    quantile, freedom = (
        sampling_errors.quantile(found, level),
        sampling_errors.degrees(found),
    )
    # the noncentral t that exceeds the quantile with this power
    return found.whole * float(special.nctdtrinc(freedom, 1 - power, quantile))


# --- families ---------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values of one family of tests, adjusted by Holm (1979); (tests,).

    As statsmodels has it, which collects garbage in each call: a third of chapter 09.
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    left = np.arange(len(order), 0, -1)  # hypotheses that are not rejected yet
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(left * p_values[order]).clip(max=1)
    return adjusted
