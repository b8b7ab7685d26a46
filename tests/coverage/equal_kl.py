"""Differences at equal KL between curves that are known, of measured strengths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from helpers.statistics import equal_kl
from helpers.statistics.intervals import Interval
from tests.coverage.simulate import Case

DRAWS = 200  # of the bootstrap: enough here, and ten times as quick
Strengths = tuple[np.ndarray, np.ndarray]  # KLs and gains, (K, seeds, examples)
Draw = Callable[[np.random.Generator], tuple]


@dataclass(frozen=True)
class Curve:
    """Gains of rise x - bend x^2 at x = sqrt(KL), measured near some KLs, in nats."""

    kls: Sequence[float]
    rise: float
    bend: float
    exact: bool = False  # KLs are known, as best-of-N's

    def gain(self, kl: np.ndarray | float) -> np.ndarray | float:
        return self.rise * np.sqrt(kl) - self.bend * kl


# as the trials of `prefbook tune` and the first runs of the cpu tier have it
PPO = Curve((1.2, 2.0, 3.1, 7.0), rise=1.35, bend=0.38)
DPO = Curve((0.3, 1.75, 9.0), rise=0.85, bend=0.2)
BEST_OF_N = Curve((0.64, 1.2, 1.84, 2.5), rise=0.7, bend=0.1, exact=True)
MEASURED = {"spread": 0.15, "off": 0.08, "own": 0.1}  # how seeds differ there
ALIKE = {"spread": 0.05, "off": 0.02, "own": 0.02}


def pair(first: Curve, second: Curve, *, seeds: int, examples: int, **differ) -> Draw:
    """Both methods' strengths on the same prompts, with the curves they are drawn from.

    spread: of a policy's log KL; off: of its distance from its seed's curve; own: of the
    seeds' curves, relative. Prompts have their own gain, and KL, with which gain grows.
    """

    def draw(random: np.random.Generator) -> tuple:
        prompts = random.normal(size=(2, examples))
        return tuple(
            (curve, measure(random, curve, prompts, seeds, **differ))
            for curve in (first, second)
        )

    return draw


def measure(
    random: np.random.Generator,
    curve: Curve,
    prompts: np.ndarray,
    seeds: int,
    *,
    spread: float,
    off: float,
    own: float,
) -> Strengths:
    """KLs and gains of every strength, seed and example, as 08 would record them."""
    shape = (len(curve.kls), seeds)
    spread = 0.0 if curve.exact else spread
    kl = np.array(curve.kls)[:, None] * np.exp(spread * random.normal(size=shape))
    bent = replace(curve, rise=curve.rise * (1 + own * random.normal(size=seeds)))
    gain = bent.gain(kl) + off * random.normal(size=shape)
    noise = random.normal(size=(3, *shape, prompts.shape[1]))
    size = np.exp(0.5 * (prompts[0] + noise[0]) - 0.25)  # mean 1, relative spread 0.8
    gained = gain[..., None] * (1 + 0.5 * (size - 1))
    gained += 0.5 * prompts[1] + 0.8 * noise[1, :1] + 0.8 * noise[2]
    return kl[..., None] * (np.ones_like(size) if curve.exact else size), gained


def error(interval: Interval, kl: float, first: Curve, second: Curve) -> Interval:
    """The interval of how far an estimate is from the true difference at its KL."""
    true = first.gain(kl) - second.gain(kl)
    ends = {end: getattr(interval, end) - true for end in ("estimate", "low", "high")}
    return replace(interval, **ends)


def at_equal_kl(*methods: tuple[Curve, Strengths]) -> Interval:
    """The interval of `frontier.equal_kl_table`, less the truth at its KL."""
    truths, measured = zip(*methods)
    seeds = range(measured[0][0].shape[1])
    first, second = (equal_kl.Curve(*each, tuple(seeds)) for each in measured)
    target = equal_kl.common_kl(first.kl, second.kl)
    found = equal_kl.difference_at(first, second, target)
    return error(equal_kl.bent_interval(*found, draws=DRAWS), target, *truths)


def case(first: Curve, second: Curve, name: str, seeds: int, **given) -> Case:
    given = {"examples": 200, **MEASURED, **given}
    least, most = given.pop("least", 0.93), given.pop("most", 0.97)
    draw = pair(first, second, seeds=seeds, **given)
    return Case(f"{name}, {seeds} seeds", draw, at_equal_kl, 0.0, least, most)


STRAIGHT = replace(PPO, bend=0.0), replace(DPO, bend=0.0)
EQUAL_KL = [
    *(
        each
        for seeds in (3, 5)
        for each in (
            case(*STRAIGHT, "straight curves at equal KL", seeds),
            case(PPO, DPO, "bent curves at equal KL", seeds),
            case(PPO, BEST_OF_N, "PPO and best-of-N at equal KL", seeds),
        )
    ),
    case(PPO, DPO, "bent curves of seeds alike", 3, **ALIKE, examples=1000),
]
