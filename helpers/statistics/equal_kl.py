"""Gains of two methods at equal KL: read off curves through their measured strengths.

A curve is known where a method was trained: its gain over SFT and its KL from SFT, for
every strength, seed and example. Between two strengths it is a straight line in
sqrt(KL); beyond them nothing is said. How methods are found in records is in `frontier`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from helpers.statistics import intervals


class Curve(NamedTuple):
    """A method's measured strengths: KLs and gains over SFT, (K, seeds, examples).

    Gains of several judges are (K, judges, seeds, examples).
    """

    kl: np.ndarray
    gained: np.ndarray
    seeds: tuple[int, ...]

    def of(self, seeds: Sequence[int]) -> "Curve":
        """The same of some of its seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return Curve(self.kl[:, rows], self.gained[..., rows, :], tuple(seeds))


def reach(kl: np.ndarray) -> tuple[float, float]:
    """From which KL to which the curve of every seed runs; KLs (K, seeds, examples).

    The first is larger than the second where the seeds have no KL in common.
    """
    means = kl.mean(axis=2)
    return float(means.min(axis=0).max()), float(means.max(axis=0).min())


def interpolate(kl: np.ndarray, gained: np.ndarray, target: float) -> np.ndarray:
    """Gains at one KL, (seeds, examples); kl and gained are (K, seeds, examples).

    Gains of several judges, (K, judges, seeds, examples), become (judges, ...).
    For each seed linear in sqrt(KL), in which gains near SFT are linear (Gao et al.
    2023), between the two measured strengths on both sides of `target`. A strength lies
    at its mean KL over the examples. That mean's error is in the values: each example
    counts with what it adds to the error of the gain that is read off (linearised), so
    `intervals.mean_interval` of them is wider by it. Raises ValueError where a seed has no
    strength on one side.
    """
    low, high = reach(kl)
    if not low <= target <= high:
        raise ValueError(
            f"no gain at a KL of {target:.3g}: every seed is measured from {low:.3g} to "
            f"{high:.3g} only"
        )
    if gained.ndim > kl.ndim:
        by_judge = gained.swapaxes(0, 1)
        return np.array([interpolate(kl, each, target) for each in by_judge])
    by_seed = zip(kl.swapaxes(0, 1), gained.swapaxes(0, 1))
    return np.array([_read_off(*each, np.sqrt(target)) for each in by_seed])


def _read_off(kl: np.ndarray, gained: np.ndarray, target: float) -> np.ndarray:
    """The gains (examples,) of one seed at sqrt(KL) = `target`, as `interpolate`."""
    places = roots(kl)
    ends, share, width = _between(places, target)
    weights = np.array([1 - share, share])
    slope = np.diff(gained[ends].mean(axis=1))[0] / width if width > 0 else 0.0
    # what each example adds to the error of sqrt(mean KL), by its derivative
    apart, twice = kl[ends] - kl[ends].mean(axis=1, keepdims=True), 2 * places[ends]
    errors = [each / way if way > 0 else 0 * each for each, way in zip(apart, twice)]
    return weights @ (gained[ends] - slope * np.array(errors))


def roots(kl: np.ndarray) -> np.ndarray:
    """sqrt of the mean over examples, the last axis; rounding may leave less than 0."""
    return np.sqrt(np.maximum(kl.mean(axis=-1), 0))


def _between(places: np.ndarray, target: float) -> tuple[np.ndarray, float, float]:
    """The neighbours of a target among places (K,), its share of the way, its length."""
    order = np.argsort(places, kind="stable")
    right = int(np.clip(np.searchsorted(places[order], target), 1, len(order) - 1))
    ends = order[[right - 1, right]]
    width = float(np.ptp(places[ends]))
    share = np.clip((target - places[ends[0]]) / width, 0, 1) if width > 0 else 0.5
    return ends, float(share), width


def bend(kl: np.ndarray, gained: np.ndarray, target: float) -> float:
    """How far a parabola lies above the straight lines at one KL; mean over seeds.

    kl, gained: as for `interpolate`. Its curvature is that of least squares through all
    strengths of all seeds, over judges. 0 where there are fewer than three strengths to show one.
    """
    places, middle = roots(kl), np.sqrt(target)
    if len(np.unique(places.round(9))) < 3 or len(kl) < 3:
        return 0.0
    heights = gained.mean(axis=-1).reshape(len(kl), -1, kl.shape[1]).mean(axis=1)
    curvature = np.polyfit(places.ravel(), heights.ravel(), 2)[0]
    found = [_between(each, middle) for each in places.T]
    gaps = [share * (1 - share) * width**2 for _, share, width in found]
    return float(-curvature * np.mean(gaps))


def common_kl(*kls: np.ndarray) -> float | None:
    """The KL at which curves are compared; None where they do not overlap.

    It is the middle, in sqrt(KL), of what the curves of all methods and seeds cover: a
    fixed rule, which does not look at gains. The other choice, the largest KL that all
    reach, lies at one seed's last strength, with no neighbour to average, and the seed
    that goes least far decides alone where it is: simulated with 3 and 5 seeds, intervals
    there are 1.0 to 1.5 times as wide.
    """
    ends = np.array([reach(kl) for kl in kls])
    low, high = ends[:, 0].max(), ends[:, 1].min()
    if low > high:
        return None
    middle = np.sqrt(np.maximum([low, high], 0)).mean() ** 2
    return float(np.clip(middle, low, high))


def difference_at(
    first: Curve, second: Curve, target: float
) -> tuple[np.ndarray, float]:
    """First minus second at one KL, (seeds, examples), and what their bends would add."""
    values = [interpolate(each.kl, each.gained, target) for each in (first, second)]
    bends = [bend(each.kl, each.gained, target) for each in (first, second)]
    return intervals.paired_difference(*values), bends[0] - bends[1]


def bent_interval(
    difference: np.ndarray, shift: float, draws: int = 2000
) -> intervals.Interval:
    """The interval of a mean that may be off by `shift`, or by none of it."""
    found = intervals.mean_interval(difference, draws=draws)
    low, high = found.low + min(shift, 0), found.high + max(shift, 0)
    return replace(found, low=low, high=high)


def bent_p_value(difference: np.ndarray, shift: float) -> float:
    """p-value of zero by the same: the larger of both, 1 if they differ in sign."""
    if difference.mean() * (difference.mean() + shift) < 0:
        return 1.0
    return max(intervals.p_value(each) for each in (difference, difference + shift))
