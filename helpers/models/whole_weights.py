"""Whether a model that was loaded is whole: all its tensors, of its shapes, finite.

The library draws what is missing at random and says so in a log. Here that is an error,
but for the head of a scorer where one is to be new.
"""

import re
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from helpers.core.model_files import ModelError

SHOWN = 3  # names of tensors in a message


def check_whole(
    model: PreTrainedModel,
    report: Mapping[str, Collection],
    source: object,
    new_head: bool = False,
) -> None:
    """Raise ModelError, naming tensors, unless `source` gave a model all it has.

    report: the library's, of `output_loading_info`. A head that is not used, of a language
    model or a scorer, is no fault; `new_head`: nor is one that is missing.
    """
    missing = [
        name
        for name in report["missing_keys"]
        if not (new_head and in_head(name, model.base_model_prefix))
    ]
    if missing:
        what = f"{len(missing)} of {len(model.state_dict())} tensors are missing"
        raise ModelError(
            f"{source}: not a whole {kind(model)}: {what}: {some(missing)}"
        )
    for name, found, expected in sorted(report["mismatched_keys"]):
        raise ModelError(
            f"{source}: {name} is {tuple(found)}: expected {tuple(expected)}, the shape "
            f"that its config.json gives a {kind(model)}"
        )
    if further := further_layers(report["unexpected_keys"], model.state_dict()):
        raise ModelError(
            f"{source}: {len(further)} tensors are of layers that its config.json does "
            f"not have: {some(further)}"
        )
    if name := not_finite(model.named_parameters()):
        raise ModelError(f"{source}: {name} has weights that are no finite numbers")


def in_head(name: str, trunk: str) -> bool:
    """Whether a tensor is outside of the trunk, or a pooler, which feeds a head."""
    return not name.startswith(f"{trunk}.") or ".pooler." in name


def further_layers(unexpected: Iterable[str], known: Iterable[str]) -> list[str]:
    """Names that differ from a known one in numbers only: of layers that are not there."""
    forms = {re.sub(r"\d+", "0", name) for name in known}
    return [name for name in unexpected if re.sub(r"\d+", "0", name) in forms]


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds a nan or an infinity; None if none does.

    The smallest and the largest number tell: both are nan where any is.
    """
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel():
            ends = torch.stack(torch.aminmax(tensor.detach()))
            if not ends.isfinite().all():
                return name
    return None


def kind(model: PreTrainedModel) -> str:
    """What a model is, by its class."""
    return type(model).__name__


def some(names: Collection[str]) -> str:
    """The first few of some names, in order."""
    first = sorted(names)[:SHOWN]
    return ", ".join(first) + (", ..." if len(names) > SHOWN else "")
