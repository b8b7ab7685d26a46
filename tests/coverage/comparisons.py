"""Label factors, equal length, calibration, CAS, powers: of known truth."""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import expit

from helpers.analysis import pair_scorers
from helpers.statistics import cas, intervals, metrics, rates, sampling_errors
from helpers.statistics.intervals import Interval
from tests.coverage.means import DRAWS, family, in_family, mean
from tests.coverage.simulate import Case, Draw

# --- data -------------------------------------------------------------------------------


def label_curves(seeds: int, pairs: int, doubling: float, shift: float) -> Draw:
    """Gain and slope of curves of accuracy, one start `shift` doublings ahead.

    Pairs differ in how hard they are, and seeds by 0.01 at every size.
    """
    sizes = [600, 2400, 9600]

    def draw(random: np.random.Generator) -> tuple:
        ease = random.uniform(-0.25, 0.25, size=pairs)
        grown = 0.6 + doubling * np.array([[0, 2, 4], [0, 2, 4]])
        grown[1] += doubling * shift
        luck = 0.01 * random.normal(size=(2, 3, seeds, 1))
        chance = grown[..., None, None] + luck + ease
        right = (random.random((2, 3, seeds, pairs)) < chance).astype(float)
        curves = pair_scorers.LabelCurves(sizes, *right)
        return (curves.own - curves.base).mean(axis=0), curves.slope

    return draw


def wins_by_length(seeds: int, prompts: int, mean_gap: float) -> Draw:
    """A policy that writes more and wins by that only: one half at equal length."""

    def draw(random: np.random.Generator) -> tuple:
        gaps = random.normal(mean_gap, 30, size=(seeds, prompts))
        won = random.random(gaps.shape) < 0.5 + 0.3 * np.tanh(gaps / gaps.std())
        return won.astype(float), gaps

    return draw


def wins_and_ties(seeds: int, prompts: int) -> Draw:
    """Wins, ties and losses with chances of 0.5, 0.2 and 0.3 on average: a rate of 0.6."""

    def draw(random: np.random.Generator) -> tuple:
        at = random.random(prompts) + random.normal(0, 0.1, size=(seeds, prompts))
        at = at + 0.03 * random.normal(size=(seeds, 1))
        return (np.where(at < 0.5, 1.0, np.where(at < 0.7, 0.5, 0.0)),)

    return draw


def margins(seeds: int, pairs: int, loud: float, spread: float, noise: float) -> Draw:
    """Margins, `loud` times the log-odds of being right; seeds differ in loudness."""

    def draw(random: np.random.Generator) -> tuple:
        odds = 1.5 * random.normal(size=pairs)
        label = np.where(random.random(pairs) < expit(odds), 1, -1)
        scale = loud * np.exp(spread * random.normal(size=(seeds, 1)))
        return (label * scale * (odds + noise * random.normal(size=(seeds, pairs))),)

    return draw


def whole(draw: Draw, metric: Callable[[np.ndarray], float]) -> float:
    """A metric's true mean over seeds: of many seeds, each on very many pairs."""
    drawn = [draw(np.random.default_rng((7, at)))[0][0] for at in range(60)]
    return float(np.mean([metric(each) for each in drawn]))


def passing(models: int, seeds: int, ahead: float = 0.0) -> Draw:
    """What passes of several models, harmful and helpful prompts; the first `ahead`."""

    def draw(random: np.random.Generator) -> tuple:
        gain = np.zeros(models)
        gain[0] = ahead
        luck = 0.03 * random.normal(size=(models, seeds, 1)) * (seeds > 1)
        found = []
        for prompts, rate in ((100, 0.5), (200, 0.4)):
            chance = (
                rate + gain[:, None, None] + luck + random.uniform(-0.3, 0.3, prompts)
            )
            found.append(
                (random.random((models, seeds, prompts)) < chance).astype(float)
            )
        return tuple(zip(*found))

    return draw


# --- estimators -------------------------------------------------------------------------


def cas_difference(first: tuple, second: tuple) -> Interval:
    parts = map(intervals.paired_difference, first, second)
    return intervals.mean_interval(cas.combined(*parts), draws=DRAWS)


def winners_lead(*models: tuple) -> Interval:
    """What is sure of the winner's lead: nothing, where all models are alike."""
    *_, gap = cas.lead({str(at): each for at, each in enumerate(models)})
    return Interval(gap.estimate, gap.low, np.inf)


def brier(values: np.ndarray) -> Interval:
    return intervals.mean_interval(metrics.brier(values), draws=DRAWS)


def detectable(*contrasts: np.ndarray) -> Interval:
    spread = sampling_errors.pooled(contrasts) if len(contrasts) > 1 else None
    return intervals.detectable(contrasts[0], family=spread)


def seen_with(power: float, draw: Draw) -> float:
    """The true difference that is seen with a power: a shift moves the interval."""
    estimator = in_family if len(draw(np.random.default_rng(0))) > 1 else mean
    lows = [estimator(*draw(np.random.default_rng((3, at)))).low for at in range(800)]
    return float(np.quantile(np.negative(lows), power))


# --- cases ------------------------------------------------------------------------------

LABELS = [
    Case(
        f"label factor, {seeds} seeds, {doubling} a doubling",
        label_curves(seeds, 600, doubling, 1.0),
        pair_scorers.label_factor,
        2.0,
        most=0.99,
        short=(seeds, doubling) == (3, 0.03),
    )
    for seeds, doubling in ((3, 0.03), (5, 0.03), (3, 0.015))
]
WINS = [
    Case(
        "win rate with ties, 3 seeds",
        wins_and_ties(3, 150),
        rates.rate_interval,
        0.6,
        short=True,
    ),
    *(
        Case(
            f"win rate at equal length, mean gap {gap}",
            wins_by_length(3, 150, gap),
            rates.rate_at_equal_length,
            0.5,
            most=0.99,
            short=gap == 40,
        )
        for gap in (0, 40)
    ),
]
CALIBRATION = [
    case
    for seeds, pairs, loud, spread, noise in (
        (3, 600, 1.0, 0.0, 0.0),
        (3, 600, 1.3, 0.1, 0.0),
        (3, 600, 2.0, 0.2, 0.5),
        (3, 600, 5.0, 0.2, 0.5),
        (3, 2000, 1.3, 0.1, 0.3),
        (5, 600, 1.3, 0.2, 0.3),
    )
    for many in [margins(1, 100_000, loud, spread, noise)]
    for told in [f"{seeds} seeds, {pairs} pairs, {loud} times as loud"]
    for case in (
        Case(
            f"calibration error, {told}",
            margins(seeds, pairs, loud, spread, noise),
            pair_scorers.calibration_interval,
            # what is calibrated has none, of which very many pairs leave a little
            0.0
            if (loud, spread, noise) == (1.0, 0.0, 0.0)
            else partial(whole, many, metrics.expected_calibration_error),
            least=0.92,
            most=0.99,
            short=loud in (1.0, 2.0),
        ),
        Case(
            f"Brier score, {told}",
            margins(seeds, pairs, loud, spread, noise),
            brier,
            partial(whole, many, lambda each: float(metrics.brier(each).mean())),
        ),
    )
]
CAS = [
    *(
        Case(
            f"difference in CAS, {seeds} seeds",
            passing(2, seeds, 0.1),
            cas_difference,
            0.1,
            most=0.98,
            short=seeds == 3,
        )
        for seeds in (1, 3)
    ),
    Case("no lead of 2 like models", passing(2, 3), winners_lead, 0.0, most=1.0),
    Case("no lead of 6 like models", passing(6, 3), winners_lead, 0.0, most=1.0),
]
POWER = [
    Case(
        f"detectable difference, {seeds} seeds that differ by {of_seeds}{words}",
        family(seeds, 100, of_seeds, contrasts),
        detectable,
        partial(seen_with, 0.8, family(seeds, 100, of_seeds, contrasts)),
        most=0.98,
        short=(seeds, of_seeds, contrasts) == (3, 0.3, 6),
    )
    for contrasts, words in ((1, ""), (6, ", of 6"))
    for seeds, of_seeds in ((3, 0.3), (5, 0.3), (3, 0.1))
]
