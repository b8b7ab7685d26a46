"""FlexAttention where a mask says which query sees which key.

A boolean mask (B, 1, Q, K), as SDPA takes it, becomes blocks, and those in which nobody
sees anything are passed over; transformers alone would add such a mask to the scores.
Load a model with `attn_implementation="flex_attention"`; training needs a GPU.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface
from transformers.integrations.flex_attention import flex_attention_forward

NAME = "flex_attention"  # in place of transformers' own, which it calls


@lru_cache(maxsize=2)  # one for all blocks of a model, one for its last
def block_mask(mask: Tensor) -> BlockMask:
    """Blocks of a mask (B, 1, Q, K), True where a query may see a key."""
    rows, _, queries, keys = mask.shape

    def sees(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return mask[row, 0, query, key]

    return create_block_mask(sees, rows, None, queries, keys, device=mask.device)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    **kwargs,
) -> tuple[Tensor, Tensor | None]:
    """As transformers' own, for boolean masks too."""
    if isinstance(attention_mask, Tensor) and attention_mask.dtype == torch.bool:
        attention_mask = block_mask(attention_mask)
    given = (query, key, value, attention_mask)
    return flex_attention_forward(module, *given, **kwargs)


AttentionInterface.register(NAME, attention)
