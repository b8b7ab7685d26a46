"""Batches of like length: every row once, within bounds, and as cheap as can be."""

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from helpers.models.batching import (
    PER_BATCH,
    budget_batches,
    cheap_batches,
    length_batches,
)

some_lengths = st.lists(st.integers(1, 300), max_size=9)


def cost(lengths: list[int], batches: list[list[int]]) -> int:
    """Tokens with padding, and what starting the batches costs."""
    padded = (len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return sum(padded) + PER_BATCH * len(batches)


def test_batches_hold_every_row_once_longest_first() -> None:
    lengths = [3, 9, 1, 9, 4]
    batches = list(length_batches(lengths, 2))
    assert sorted(row for batch in batches for row in batch) == [0, 1, 2, 3, 4]
    assert [lengths[row] for batch in batches for row in batch] == [9, 9, 4, 3, 1]


@given(lengths=some_lengths, size=st.integers(1, 10))
def test_no_other_cuts_of_the_sorted_rows_cost_less(lengths, size) -> None:
    batches = cheap_batches(lengths, size)
    order = [row for batch in batches for row in batch]
    assert order == sorted(range(len(lengths)), key=lambda row: -lengths[row])
    assert all(1 <= len(batch) <= size for batch in batches)
    inner = range(1, len(lengths))
    for count in range(len(lengths)):
        for cuts in combinations(inner, count):
            edges = [0, *cuts, len(lengths)]
            other = [order[a:b] for a, b in pairwise(edges)]
            if all(len(batch) <= size for batch in other):
                assert cost(lengths, batches) <= cost(lengths, other)


def test_short_rows_are_not_padded_to_long_ones() -> None:
    lengths = [600, 10, 10, 600, 10, 10]
    assert cheap_batches(lengths, 6) == [[0, 3], [1, 2, 4, 5]]
    assert cheap_batches([10, 9, 8], 6) == [[0, 1, 2]]  # nor cut for a token or two


@given(
    lengths=st.lists(st.integers(1, 50), max_size=20),
    budget=st.integers(1, 200),
    together=st.integers(1, 4),
)
def test_batches_of_a_budget_keep_to_it_and_can_be_shared(lengths, budget, together):
    found = budget_batches(lengths, budget, together)
    rows = [row for batch in found for row in batch]
    assert set(rows) == {*range(len(lengths))}
    assert len(rows) - len(lengths) == -len(lengths) % together  # these come twice
    for batch in found:
        assert len(batch) % together == 0
        longest = max(lengths[row] for row in batch)
        assert len(batch) == together or len(batch) * longest <= budget
