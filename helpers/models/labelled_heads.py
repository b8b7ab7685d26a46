"""Heads that look only where they are asked, inside their model's forward.

A language head reads labelled positions, a score head the last token that attention
masks do not hide.

Inside, because what wraps a model, to spread it over processes or to compute in half
precision, must see all of its work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from types import MethodType

import torch
from accelerate.utils import is_peft_model
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast
from trl.trainer.utils import FusedCausalLMOutput

from helpers.models.language_heads import after_head, logits_of
from helpers.models.prompt_sharing import last_tokens


@dataclass
class LabelledOutput(FusedCausalLMOutput):
    """TRL's output, of a head that is a module: `flops` counts it by itself."""


def score_labelled_positions(model: PreTrainedModel) -> None:
    """Replace TRL's fused head, which without Triton scores every position, in place.

    The new one computes logits where there is a label, and the same outputs: shapes
    (batch, length - 1), zero where the label is -100.
    """
    if is_peft_model(model):
        model = model.get_base_model()
    stock = type(model).forward

    @wraps(stock)
    def forward(self, *args, fused_lm_head=False, labels=None, **kwargs):
        if not fused_lm_head:
            return stock(self, *args, labels=labels, **kwargs)
        items = kwargs.pop("num_items_in_batch", None)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]
        return labelled_output(partial(logits_of, self), hidden, labels, items)

    model.forward = MethodType(forward, model)


def score_last_tokens(scorer: PreTrainedModel) -> None:
    """Let a scorer read each row (n, L) at the last token of its attention mask, in place.

    The stock forward looks for the last token that is no padding: where the end token
    pads, that is the one before the end. The output is as of the stock one: logits (n, 1).

    With labels (B, L) of its first rows, a scorer that has an `lm_head` gives the rewards
    (n,) and, of the labelled rows, log-probabilities and the mask (B, L - 1).
    """
    stock = type(scorer).forward

    @wraps(stock)
    def forward(self, input_ids, attention_mask, labels=None, **kwargs):
        output = self.base_model(input_ids, attention_mask=attention_mask, **kwargs)
        hidden = output.last_hidden_state
        rewards = self.score(hidden[last_tokens(attention_mask)])
        if labels is None:
            return SequenceClassifierOutputWithPast(logits=rewards)

        def logits(states: Tensor) -> Tensor:
            return after_head(self.lm_head(states), self.config)

        output = labelled_output(logits, hidden[: len(labels), :-1], labels, None)
        return rewards.squeeze(-1), output.log_probs, output.label_mask

    scorer.forward = MethodType(forward, scorer)


def labelled_output(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    labels: Tensor,
    items: Tensor | int | None,
) -> LabelledOutput:
    """Log-probability and statistics of each labelled token from its hidden state."""
    targets = labels[:, 1:]
    mask = targets != -100
    logits = head(hidden[mask]).float()
    log_probs = logits.log_softmax(-1)
    chosen = log_probs.gather(-1, targets[mask].unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        top1 = logits.argmax(-1) == targets[mask]
        mean_logits = logits.mean(-1)

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    return LabelledOutput(
        loss=-chosen.sum() / (mask.sum().clamp(min=1) if items is None else items),
        log_probs=spread(chosen),
        entropy=spread(entropy),
        mean_logits=spread(mean_logits),
        is_top1=spread(top1),
        label_mask=mask,
    )
