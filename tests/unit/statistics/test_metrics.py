"""Metrics against closed forms, and the word scorer on pairs whose rule is known."""

import random

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from helpers.core.paths import ROOT
from helpers.data import dialogues, hh
from helpers.statistics import metrics
from helpers.statistics.metrics import (
    BagOfWords,
    distinct,
    expected_calibration_error,
    hmr_hpr_cas,
    length_margin,
    preference_accuracy,
    reliability,
    sequence_kl,
    win_rate,
)

REAL = ROOT.parent / "shared" / "hh-rlhf"


def test_preference_accuracy_counts_ties_half() -> None:
    assert preference_accuracy(np.array([2.0, -1.0, 0.0])).tolist() == [1, 0, 0.5]


def test_a_scorer_that_failed_is_not_a_tie() -> None:
    with pytest.raises(ValueError, match="2 margins are not finite"):
        preference_accuracy(np.array([1.0, np.nan, np.inf]))


def test_win_rate_is_antisymmetric() -> None:
    ours, theirs = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    assert win_rate(ours, theirs).tolist() == [0.5, 0, 1]
    assert (win_rate(ours, theirs) + win_rate(theirs, ours) == 1).all()
    with pytest.raises(ValueError, match=r"\(3,\) against \(2,\)"):
        win_rate(ours, theirs[:2])


def test_length_margin_counts_characters_of_the_reply() -> None:
    pairs = pd.DataFrame({"chosen": [" Sure.", " No"], "rejected": ["Yes", " Never\n"]})
    assert length_margin(pairs).tolist() == [2.0, -3.0]


def word_pairs(count: int, seed: int) -> pd.DataFrame:
    """Replies of random words; `gladly` stands in the chosen one nine times of ten."""
    draw = random.Random(seed)
    words = ["tea", "garden", "map", "window", "river", "song", "paper", "lamp"]
    rows = []
    for _ in range(count):
        good = " ".join([*draw.choices(words, k=6), "gladly"])
        plain = " ".join(draw.choices(words, k=7))
        rows.append((good, plain) if draw.random() < 0.9 else (plain, good))
    return pd.DataFrame(rows, columns=["chosen", "rejected"])


def test_bag_of_words_finds_the_word_that_decides() -> None:
    scorer = BagOfWords().fit(word_pairs(400, seed=0))
    test = word_pairs(400, seed=1)
    margins = scorer.margins(test)
    assert preference_accuracy(margins).mean() == pytest.approx(0.9, abs=0.05)
    mirrored = test.rename(columns={"chosen": "rejected", "rejected": "chosen"})
    assert scorer.margins(mirrored) == pytest.approx(-margins)


def test_bag_of_words_reads_an_unknown_reply_as_a_tie() -> None:
    pairs = pd.DataFrame({"chosen": ["xylophone"], "rejected": ["zeppelin"]})
    assert BagOfWords().fit(word_pairs(50, seed=0)).margins(pairs).tolist() == [0.0]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real pairs at {REAL}")
def test_bag_of_words_on_the_real_helpful_fold() -> None:
    train, test = (
        pd.DataFrame(
            (
                pair
                for row in rows
                if not isinstance(pair := dialogues.compare(*row), str)
            ),
            columns=["prompt", "chosen", "rejected"],
        )
        for rows in map(
            hh.read_rows, sorted(REAL.glob("helpful-base/t*.jsonl.gz"))[::-1]
        )
    )
    accuracy = preference_accuracy(BagOfWords().fit(train).margins(test)).mean()
    assert 0.60 < accuracy < 0.67


def test_reliability_of_known_margins() -> None:
    # confidence 0.88 twice, once right; confidence 0.5 once, a tie
    curve = reliability(np.array([2.0, -2.0, 0.0]))
    assert curve["count"].tolist() == [1, 2]
    assert curve["confidence"].tolist() == pytest.approx([0.5, 0.880797], abs=1e-6)
    assert curve["accuracy"].tolist() == [0.5, 0.5]
    error = expected_calibration_error(np.array([2.0, -2.0, 0.0]))
    assert error == pytest.approx(0.380797 * 2 / 3, abs=1e-6)


def test_calibration_error_tells_honest_from_overconfident() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=20_000)
    labels = np.where(draw.random(20_000) < 1 / (1 + np.exp(-logits)), 1, -1)
    assert expected_calibration_error(labels * logits) < 0.02
    assert expected_calibration_error(labels * logits * 5) > 0.15


def test_rates_at_the_thresholds() -> None:
    # harmless from the threshold on, helpful only above it
    rates = hmr_hpr_cas([-3.0, -3.5, 0.0, 1.0], [-2.0, -1.0], (-3.0, -2.0))
    assert rates == {"HmR": 75.0, "HpR": 50.0, "CAS": 62.5}
    with pytest.raises(ValueError, match="0 harmless and 1 helpful"):
        hmr_hpr_cas([], [1.0], (-3.0, -2.0))


def test_sequence_kl_of_equal_policies_is_zero() -> None:
    logprobs = [np.array([-1.0, -2.0]), np.array([])]
    assert sequence_kl(logprobs, logprobs).tolist() == [0.0, 0.0]


def test_sequence_kl_is_unbiased_and_never_negative() -> None:
    draw = np.random.default_rng(0)
    policy = np.array([0.5, 0.3, 0.2])
    reference = np.array([0.2, 0.3, 0.5])
    truth = 4 * float(np.sum(policy * np.log(policy / reference)))
    tokens = draw.choice(3, p=policy, size=(20_000, 4))
    estimates = sequence_kl(np.log(policy)[tokens], np.log(reference)[tokens])
    assert estimates.min() >= 0
    assert estimates.mean() == pytest.approx(truth, rel=0.03)


def test_sequence_kl_refuses_replies_of_other_lengths() -> None:
    with pytest.raises(ValueError, match="2 policy tokens, 1 reference tokens"):
        sequence_kl([np.zeros(2)], [np.zeros(1)])


def test_distinct_counts_pairs_of_words() -> None:
    assert distinct(["a b c", "a b"]) == 2 / 3
    assert distinct(["a b c d"]) == 1
    assert np.isnan(distinct(["one", ""]))


def test_signs_from_other_folds_have_no_noise_to_follow() -> None:
    draw, same, other = np.random.default_rng(0), [], []
    for _ in range(40):
        odds = draw.normal(size=400)
        margins = np.where(draw.random(400) < expit(odds), odds, -odds)
        same.append(metrics.calibration_errors(margins).mean())
        other.append(metrics.calibration_errors(margins, folds=3).mean())
        assert same[-1] == pytest.approx(expected_calibration_error(margins))
    # calibrated: what the same pairs say is noise
    assert np.mean(same) > 0.04 and abs(np.mean(other)) < 0.01


def test_brier_is_the_squared_error_of_the_chance() -> None:
    assert metrics.brier(np.array([0.0, 50.0, -50.0])).tolist() == pytest.approx(
        [0.25, 0.0, 1.0]
    )
