"""Two replies, one prompt: a batch of pairs whose shared prompts are encoded once.

Trainers of preferences put chosen replies in the upper half of a batch and rejected ones
in the lower, each after its own copy of the prompt. Here a causal model learns to read
such a batch as rows of prompt, chosen, rejected, in which the replies do not see each
other, and to answer as if it had read the copies. Its last block works only where a head
will read. Losses, logs and heads stay as they are: only the trunk's forward changes.
"""

import functools
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from helpers.models import flex

# families whose trunk takes positions and a mask of queries by keys; tested, each of them
SHARING = ("opt", "gpt2", "gpt_neox", "llama", "qwen2", "qwen3")
MASKING = ("sdpa", flex.NAME)  # kinds of attention

# --- packing -------------------------------------------------------------------------


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
        self.target = target.clamp(max=len(column) - 1)  # padding may point anywhere

    def unpack(self, states: Tensor) -> Tensor:
        """States of the packed tokens (B, K, H) as those of the batch (2B, L, H)."""
        start = torch.arange(len(states), device=states.device) * states.shape[1]
        flat = self.target + torch.cat([start, start]).unsqueeze(1)
        found = states.flatten(0, 1).index_select(0, flat.flatten())
        return found.view(*flat.shape, -1)

    def columns(self, read: Tensor) -> Tensor:
        """Packed columns (B, S) of every token where `read` (2B, L) is True."""
        needed = torch.zeros_like(self.ids, dtype=torch.bool)
        rows = torch.arange(len(needed), device=read.device).repeat(2).unsqueeze(1)
        needed[rows.expand_as(read)[read], self.target[read]] = True
        return columns_of(needed)


def columns_of(needed: Tensor) -> Tensor:
    """Columns (B, S) that hold every place where `needed` (B, K) is True.

    Rows that need fewer than S have others beside, none of them twice.
    """
    count = int(needed.sum(1).max())
    return needed.byte().argsort(dim=1, descending=True, stable=True)[:, :count]


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


def last_tokens(mask: Tensor) -> Tensor:
    """True at the last token of each row; `mask` and result (B, L)."""
    return mask.bool() & (mask.flip(1).cumsum(1).flip(1) == 1)


# --- the model -----------------------------------------------------------------------


def can_share(model: PreTrainedModel) -> bool:
    """Whether this model's family is known to give the same states when packed."""
    config = model.config  # these take a boolean mask as it is meant
    return config.model_type in SHARING and config._attn_implementation in MASKING


@functools.cache
def warn_of_copies(family: str) -> None:
    """Say, once for each family, that its prompts are read twice."""
    logging.getLogger(__name__).warning(
        "%s models do not share prompts: both replies are read after their own copy",
        family,
    )


@contextmanager
def sharing_prompts(
    model: PreTrainedModel, read: Tensor | None = None
) -> Iterator[bool]:
    """While it lasts, `model` reads every batch as pairs; gives whether it can.

    Batches are halves of chosen and rejected dialogues, padded on the right. Where
    `read` (2B, L) is True, or everywhere if there is none, the trunk's states are the
    same up to rounding; elsewhere they have no meaning. Holds for all families in
    `SHARING`; other models read their batches as before, and a warning says so.
    """
    if not can_share(model):
        warn_of_copies(model.config.model_type)
        yield False
        return
    trunk = model.get_decoder()
    trunk.forward = MethodType(packed_forward(type(trunk).forward, read), trunk)
    try:
        yield True
    finally:
        del trunk.forward


def packed_forward(stock, read: Tensor | None):
    """A trunk's forward that packs a batch of pairs first and unpacks its states."""

    @functools.wraps(stock)
    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        packing = Packing(input_ids, attention_mask)
        kwargs |= {"position_ids": packing.positions, "use_cache": False}
        kwargs |= {"input_ids": packing.ids, "attention_mask": packing.mask}
        columns = None if read is None else packing.columns(read)
        with last_block_at(self, columns):
            output = stock(self, **kwargs)
        output.last_hidden_state = packing.unpack(output.last_hidden_state)
        return output

    return forward


# --- the last block ------------------------------------------------------------------


class _Keys(Exception):
    """Stands where a block expects a cache: keeps the keys and values of a whole row.

    The first update breaks the block off, since no more than these was wanted of it.
    """

    kept: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, layer: int, *_):
        if self.kept is None:
            self.kept = keys, values
            raise self
        return self.kept


@contextmanager
def last_block_at(trunk: nn.Module, columns: Tensor | None) -> Iterator[None]:
    """While it lasts, the last block works at `columns` (B, S) only; None: at all.

    Nothing follows it that mixes tokens, so nobody misses the states of the others,
    which are 0. They still give it their keys and values.
    """
    if columns is None:
        yield
        return
    blocks = next(m for m in trunk.children() if isinstance(m, nn.ModuleList))
    block = blocks[-1]
    # below activation checkpointing, which allows no cache and would save nothing here
    stock = inspect.unwrap(type(block).forward)
    signature = inspect.signature(stock)
    cache = next(
        n for n in ("past_key_values", "layer_past") if n in signature.parameters
    )

    def forward(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs).arguments
        whole = given.pop("kwargs", {}) | given | {cache: _Keys()}
        try:
            stock(**whole)
        except _Keys:
            pass
        if not isinstance(whole.get("attention_mask"), Tensor):  # causal: to be said
            width = whole["hidden_states"].shape[1]
            square = torch.ones(1, 1, width, width, device=columns.device)
            whole["attention_mask"] = square.bool().tril()
        part = stock(**{name: at(columns, each) for name, each in whole.items()})
        states = part.new_zeros(*whole["hidden_states"].shape)
        return states.scatter(1, columns.unsqueeze(-1).expand_as(part), part)

    block.forward = MethodType(forward, block)
    try:
        yield
    finally:
        del block.forward


def at(columns: Tensor, value):
    """The part of a block's argument that belongs to `columns` (B, S).

    States and positions have tokens in their second dimension, masks (B, 1, K, K) in
    the third, and one row where all are alike; what is no tensor stays as it is.
    """
    if isinstance(value, tuple):
        return tuple(at(columns, each) for each in value)
    if not isinstance(value, Tensor):
        return value
    value = value.expand(len(columns), *value.shape[1:])
    dim = 2 if value.dim() == 4 else 1
    index = columns.view(
        len(columns), *[1] * (dim - 1), -1, *[1] * (value.dim() - dim - 1)
    )
    shape = [*value.shape[:dim], columns.shape[1], *value.shape[dim + 1 :]]
    return value.gather(dim, index.expand(shape))
