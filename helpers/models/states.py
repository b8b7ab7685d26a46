"""Reading replies: a batch of them, and the states where a reply token is predicted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    PreTrainedModel,
)

from helpers.models.language_heads import logits_of
from helpers.models.prompt_sharing import can_share, columns_of, last_block_at

# --- reading replies -----------------------------------------------------------------


def collate(
    pairs: Sequence[tuple[list[int], list[int]]], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Right-padded ids (B, L) of (prompt, reply) pairs, and a boolean mask (B, L - 1).

    The mask is True where the *next* token is a reply token. A causal model needs no
    attention mask for padding on the right, which keeps its fastest attention.
    """
    rows = [torch.tensor([*prompt, *reply]) for prompt, reply in pairs]
    ids = pad_sequence(rows, batch_first=True).to(device)
    starts = torch.tensor([len(prompt) for prompt, _ in pairs]).unsqueeze(1)
    stops = torch.tensor([len(row) for row in rows]).unsqueeze(1)
    target = torch.arange(1, ids.shape[1])
    return ids, ((target >= starts) & (target < stops)).to(device)


def reply_logits(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits (N, V) of the N reply tokens of a `collate`d batch, row after row."""
    return logits_of(model, reply_states(model, ids, mask)).float()


def reply_states(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """The trunk's states (N, H) before each of the N reply tokens, row after row."""
    return states_at(model, ids[:, :-1], mask)


def states_at(model: PreTrainedModel, ids: Tensor, read: Tensor) -> Tensor:
    """The trunk's states (N, H) where `read` (B, L) is True, rows padded on the right.

    Where the model's family allows it, the last block works at these places only.
    """
    trunk = model.get_decoder()
    with last_block_at(trunk, columns_of(read) if can_share(model) else None):
        output = trunk(input_ids=ids, use_cache=False)
    return output.last_hidden_state[read]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off, and put the model's mode back afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
