"""Adapters (LoRA) that are trained in place of all weights: where, and of what size."""

from peft import LoraConfig
from torch import nn
from transformers.pytorch_utils import Conv1D

# layers of queries and values, by the names that families have for them; some have one
# layer for both
LAYERS = (
    ("q_proj", "v_proj"),
    ("query_key_value",),
    ("qkv_proj",),
    ("c_attn",),
    ("Wqkv",),
)


def adapter(model: nn.Module, wanted: bool) -> LoraConfig | None:
    """The adapters of a causal model, if they are wanted.

    Of the size, and at the layers, of the OPT-350M study (arXiv 2509.09055). TRL switches
    dropout off in every model that DPO trains, this one too. Raises ValueError for a
    family of which `LAYERS` has no names.
    """
    if not wanted:
        return None
    known = {name.rpartition(".")[2]: module for name, module in model.named_modules()}
    targets = next((each for each in LAYERS if known.keys() >= set(each)), None)
    if targets is None:
        raise ValueError(
            f"{type(model).__name__}: expected layers named {', '.join(sum(LAYERS, ()))} "
            "to put adapters to; set adapters to false"
        )
    settings = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.05}
    transposed = isinstance(known[targets[0]], Conv1D)  # GPT-2's layers
    return LoraConfig(
        **settings, fan_in_fan_out=transposed, target_modules=list(targets)
    )
