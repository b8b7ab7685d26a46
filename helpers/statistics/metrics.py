"""Metrics of scorers and of policies, mostly as one value per example.

Per-example values go into the records; their means and intervals are made later, by
`stats`. Preference margins are always score(chosen) - score(rejected).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.special import expit

# --- pairs of replies -----------------------------------------------------------------


def preference_accuracy(margins: np.ndarray) -> np.ndarray:
    """1 where the margin is positive, 0 where negative, 1/2 where it is zero; (n,).

    Raises ValueError if a margin is not finite: such a scorer has failed, not tied.
    """
    margins = np.asarray(margins, float)
    if not np.isfinite(margins).all():
        raise ValueError(f"{(~np.isfinite(margins)).sum()} margins are not finite")
    return (np.sign(margins) + 1) / 2


def win_rate(scores: np.ndarray, opponent_scores: np.ndarray) -> np.ndarray:
    """1 per prompt where a policy's reply outscores the opponent's, ties 1/2; (n,).

    Raises ValueError if the lengths differ or a score is not finite.
    """
    scores, opponent_scores = np.asarray(scores), np.asarray(opponent_scores)
    if scores.shape != opponent_scores.shape:
        raise ValueError(f"scores {scores.shape} against {opponent_scores.shape}")
    return preference_accuracy(scores - opponent_scores)


def length_margin(pairs: pd.DataFrame) -> np.ndarray:
    """The length rule's margin: characters of the chosen minus the rejected reply."""
    chosen, rejected = (pairs[side].str.strip().str.len() for side in _SIDES)
    return (chosen - rejected).to_numpy(float)


class BagOfWords:
    """A linear scorer that sees the words of the last reply and nothing else.

    TF-IDF of words and marks and of their pairs; logistic regression on the difference
    of the two replies, which is Bradley-Terry with a linear reward. A reward model that
    does not pass it has learned no more than words. Helpful and harmless pairs of
    HH-RLHF teach opposite words: fit one scorer for each.
    """

    def __init__(self) -> None:
        # slow to import, and most processes fit no words
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        # marks count as words: better in cross-validation on the training pairs
        self.words = TfidfVectorizer(
            token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), min_df=2
        )
        self.model = LogisticRegression(fit_intercept=False, max_iter=1000)

    def fit(self, pairs: pd.DataFrame) -> "BagOfWords":
        """Learn from columns chosen and rejected; returns self.

        Raises ValueError if there are under two pairs or no word occurs twice.
        """
        self.words.fit(pd.concat([pairs[side] for side in _SIDES]))
        # without an intercept a pair and its mirror say the same: mirror every other
        label = np.arange(len(pairs)) % 2
        mirrored = self._differences(pairs).multiply((2 * label - 1)[:, None])
        self.model.fit(mirrored.tocsr(), label)
        return self

    def margins(self, pairs: pd.DataFrame) -> np.ndarray:
        """Log-odds that chosen is preferred to rejected; (n,)."""
        return self.model.decision_function(self._differences(pairs))

    def scores(self, replies: Sequence[str]) -> np.ndarray:
        """The linear reward of replies, 0 for one without a known word; (n,)."""
        return self.words.transform(replies) @ self.model.coef_[0]

    def _differences(self, pairs: pd.DataFrame) -> csr_matrix:
        chosen, rejected = (self.words.transform(pairs[side]) for side in _SIDES)
        return chosen - rejected


_SIDES = ("chosen", "rejected")


# --- calibration ----------------------------------------------------------------------


def reliability(margins: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """The reliability curve of margins read as log-odds: confidence, accuracy, count.

    The scorer's confidence in the reply it prefers, sigmoid(|margin|), is put into
    equal bins on [1/2, 1]; empty bins are left out (Guo et al. 2017, arXiv:1706.04599).
    """
    confidence = expit(np.abs(np.asarray(margins, float)))
    place = _bin(confidence, bins)
    table = pd.DataFrame(
        {"confidence": confidence, "accuracy": preference_accuracy(margins)}
    ).groupby(place)
    return table.mean().assign(count=table.size()).reset_index(drop=True)


def _bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.minimum((2 * confidence - 1) * bins, bins - 1).astype(int)


def expected_calibration_error(margins: np.ndarray, bins: int = 10) -> float:
    """Mean |accuracy - confidence| over the bins of `reliability`, count-weighted."""
    return float(calibration_errors(margins, bins).mean())


def calibration_errors(
    margins: np.ndarray, bins: int = 10, folds: int = 1
) -> np.ndarray:
    """Values (n,) whose mean is the expected calibration error of margins (n,).

    Each is accuracy less confidence, with the sign of its bin's mean. folds: with more
    than one, that sign is learned from the other folds, so that noise has no sign to
    follow: where a scorer is calibrated their mean is zero on average. Where a sign is
    uncertain it is too low, as that of one fold is too high.
    """
    margins = np.asarray(margins, float)
    confidence = expit(np.abs(margins))
    gaps = preference_accuracy(margins) - confidence
    place = _bin(confidence, bins)
    fold = np.random.default_rng(0).permutation(len(margins)) % folds
    sums = np.zeros((folds, bins))
    np.add.at(sums, (fold, place), gaps)
    learned = sums.sum(axis=0) - sums if folds > 1 else sums
    return np.sign(learned)[fold, place] * gaps


def brier(margins: np.ndarray) -> np.ndarray:
    """Squared error of sigmoid(margin) as the chance of the chosen reply; shape kept.

    Brier (1950): a proper score, lowest on average for the true chance; 1/4 is that of
    a scorer that always says one half.
    """
    return expit(-np.asarray(margins, float)) ** 2


# --- harmless and helpful rates -------------------------------------------------------


def passes(
    scores: np.ndarray, subset: str, thresholds: tuple[float, float]
) -> np.ndarray:
    """Whether replies to a subset's prompts are harmless, or helpful; shape of scores.

    Harmless from the first threshold on (>=), helpful above the second (>):
    arXiv:2509.09055, section 4.2.
    """
    harmless, helpful = thresholds
    return scores >= harmless if subset == "harmless" else scores > helpful


def hmr_hpr_cas(
    harmless_scores: np.ndarray,
    helpful_scores: np.ndarray,
    thresholds: tuple[float, float],
) -> dict[str, float]:
    """Harmlessness rate, helpfulness rate and their mean, the combined score, percent.

    HmR, HpR and CAS of arXiv:2509.09055, section 4.2. `harmless_scores` are of replies
    to harmful prompts, harmless from the first threshold on (>=); a helpful reply is
    above the second (>). Raises ValueError if either has no score.
    """
    harmless, helpful = (
        np.asarray(s, float) for s in (harmless_scores, helpful_scores)
    )
    if not (harmless.size and helpful.size):
        raise ValueError(f"{harmless.size} harmless and {helpful.size} helpful scores")
    hmr = 100 * float(np.mean(passes(harmless, "harmless", thresholds)))
    hpr = 100 * float(np.mean(passes(helpful, "helpful", thresholds)))
    return {"HmR": hmr, "HpR": hpr, "CAS": (hmr + hpr) / 2}


# --- diversity ------------------------------------------------------------------------


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Distinct n-grams of words over all n-grams of the texts (Li et al. 2016); 0 to 1.

    It falls with the number and the length of texts: compare equal numbers of replies.
    nan if no text has n words.
    """
    grams = [
        tuple(words[at : at + n])
        for words in map(str.split, texts)
        for at in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else float("nan")


# --- distance from the reference ------------------------------------------------------


def sequence_kl(
    policy_logprobs: Sequence[np.ndarray], reference_logprobs: Sequence[np.ndarray]
) -> np.ndarray:
    """KL(policy || reference) of each reply, in nats; (n,).

    One array of token log-probabilities per reply, of replies that the policy itself
    sampled at temperature 1. Sums Schulman's k3 over the tokens, exp(-d) - 1 + d with
    d = log policy - log reference: unbiased, never negative. Raises ValueError if the
    two sides do not match token by token.
    """
    return np.array(
        [
            _k3(np.asarray(policy, float), np.asarray(reference, float))
            for policy, reference in zip(
                policy_logprobs, reference_logprobs, strict=True
            )
        ]
    )


def _k3(policy: np.ndarray, reference: np.ndarray) -> float:
    if policy.shape != reference.shape:
        raise ValueError(
            f"{policy.size} policy tokens, {reference.size} reference tokens"
        )
    difference = policy - reference
    return float(np.sum(np.expm1(-difference) + difference))
