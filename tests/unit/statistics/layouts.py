"""Values of layouts whose truth is known, for tests of intervals."""

import numpy as np


def centred(
    random: np.random.Generator, seeds: int = 3, examples: int = 60
) -> np.ndarray:
    """Values of a two-way layout with mean 0, seeds and examples both random."""
    return (
        random.normal(scale=0.3, size=(seeds, 1))
        + random.normal(size=(1, examples))
        + random.normal(size=(seeds, examples))
    )
