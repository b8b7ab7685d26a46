"""Two replies, one prompt: a batch of pairs whose shared prompts are encoded once.

Trainers of preferences put chosen replies in the upper half of a batch and rejected ones
in the lower, each after its own copy of the prompt. Here a causal model learns to read
such a batch as rows of prompt, chosen, rejected, in which the replies do not see each
other, and to answer as if it had read the copies. Losses, logs and heads stay as they
are: only the trunk's forward changes.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

# families whose trunk takes positions and a mask of queries by keys; tested, each of them
SHARING = ("opt", "gpt2", "gpt_neox", "llama", "qwen2", "qwen3")


class Packing:
    """Where each token of a batch of pairs goes when prompts are shared, and back.

    `ids` (2B, L) and `mask` (2B, L), padded on the right: row b is the chosen dialogue
    of pair b, row B + b the rejected one. All results have B rows of K <= 2 L tokens:
    `ids`, `positions`, and `mask` (B, 1, K, K), True where a query may see a key.
    Raises ValueError for an odd number of rows, or rows padded on the left.
    """

    def __init__(self, ids: Tensor, mask: Tensor) -> None:
        if len(ids) % 2 or not mask[:, 0].all():
            raise ValueError(
                f"pairs: expected chosen and rejected rows padded on the right, got "
                f"{len(ids)} rows, first column {mask[:, 0].tolist()}"
            )
        half, width = len(ids) // 2, ids.shape[1]
        first, second = mask.sum(1, keepdim=True).split(half)  # lengths (B, 1)
        prefix = shared_prefix(ids, mask)
        column = torch.arange(int((first + second - prefix).max()), device=ids.device)
        in_second = column >= first  # the rest of the rejected dialogue, or padding
        positions = torch.where(in_second, column - first + prefix, column)
        rows = torch.arange(half, device=ids.device).unsqueeze(1)
        source = (rows + half * in_second) * width + positions.clamp(max=width - 1)
        self.ids = ids.flatten()[source]
        self.positions = positions.clamp(max=width - 1)
        self.mask = visible(column, prefix, first, second)

        at = torch.arange(width, device=ids.device)
        moved = torch.where(at < prefix, at, at - prefix + first)
        target = torch.cat([at.expand(half, -1), moved])
        target = target.clamp(max=len(column) - 1)  # padding may point anywhere
        self.target = torch.cat([rows, rows]) * len(column) + target

    def unpack(self, states: Tensor) -> Tensor:
        """States of the packed tokens (B, K, H) as those of the batch (2B, L, H)."""
        return states.flatten(0, 1)[self.target]


def shared_prefix(ids: Tensor, mask: Tensor) -> Tensor:
    """How many tokens each pair's two rows share at their start, (B, 1)."""
    half = len(ids) // 2
    same = (ids[:half] == ids[half:]) & mask[:half].bool() & mask[half:].bool()
    return same.long().cumprod(1).sum(1, keepdim=True)


def visible(column: Tensor, prefix: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The mask (B, 1, K, K): a token sees what is before it, but not the other reply."""
    branch = (column >= prefix).long() + (column >= first)
    branch = branch + (column >= first + second - prefix)  # 0, 1, 2; 3 is padding
    same = branch.unsqueeze(2) == branch.unsqueeze(1)
    shared = (branch == 0).unsqueeze(1)
    earlier = column.unsqueeze(1) >= column
    return ((same | shared) & earlier).unsqueeze(1)


def can_share(model: PreTrainedModel) -> bool:
    """Whether this model's family is known to give the same states when packed."""
    return model.config.model_type in SHARING and model.config._attn_implementation in (
        "sdpa",
        "eager",
    )


@contextmanager
def sharing_prompts(model: PreTrainedModel) -> Iterator[bool]:
    """While it lasts, `model` reads every batch as pairs; gives whether it can.

    Batches are halves of chosen and rejected dialogues, padded on the right. The states
    are the same up to rounding, for all families in `SHARING`; other models read their
    batches as before.
    """
    if not can_share(model):
        yield False
        return
    trunk = trunk_of(model)
    trunk.forward = MethodType(packed_forward(type(trunk).forward), trunk)
    try:
        yield True
    finally:
        del trunk.forward


def trunk_of(model: PreTrainedModel) -> nn.Module:
    """The stack of blocks that a head is put on."""
    base = model.base_model
    return getattr(base, "decoder", base)


def packed_forward(stock):
    """A trunk's forward that packs a batch of pairs first and unpacks its states."""

    @functools.wraps(stock)
    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        packing = Packing(input_ids, attention_mask)
        kwargs |= {"position_ids": packing.positions, "use_cache": False}
        output = stock(
            self, input_ids=packing.ids, attention_mask=packing.mask, **kwargs
        )
        output.last_hidden_state = packing.unpack(output.last_hidden_state)
        return output

    return forward
