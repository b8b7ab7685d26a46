"""Which rows are computed together: batches of like length, so that little is padded.

All give row numbers, longest first, so that memory peaks at once.
"""

from collections.abc import Iterator, Sequence

import numpy as np

PER_BATCH = 200  # tokens that take as long as a batch's start; measured on 2 cores


def length_batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Batches of `size` rows; the last may have fewer."""
    order = longest_first(lengths)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def cheap_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Batches of at most `size` rows, cut where all together cost least.

    A batch costs its rows times its longest, in tokens, and `PER_BATCH`. Found by
    dynamic programming: the cheapest way to batch the first n rows, for every n.
    """
    order = longest_first(lengths)
    longest = np.array([lengths[row] for row in order])
    cost, cut = np.zeros(len(order) + 1), np.zeros(len(order) + 1, int)
    for stop in range(1, len(order) + 1):
        starts = np.arange(max(0, stop - size), stop)
        costs = cost[starts] + longest[starts] * (stop - starts) + PER_BATCH
        cost[stop], cut[stop] = costs.min(), starts[costs.argmin()]
    batches, stop = [], len(order)
    while stop:
        batches.append(order[cut[stop] : stop])
        stop = cut[stop]
    return batches[::-1]


def budget_batches(
    lengths: Sequence[int], budget: int, together: int = 1
) -> list[list[int]]:
    """Batches whose rows times their longest stay within `budget` tokens.

    Rows come in groups of `together`, so that as many processes can share every batch
    out alike; the shortest row fills up the last group. A group that needs more than
    the budget by itself is alone.
    """
    order = longest_first(lengths)
    order += order[-1:] * (-len(order) % together)
    batches: list[list[int]] = []
    for start in range(0, len(order), together):
        group = order[start : start + together]
        rows = len(batches[-1]) + together if batches else 0
        if rows and lengths[batches[-1][0]] * rows <= budget:
            batches[-1] += group
        else:
            batches.append(group)
    return batches


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Row numbers, longest first; equal ones in their order."""
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])
