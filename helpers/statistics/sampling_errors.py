"""How far the mean of values (judges, seeds, examples) may be off, and why.

The random-effects layout behind the intervals of `stats`: a value is the mean, plus an
effect of its judge, its seed, its example, their interactions and a residual. All three
are drawn from populations that the mean is to speak for.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special, stats


class Errors(NamedTuple):
    """Standard errors of a mean by their source, and the degrees of freedom of each.

    seeds holds the residual and what seeds and judges do together; examples and judges
    hold their own variance only, so nothing is counted twice. sampling is of the
    examples alone: what would be left if seeds and judges had no effect.
    """

    judges: float
    seeds: float
    examples: float
    sampling: float
    freedom: tuple[int, int, int]

    @property
    def parts(self) -> np.ndarray:
        """Errors of judges, seeds and examples, which add up as squares; (3,)."""
        return np.array([self.judges, self.seeds, self.examples])

    @property
    def shares(self) -> np.ndarray:
        """What each of the three has of the variance; (3,), with a sum of 1."""
        squares = (self.parts / self.parts.max()) ** 2  # no underflow
        return squares / squares.sum()

    @property
    def whole(self) -> float:
        """The standard error of the mean."""
        return float(np.linalg.norm(self.parts))


def errors(values: np.ndarray) -> Errors:
    """Standard errors of the mean of values (judges, seeds, examples).

    One judge or one seed has no spread that could be seen, so its part is zero. The
    estimates are those of the analysis of variance, negative ones set to zero.
    """
    judges, seeds, examples = values.shape
    freedom = tuple(max(size - 1, 1) for size in values.shape)
    over = values.mean(axis=0)
    by_seed, by_example = over.mean(axis=1), over.mean(axis=0)
    seed_error = by_seed.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
    judge_error = np.sqrt(_judge_variance(values) / judges)
    if examples == 1:
        return Errors(float(judge_error), float(seed_error), 0.0, 0.0, freedom)
    noise = _interaction(over) / seeds  # variance of an example's mean over seeds
    variance = max(by_example.var(ddof=1) - noise, 0.0)
    found = (judge_error, seed_error, np.sqrt(variance / examples))
    sampling = np.sqrt((noise + variance) / examples)
    return Errors(*map(float, (*found, sampling)), freedom)


def _judge_variance(values: np.ndarray) -> float:
    """Variance of the judges' own effect; their interactions are in the other parts."""
    judges, seeds, examples = values.shape
    if judges == 1:
        return 0.0
    with_seeds = _interaction(values.mean(axis=2)) / seeds
    with_examples = _interaction(values.mean(axis=1)) / examples
    centred = _centred(values) - _centred(values.mean(axis=0))
    spare = (judges - 1) * (seeds - 1) * (examples - 1)
    # both interactions hold the residual, of which they take off one too many
    residual = (centred**2).sum() / spare / seeds / examples if spare else 0.0
    means = values.mean(axis=(1, 2)).var(ddof=1)
    return max(float(means - with_seeds - with_examples + residual), 0.0)


def _interaction(cells: np.ndarray) -> float:
    """Mean square of what rows and columns of a table do not add up to."""
    rows, columns = cells.shape
    spare = (rows - 1) * (columns - 1)
    return float((_centred(cells) ** 2).sum() / spare) if spare else 0.0


def _centred(cells: np.ndarray) -> np.ndarray:
    """Without the means over the last axis and over the last but one."""
    cells = cells - cells.mean(axis=-1, keepdims=True)
    return cells - cells.mean(axis=-2, keepdims=True)


def noise(values: np.ndarray, found: Errors, draws: int, seed: int) -> np.ndarray:
    """Draws of the error of the mean, not yet widened for few seeds; (draws,)."""
    means = values.mean(axis=(0, 1))
    drawn = _weights(means.size, draws, seed) @ (means - means.mean())
    if (spread := drawn.std()) > 0:
        # the scale is known: only the shape is left to the draws
        drawn = found.examples * (drawn - drawn.mean()) / spread
    of_judges = found.judges * _normal(draws, seed + 1)
    return drawn + found.seeds * _normal(draws, seed) + of_judges


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
    return special.ndtri((order + 0.5) / draws)


def quantile(found: Errors, level: float) -> float:
    """Half the width of an interval in standard errors, all of them being estimates.

    With one source this is Student's t. For the sum of several, Satterthwaite's (1946)
    degrees of freedom give too little (92 % at worst with 3 seeds), the weighted
    quantiles of Cochran and Cox (1957) too much (97.5 %): their mean is used.
    """
    upper = (1 + level) / 2
    if found.whole == 0:
        return float(special.ndtri(upper))
    satterthwaite = special.stdtrit(degrees(found), upper)  # Student's t
    cochran_cox = found.shares @ special.stdtrit(found.freedom, upper)
    return float((satterthwaite + cochran_cox) / 2)


def degrees(found: Errors) -> float:
    """Satterthwaite's degrees of freedom of the standard error of the mean."""
    return float(1 / np.sum(found.shares**2 / np.array(found.freedom)))


# --- what a family of contrasts knows of its seeds --------------------------------------


class Spread(NamedTuple):
    """Variance of one seed's mean, as several contrasts have it, and its freedom."""

    variance: float
    freedom: int


def pooled(family: Sequence[np.ndarray]) -> Spread | None:
    """The median variance between seeds over contrasts (seeds, examples) or 3-D.

    The median, so that one contrast of wild seeds does not speak for all, divided by
    what the median of a variance of so many seeds is on average. It tells about half as
    much as the mean would, so half of the degrees of freedom are counted; contrasts that
    share a model are counted as if they shared none. None where no contrast has two
    seeds.
    """
    several = [values for values in family if values.shape[-2] > 1]
    if not several:
        return None
    spares = [values.shape[-2] - 1 for values in several]
    found = [
        values.reshape(-1, *values.shape[-2:]).mean(axis=(0, 2)).var(ddof=1)
        / (stats.chi2.median(spare) / spare)
        for values, spare in zip(several, spares)
    ]
    return Spread(float(np.median(found)), max(sum(spares) // 2, 1))


def borrowing(found: Errors, seeds: int, spread: Spread) -> Errors:
    """The errors with the seeds' part from a family; never for one seed."""
    _, of_seeds, of_examples = found.freedom
    freedom = (found.freedom[0], max(spread.freedom, of_seeds), of_examples)
    error = float(np.sqrt(spread.variance / seeds)) if seeds > 1 else found.seeds
    return found._replace(seeds=error, freedom=freedom)
