"""How often an interval holds a truth that is known, because the data are drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from helpers.statistics.intervals import Interval

Draw = Callable[[np.random.Generator], tuple]


@dataclass(frozen=True)
class Case:
    """An estimator on data whose truth is known; `least`, `most`: bounds of coverage.

    The bounds are 0.93 and 0.97, or what the estimator's docstring states. narrow: the
    least coverage of the narrowest sixth of the intervals, which decide most. truth: a
    number, or how to compute it. short: whether `make test` has it too.
    """

    name: str
    draw: Draw
    estimator: Callable[..., Interval]
    truth: float | Callable[[], float]
    least: float = 0.93
    most: float = 0.97
    narrow: float = 0.0
    short: bool = False

    @cached_property
    def value(self) -> float:
        """The truth as a number."""
        return self.truth() if callable(self.truth) else self.truth


def coverage(
    draw: Draw,
    estimator: Callable[..., Interval],
    truth: float,
    repetitions: int,
    seed: int = 0,
) -> float:
    """Share of `repetitions` experiments whose interval holds the truth.

    draw: makes the data of one experiment, the arguments of `estimator`. Each experiment
    has a generator of its own, so more repetitions begin with the same experiments.
    """
    return float(experiments(draw, estimator, truth, repetitions, seed)["held"].mean())


def experiments(
    draw: Draw,
    estimator: Callable[..., Interval],
    truth: float,
    repetitions: int,
    seed: int = 0,
) -> pd.DataFrame:
    """The same, one row each: width, and whether the interval held the truth."""
    rows = []
    for at in range(repetitions):
        found = estimator(*draw(np.random.default_rng((seed, at))))
        held = found.low <= truth <= found.high
        rows.append({"width": found.high - found.low, "held": bool(held)})
    return pd.DataFrame(rows)


def measured(case: Case, repetitions: int, seed: int = 0) -> dict[str, object]:
    """A row of the table: coverage, its Monte Carlo error, that of the narrowest sixth."""
    told = (case.draw, case.estimator, case.value, repetitions, seed)
    found = experiments(*told).sort_values("width", kind="stable")
    share = float(found["held"].mean())
    sixth = found["held"].iloc[: max(repetitions // 6, 1)]
    narrow = float(sixth.mean())
    return {
        "case": case.name,
        "truth": case.value,
        "coverage": share,
        "+-": monte_carlo_error(share, repetitions),
        "narrowest sixth": narrow,
        "+- of these": monte_carlo_error(narrow, len(sixth)),
        "stated": f"{case.least:.2f} to {case.most:.2f}",
    }


def monte_carlo_error(share: float, repetitions: int) -> float:
    """Two standard errors of a share of that many experiments."""
    return 2 * float(np.sqrt(max(share * (1 - share), 0.01) / repetitions))


def wrong(case: Case, row: dict) -> str:
    """What is wrong with what was `measured` of a case, empty if nothing is.

    The bounds give way by two Monte Carlo errors, so that a short run fails only where
    an estimator is off for certain.
    """
    share, narrow = row["coverage"], row["narrowest sixth"]
    if not case.least - row["+-"] <= share <= case.most + row["+-"]:
        return f"{case.name}: covers {share:.3f}, stated {row['stated']}"
    if narrow < case.narrow - row["+- of these"]:
        return f"{case.name}: the narrowest cover {narrow:.3f}, not {case.narrow:.2f}"
    return ""


def outside(case: Case, repetitions: int, seed: int = 0) -> str:
    """`wrong` of so many experiments."""
    return wrong(case, measured(case, repetitions, seed))
