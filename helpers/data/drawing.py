"""Drawing pairs by seed, and scoring both sides of them in one call."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd

T = TypeVar("T")


def draw(pairs: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """The first `count` of a seeded shuffle: a smaller draw is a part of a larger one."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    return pairs.iloc[order[:count]]


def both_sides(
    score: Callable[[list[str], list[str]], T], pairs: pd.DataFrame
) -> list[T]:
    """What `score(prompts, replies)` says of the chosen and of the rejected replies."""
    prompts, count = pairs["prompt"].tolist(), len(pairs)
    # in one call, so that both replies to a prompt can be read together
    both = score(prompts * 2, [*pairs["chosen"], *pairs["rejected"]])
    return [both[:count], both[count:]]
