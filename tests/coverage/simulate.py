"""How often an interval holds a truth that is known, because the data are drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from helpers.stats import Interval


@dataclass(frozen=True)
class Case:
    """An estimator on data whose truth is known; `least`, `most`: bounds of coverage.

    The bounds are 0.93 and 0.97, or what the estimator's docstring states. A case that
    is not about an interval (a power) has the same form: whatever `estimator` returns
    as an Interval is asked whether it holds `truth`.
    """

    name: str
    draw: Callable[[np.random.Generator], tuple]
    estimator: Callable[..., Interval]
    truth: float
    least: float = 0.93
    most: float = 0.97


def coverage(
    draw: Callable[[np.random.Generator], tuple],
    estimator: Callable[..., Interval],
    truth: float,
    repetitions: int,
    seed: int = 0,
) -> float:
    """Share of `repetitions` experiments whose interval holds the truth.

    draw: makes the data of one experiment, the arguments of `estimator`. Each experiment
    has a generator of its own, so more repetitions begin with the same experiments.
    """
    held = 0
    for at in range(repetitions):
        found = estimator(*draw(np.random.default_rng((seed, at))))
        held += found.low <= truth <= found.high
    return held / repetitions


def monte_carlo_error(share: float, repetitions: int) -> float:
    """Two standard errors of a share of that many experiments."""
    return 2 * float(np.sqrt(max(share * (1 - share), 0.01) / repetitions))


def outside(case: Case, repetitions: int, seed: int = 0) -> str:
    """What is wrong with a case's coverage, empty if nothing is.

    The bounds give way by two Monte Carlo errors, so that a short run fails only where
    an estimator is off for certain.
    """
    share = coverage(case.draw, case.estimator, case.truth, repetitions, seed)
    slack = monte_carlo_error(share, repetitions)
    if case.least - slack <= share <= case.most + slack:
        return ""
    return f"{case.name}: covers {share:.3f}, not {case.least:.2f} to {case.most:.2f}"
