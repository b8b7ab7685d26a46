"""Means, paired differences and rates of known truth."""

import numpy as np

from helpers.statistics import intervals, rates, sampling_errors
from helpers.statistics.intervals import Interval
from tests.coverage.simulate import Case, Draw

DRAWS = 200  # of the bootstrap: enough here, and ten times as quick


# --- data -------------------------------------------------------------------------------


def normal_layout(
    seeds: int, examples: int, *, of_seeds: float, of_examples: float = 1.0
) -> Draw:
    """Values of mean zero: a seed's effect, an example's effect, and a residual."""

    def draw(random: np.random.Generator) -> tuple:
        values = (
            of_seeds * random.normal(size=(seeds, 1))
            + of_examples * random.normal(size=(1, examples))
            + random.normal(size=(seeds, examples))
        )
        return (values,)

    return draw


def changed_replies(seeds: int, examples: int, share: float) -> Draw:
    """Differences of which few are not zero: other replies changed, by 1, by each seed."""

    def draw(random: np.random.Generator) -> tuple:
        return ((random.random((seeds, examples)) < share).astype(float),)

    return draw


def rare_sizes(seeds: int, examples: int, share: float = 0.1) -> Draw:
    """Few differences, of skewed sizes with mean 1: the same replies in every seed."""

    def draw(random: np.random.Generator) -> tuple:
        changed = random.random(examples) < share
        sizes = random.exponential(size=(seeds, examples))
        return (changed * sizes,)

    return draw


def judged(judges: int, seeds: int, examples: int, **spread: float) -> Draw:
    """Values (judges, seeds, examples) of mean zero; spread by the letters j, s, e.

    js: what judges and seeds do together, and so on; the residual is 1.
    """

    def draw(random: np.random.Generator) -> tuple:
        sizes = {"j": judges, "s": seeds, "e": examples}
        values = random.normal(size=(judges, seeds, examples))
        for letters, scale in spread.items():
            shape = [sizes[each] if each in letters else 1 for each in "jse"]
            values = values + scale * random.normal(size=shape)
        return (values,)

    return draw


def two_rates(seeds: int, examples: int) -> Draw:
    """Two methods that are right as often, on examples of different ease."""

    def draw(random: np.random.Generator) -> tuple:
        ease = random.uniform(0.2, 0.7, size=examples)
        luck = random.uniform(-0.1, 0.1, size=(2, seeds, 1))
        return tuple((random.random((2, seeds, examples)) < ease + luck).astype(float))

    return draw


def one_rate(seeds: int, examples: int, rate: float, *, alike: float) -> Draw:
    """Right or wrong; a share `alike` of the examples is the same in every seed."""

    def draw(random: np.random.Generator) -> tuple:
        common = random.random((1, examples)) < rate
        own = random.random((seeds, examples)) < rate
        return (np.where(random.random((1, examples)) < alike, common, own) * 1.0,)

    return draw


def family(seeds: int, examples: int, of_seeds: float, contrasts: int = 6) -> Draw:
    """Contrasts of mean zero whose seeds spread alike; the first is asked about."""

    def draw(random: np.random.Generator) -> tuple:
        one = normal_layout(seeds, examples, of_seeds=of_seeds)
        return tuple(one(random)[0] for _ in range(contrasts))

    return draw


# --- estimators -------------------------------------------------------------------------


def mean(values: np.ndarray) -> Interval:
    return intervals.mean_interval(values, draws=DRAWS)


def difference(first: np.ndarray, second: np.ndarray) -> Interval:
    return intervals.difference_interval(first, second, draws=DRAWS)


def in_family(*contrasts: np.ndarray) -> Interval:
    spread = sampling_errors.pooled(contrasts)
    return intervals.mean_interval(contrasts[0], family=spread, draws=DRAWS)


# --- cases ------------------------------------------------------------------------------

MEANS = [
    *(
        Case(
            f"mean, {seeds} seeds that differ by {of_seeds}",
            normal_layout(seeds, 60, of_seeds=of_seeds),
            mean,
            0.0,
            short=seeds == 3,
        )
        for seeds in (3, 5)
        for of_seeds in (0.0, 0.15, 0.5)
    ),
    Case("mean, 1 seed", normal_layout(1, 200, of_seeds=0.0), mean, 0.0),
    *(
        Case(
            f"mean of {share:.0%} changed by 1, other replies in each seed",
            changed_replies(3, 300, share),
            mean,
            share,
            most=0.99,
            narrow=0.9,
            short=share == 0.02,
        )
        for share in (0.02, 0.05)
    ),
    Case("mean of 10 % changed, skewed", rare_sizes(3, 300), mean, 0.1),
    Case("paired difference of rates, 3 seeds", two_rates(3, 300), difference, 0.0),
    Case("paired difference of rates, 5 seeds", two_rates(5, 300), difference, 0.0),
    *(
        Case(
            f"mean, one of 6 contrasts, {seeds} seeds that differ by {of_seeds}",
            family(seeds, 60, of_seeds),
            in_family,
            0.0,
            most=0.99,
            narrow=0.85,
            short=(seeds, of_seeds) == (3, 0.5),
        )
        for seeds in (3, 5)
        for of_seeds in (0.15, 0.5)
    ),
]
JUDGES = [
    Case(
        f"mean, 3 judges x 3 seeds: {spread}",
        judged(3, 3, 60, **spread),
        mean,
        0.0,
        short=spread["j"] in (0.3, 0.5),
    )
    for spread in (
        dict(j=0.0, s=0.0, e=1.0),
        dict(j=0.2, s=0.2, e=1.0),
        dict(j=0.5, s=0.1, e=0.5),
        dict(j=0.1, s=0.5, e=0.5),
        dict(j=0.3, s=0.3, e=1.0, js=0.2, je=0.5, se=0.5),
        dict(j=0.05, s=0.05, e=1.0, js=0.3, je=1.0),
    )
]
RATES = [
    Case(
        f"rate {rate} of {examples}, {alike:.0%} alike in 3 seeds",
        one_rate(3, examples, rate, alike=alike),
        rates.rate_interval,
        rate,
        most=0.99,
        short=examples == 100 and alike in (0.0, 1.0),
    )
    for rate, examples in ((0.7, 300), (0.97, 300), (0.99, 300), (0.99, 100))
    for alike in (0.0, 0.5, 1.0)
]
