"""From a trunk's states to logits: the head, and what a family does after it.

Here trunks and heads are called apart, so that logits are computed only where somebody
reads them. Whether that says the same as a model's own forward is asked when it is loaded.
"""

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel


def logits_of(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Logits (..., V) of the trunk's states (..., H), as the model's forward gives them."""
    return after_head(model.get_output_embeddings()(states), model.config)


def after_head(logits: Tensor, config: PretrainedConfig) -> Tensor:
    """What follows the product with the head: Gemma 2 caps, Cohere and Granite scale."""
    config = config.get_text_config()
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = cap * torch.tanh(logits / cap)
    scale = getattr(config, "logit_scale", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    return logits if scale == 1.0 else logits * scale
