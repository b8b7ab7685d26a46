"""Whether a language model says the same in parts: trunk, cache and head called apart."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from helpers.core.flops import aside
from helpers.core.model_files import ModelError, told_in_one_line
from helpers.models.generation import decode
from helpers.models.language_heads import logits_of

PROBE = ((5, 7, 6, 4, 5), (6, 4))  # ids of two prompts; the shorter one is padded
NEXT = 4  # what follows them
LARGEST = 0.05  # difference of two logits, in spreads of all of them


@aside()
def check_own_forward(model: PreTrainedModel, source: object) -> None:
    """Raise ModelError if replies sampled here would not be those of the model itself.

    Two replies of two tokens are sampled side by side, and the logits held against those
    of the model's own forward, which reads each text at once. It refuses families whose
    cache holds no keys and values, and heads that `language_heads` does not know.
    """
    with told_in_one_line(source, "a model that is sampled token by token"):
        sampled, whole = in_parts(model), at_once(model)
    apart = (sampled - whole).abs().max() / whole.std()
    if apart > LARGEST:
        family = model.config.model_type
        raise ModelError(
            f"{source}: token by token, {family} says something else than at once "
            f"(logits are up to {apart:.1f} spreads apart): expected a family with a cache "
            "of keys and values, and a head that is a product"
        )


@torch.inference_mode()
def in_parts(model: PreTrainedModel) -> Tensor:
    """Logits (2, 2, V) of the two tokens after each prompt; NEXT is taken."""

    def pick(_: Tensor, drawn: Tensor) -> Tensor:
        return torch.full_like(drawn, NEXT, dtype=torch.long)

    draws = torch.zeros(2, 2, device=model.device)
    prompts, never = list(map(list, PROBE)), lambda reply: False
    _, states = decode(model, prompts, pick, draws, never, keep_states=True)
    return logits_of(model, states).float()


@torch.inference_mode()
def at_once(model: PreTrainedModel) -> Tensor:
    """As `in_parts`, by the model's own forward."""
    rows = [torch.tensor([[*ids, NEXT]], device=model.device) for ids in PROBE]
    return torch.cat([model(ids).logits[:, -2:].float() for ids in rows])
