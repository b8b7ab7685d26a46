"""The cache with room holds what transformers' own holds, and copies less."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, Gemma2Config, LlamaConfig

from helpers.models.kv_cache import ROOM, RoomyLayer, roomy_cache

CONFIG = LlamaConfig(num_hidden_layers=1)
STEPS = st.one_of(
    st.tuples(st.just("read"), st.integers(1, ROOM + 5)),
    st.tuples(st.just("select"), st.lists(st.integers(0, 1), min_size=1, max_size=4)),
    st.tuples(st.just("crop"), st.integers(1, 3)),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=8), seed=st.integers(0, 99))
def test_it_holds_what_the_librarys_own_holds(steps: list, seed: int) -> None:
    caches = [roomy_cache(CONFIG), DynamicCache(config=CONFIG)]
    random = torch.Generator().manual_seed(seed)
    rows = 3
    for kind, value in [("read", 4), *steps]:
        if kind == "read":
            new = torch.randn(2, rows, 2, value, 5, generator=random)
            ours, theirs = (cache.update(*new, 0) for cache in caches)
            assert all(map(torch.equal, ours, theirs))
        elif kind == "select":
            index = torch.tensor([each % rows for each in value])
            rows = len(value)
            for cache in caches:
                cache.batch_select_indices(index)
        elif caches[1].get_seq_length() > value:
            for cache in caches:
                cache.crop(-value)
        assert caches[0].get_seq_length() == caches[1].get_seq_length()


def test_what_was_read_stays_in_place() -> None:
    cache = roomy_cache(CONFIG)
    token = torch.randn(2, 3, 2, 1, 5)
    places = {cache.update(*token, 0)[0].data_ptr() for _ in range(ROOM + 1)}
    assert len(places) == 1
    assert cache.update(*token, 0)[0].data_ptr() not in places
    assert cache.get_seq_length() == ROOM + 2


def test_blocks_with_a_window_keep_their_own_cache() -> None:
    kinds = [type(layer) for layer in roomy_cache(Gemma2Config()).layers[:2]]
    assert kinds[1] is RoomyLayer and not issubclass(kinds[0], RoomyLayer)
