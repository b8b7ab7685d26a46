"""TRL's trainers, thin: our token ids, logits at labelled positions, the CodePMP loss.

TRL keeps the loop, the optimiser, logging, checkpoints and devices. Off CUDA, where TRL
has no Triton kernel, the language head looks at labelled positions only.
"""

import functools
from dataclasses import dataclass
from types import MethodType

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl import DPOTrainer, RewardTrainer, SFTTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference
from trl.trainer.utils import FusedCausalLMOutput

from helpers import losses
from helpers.generate import token_scores

# --- the language head ---------------------------------------------------------------


def score_labelled_positions(model: PreTrainedModel) -> None:
    """Replace TRL's fused head, which off CUDA scores every position, in place.

    The new one computes logits where there is a label, and the same outputs: shapes
    (batch, length - 1), zero where the label is -100.
    """
    stock = type(model).forward

    @functools.wraps(stock)
    def forward(self, *args, fused_lm_head=False, labels=None, **kwargs):
        if not fused_lm_head:
            return stock(self, *args, labels=labels, **kwargs)
        items = kwargs.pop("num_items_in_batch", None)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]
        return labelled_output(self.get_output_embeddings(), hidden, labels, items)

    model.forward = MethodType(forward, model)


def labelled_output(
    head: nn.Module, hidden: Tensor, labels: Tensor, items: Tensor | int | None
) -> FusedCausalLMOutput:
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

    return FusedCausalLMOutput(
        loss=-chosen.sum() / (mask.sum().clamp(min=1) if items is None else items),
        log_probs=spread(chosen),
        entropy=spread(entropy),
        mean_logits=spread(mean_logits),
        is_top1=spread(top1),
        label_mask=mask,
    )


# --- trainers ------------------------------------------------------------------------


class Prepared:
    """Mix-in for TRL's trainers: the data set is tokenised already; keep it as it is."""

    def _prepare_dataset(self, dataset: Dataset, *args, **kwargs) -> Dataset:
        return dataset


class ReplyTrainer(Prepared, SFTTrainer):
    """TRL's SFT trainer on our token ids."""

    def __init__(self, model: PreTrainedModel, **kwargs):
        super().__init__(model, **kwargs)
        if not torch.cuda.is_available():
            score_labelled_positions(self.model)


class PreferenceTrainer(Prepared, DPOTrainer):
    """TRL's DPO trainer on our token ids; the reference is the model it starts from."""

    def __init__(self, model: PreTrainedModel, **kwargs):
        super().__init__(model, **kwargs)
        if not torch.cuda.is_available():
            score_labelled_positions(self.model)

    def _precompute_ref_logps(self, dataset: Dataset, *args) -> Dataset:
        """Reference log-probabilities of both replies, in batches of like length."""
        for side in ("chosen", "rejected"):
            pairs = list(zip(dataset["prompt_ids"], dataset[f"{side}_ids"]))
            sums = [float(each.sum()) for each in token_scores(self.model, pairs)]
            dataset = dataset.add_column(f"ref_{side}_logps", sums)
        return dataset


class RewardModelTrainer(Prepared, RewardTrainer):
    """TRL's reward trainer on our token ids."""


class PreferenceModelTrainer(RewardModelTrainer):
    """CodePMP (arXiv 2410.02229): reward loss on the pair, language loss on the chosen.

    `rm_coef` and `lm_coef` weigh the two; the paper sets both to 1, its controls set one
    of them to 0. A plain reward model is the case (1, 0), which TRL computes itself.
    """

    def __init__(self, model, *, rm_coef: float, lm_coef: float, pad: int, **kwargs):
        self.coefs = {"rm_coef": rm_coef, "lm_coef": lm_coef}
        super().__init__(model, data_collator=LabelledPairs(pad), **kwargs)

    def compute_loss(
        self, model, inputs, return_outputs=False, num_items_in_batch=None
    ):
        labels = inputs.pop("labels")
        hidden = model.base_model(**inputs).last_hidden_state
        last = inputs["attention_mask"].sum(-1) - 1
        rewards = model.score(hidden[torch.arange(len(last)), last]).squeeze(-1)
        chosen, rejected = rewards.chunk(2)
        head = model.lm_head
        half = len(labels)
        logps = labelled_output(head, hidden[:half, :-1], labels, None).log_probs
        loss = losses.pmp(
            chosen, rejected, logps, (labels[:, 1:] != -100), **self.coefs
        )
        accuracy = (chosen > rejected).float().mean().item()
        self._metrics["train"]["accuracy"].append(accuracy)
        return (loss, rewards) if return_outputs else loss


@dataclass
class LabelledPairs(DataCollatorForPreference):
    """TRL's pair batches, and `labels`: the chosen replies' tokens, -100 elsewhere."""

    def torch_call(self, examples: list[dict]) -> dict[str, Tensor]:
        batch = super().torch_call(examples)
        labels = batch["input_ids"][: len(examples)].clone()
        labels[batch["attention_mask"][: len(examples)] == 0] = -100
        for row, example in enumerate(examples):
            labels[row, : example["reply_start"]] = -100
        return {**batch, "labels": labels}
