"""Differences at equal KL hold the truth; the rules that do not are told apart from it."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.statistics import equal_kl, intervals
from helpers.statistics.intervals import Interval
from tests.coverage.equal_kl import (
    ALIKE,
    BEST_OF_N,
    DPO,
    DRAWS,
    EQUAL_KL,
    MEASURED,
    PPO,
    Curve,
    Strengths,
    case,
    error,
)
from tests.coverage.simulate import outside

REPETITIONS = 150  # of each case; `make coverage` makes more


@pytest.mark.parametrize("each", EQUAL_KL, ids=lambda each: each.name)
def test_intervals_at_equal_kl_cover(each) -> None:
    assert not outside(each, REPETITIONS)


def chord(*methods: tuple[Curve, Strengths]) -> Interval:
    """By straight lines in KL from SFT on, at the largest KL that all seeds reach."""
    truths, measured = zip(*methods)
    target = min(kl.mean(axis=2).max(axis=0).min() for kl, _ in measured)
    ends = []
    for kl, gained in measured:
        places = np.concatenate([np.zeros((1, kl.shape[1])), kl.mean(axis=2)])
        values = np.concatenate([np.zeros((1, *gained.shape[1:])), gained])
        ends.append(
            np.array(
                [
                    [
                        np.interp(target, places[:, seed], one)
                        for one in values[:, seed].T
                    ]
                    for seed in range(kl.shape[1])
                ]
            )
        )
    found = intervals.difference_interval(*ends, draws=DRAWS)
    return error(found, target, *truths)


def test_chords_from_the_origin_do_not_cover() -> None:
    """With one strength each the verdict was the choice of the curve."""
    single = replace(PPO, kls=(5.5,)), replace(BEST_OF_N, kls=(1.84,))
    old = replace(case(*single, "chords", 3), estimator=chord)
    assert "chords, 3 seeds: covers 0." in outside(old, REPETITIONS)


def straight(*methods: tuple[Curve, Strengths]) -> Interval:
    """At the same KL by straight lines alone, as if curves had no bend."""
    truths, measured = zip(*methods)
    target = equal_kl.common_kl(*(kl for kl, _ in measured))
    ends = [equal_kl.interpolate(*each, target) for each in measured]
    return error(intervals.difference_interval(*ends, draws=DRAWS), target, *truths)


def test_straight_lines_alone_miss_bent_curves() -> None:
    alike = case(PPO, DPO, "lines", 3, **ALIKE, examples=1000)
    assert "lines, 3 seeds: covers 0." in outside(
        replace(alike, estimator=straight), REPETITIONS
    )


def test_the_mean_kl_is_not_known_exactly() -> None:
    """One seed, steep gains, more of them where a prompt's KL is large.

    So errors of gain and KL cancel in part: without the KL's, intervals are too wide.
    """
    steep = Curve((1.0, 9.0), rise=4.0, bend=0.0), Curve((2.0, 8.0), rise=0.0, bend=0.0)
    given = {**MEASURED, "spread": 0.0, "off": 0.0, "own": 0.0}
    known = case(*steep, "steep", 1, **given)
    assert not outside(known, 2 * REPETITIONS)

    def exact(*methods: tuple[Curve, Strengths]) -> Interval:
        truths, measured = zip(*methods)
        means = [
            (np.broadcast_to(kl.mean(2)[..., None], kl.shape), g) for kl, g in measured
        ]
        return straight(*zip(truths, means))

    unlinked = replace(known, estimator=exact)
    assert "steep, 1 seeds: covers 1." in outside(unlinked, 2 * REPETITIONS)
