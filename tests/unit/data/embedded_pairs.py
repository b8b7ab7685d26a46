"""Pairs of the built-in corpus, and what rules learn from them, for its tests."""

from collections.abc import Iterable
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from helpers.data import dialogues
from helpers.data.synthetic import corpus
from helpers.data.synthetic import phrases as words
from helpers.data.synthetic.reading import Reading, read
from helpers.data.synthetic.reward import true_reward

SIDES = ("chosen", "rejected")
ATTRIBUTES = [name for name in Reading._fields if name != "unwanted"]
DOMAINS = [domain for part in words.DOMAINS.values() for domain in part]


def asking(*turns: str) -> str:
    """A prompt whose turns alternate, the human first and last."""
    markers = (dialogues.HUMAN, dialogues.ASSISTANT)
    told = "".join(f"{markers[i % 2]} {turn}" for i, turn in enumerate(turns))
    return told + dialogues.ASSISTANT


@cache
def sample(subset: str, split: str = "test", n: int = 1500) -> pd.DataFrame:
    """Pairs of one subset with both true rewards; do not change it."""
    rows = corpus.transcripts(subset, split, n, seed=5)
    pairs = pd.DataFrame([dialogues.compare(**row) for row in rows])
    pairs.columns = ["prompt", *SIDES]
    for side in SIDES:
        rewards = map(true_reward, pairs["prompt"], pairs[side])
        pairs[f"{side}_reward"] = list(rewards)
    return pairs


def rewards(pairs: pd.DataFrame) -> pd.Series:
    """The true rewards of all replies."""
    return pd.concat([pairs[f"{side}_reward"] for side in SIDES])


def attributes(prompts: Iterable[str], replies: Iterable[str]) -> np.ndarray:
    """What is read of each reply, in numbers; (n, attributes)."""
    seen = [read(*pair) for pair in zip(prompts, replies, strict=True)]
    return pd.DataFrame(seen)[ATTRIBUTES].to_numpy(float)


@cache
def linear_rule(subset: str) -> np.ndarray:
    """Weights of the attributes, by logistic regression on training pairs."""
    pairs = sample(subset, "train", 3000)
    chosen, rejected = (attributes(pairs["prompt"], pairs[side]) for side in SIDES)
    signs = np.where(np.arange(len(pairs)) % 2, 1, -1)
    model = LogisticRegression(fit_intercept=False, max_iter=1000)
    return model.fit((chosen - rejected) * signs[:, None], signs).coef_[0]


def expected_accuracy(pairs: pd.DataFrame, margins: np.ndarray) -> float:
    """The accuracy of margins over all labels that the true rewards could draw."""
    truth = (pairs["chosen_reward"] - pairs["rejected_reward"]).to_numpy()
    return float(expit(truth * np.sign(np.round(margins, 9))).mean())
