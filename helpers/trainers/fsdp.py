"""A model whose weights FSDP spreads over processes, and its way back to a whole one.

What follows a training here reads its model and saves it as if it had never been in
parts. Zhao et al. (arXiv 2304.11277) describe FSDP; this is torch's second, FSDP2.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
)


@contextmanager
def whole_afterwards(model: nn.Module) -> Iterator[None]:
    """While it lasts `model` may be sharded; then it is whole on every process, in place.

    All processes have to leave it together, for they exchange their parts. Accelerate's
    `get_state_dict` asks torch for the same and leaves it on the first process only.
    """
    twin = without_weights(model)
    yield
    weights = get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True)
    )
    for name, parameter in twin.named_parameters():
        parameter.data = weights[name]
    for module, plain in zip(list(model.modules()), list(twin.modules()), strict=True):
        module.__class__, module.__dict__ = type(plain), plain.__dict__


def without_weights(model: nn.Module) -> nn.Module:
    """A copy of a model whose parameters have shapes, but no memory of their own."""
    empty = {
        id(each): nn.Parameter(
            each.new_empty(()).expand(each.shape), each.requires_grad
        )
        for each in model.parameters()
    }
    return copy.deepcopy(model, empty)
