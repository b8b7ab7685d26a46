"""TRL's trainers, thin: pairs are tokenised once, by us, and only reply tokens scored.

TRL keeps the loop, the optimiser, logging, checkpoints and devices. Ours is what HH
needs: prompts cut from the left, one end-of-turn token per reply, the CodePMP loss, and
a language head that looks at labelled positions only where TRL has no Triton kernel.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from types import MethodType

import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl import (
    DPOConfig,
    DPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)
from trl.trainer.reward_trainer import DataCollatorForPreference
from trl.trainer.utils import FusedCausalLMOutput

from helpers import losses
from helpers.generate import encode, token_scores
from helpers.jobs import Progress


@dataclass(frozen=True)
class Fit:
    """How long and how fast one model is trained; the same words for every trainer."""

    learning_rate: float
    batch_size: int
    epochs: float = 1.0
    seed: int = 0
    warmup: float = 0.1  # share of the steps
    schedule: str = "linear"
    weight_decay: float = 0.0
    max_length: int = 256  # tokens of prompt and reply together


# --- data ----------------------------------------------------------------------------


def pair_dataset(
    pairs: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Dataset:
    """Token ids of each pair: `prompt_ids`, `chosen_ids`, `rejected_ids`, `length`.

    The prompt is cut to what the longer reply leaves, so both replies see the same one.
    """
    rows = []
    for pair in pairs.itertuples():
        prompt_c, chosen = encode(tokenizer, pair.prompt, pair.chosen, max_length)
        prompt_r, rejected = encode(tokenizer, pair.prompt, pair.rejected, max_length)
        prompt = min(prompt_c, prompt_r, key=len)
        length = len(prompt) + max(len(chosen), len(rejected))
        rows.append((prompt, chosen, rejected, length))
    names = ["prompt_ids", "chosen_ids", "rejected_ids", "length"]
    return Dataset.from_dict(dict(zip(names, map(list, zip(*rows)), strict=True)))


def as_sequences(pairs: Dataset) -> Dataset:
    """Whole sequences for the reward trainers, and where the reply starts in them."""
    return pairs.map(
        lambda pair: {
            "chosen_ids": pair["prompt_ids"] + pair["chosen_ids"],
            "rejected_ids": pair["prompt_ids"] + pair["rejected_ids"],
            "reply_start": len(pair["prompt_ids"]),
        },
        remove_columns=["prompt_ids"],
    )


def reply_dataset(
    prompts: list[str],
    replies: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    whole: bool = False,
) -> Dataset:
    """Prompt and reply as one sequence, with a mask of what is learned.

    `whole=False` learns the reply only (SFT), `whole=True` every token (base model).
    """
    rows = []
    for prompt, reply in zip(prompts, replies, strict=True):
        prompt_ids, reply_ids = encode(tokenizer, prompt, reply, max_length)
        mask = [int(whole)] * len(prompt_ids) + [1] * len(reply_ids)
        rows.append((prompt_ids + reply_ids, mask, len(mask)))
    names = ["input_ids", "completion_mask", "length"]
    return Dataset.from_dict(dict(zip(names, map(list, zip(*rows)), strict=True)))


# --- what the trainers share ---------------------------------------------------------


def arguments(fit: Fit, out: Path, rows: int) -> dict:
    """TRL's arguments for a `Fit`: quiet, seeded, nothing reported, nothing uploaded."""
    steps = math.ceil(rows / fit.batch_size) * fit.epochs
    decays = fit.schedule == "warmup_stable_decay"
    cuda = torch.cuda.is_available()
    # T4 and older only emulate bfloat16, slowly: ask the chip, not the library
    native_bf16 = cuda and torch.cuda.get_device_capability() >= (8, 0)
    return dict(
        output_dir=str(out),
        learning_rate=fit.learning_rate,
        per_device_train_batch_size=fit.batch_size,
        num_train_epochs=fit.epochs,
        warmup_steps=fit.warmup,
        lr_scheduler_type=fit.schedule,
        lr_scheduler_kwargs={"num_decay_steps": int(steps / 10)} if decays else None,
        weight_decay=fit.weight_decay,
        seed=fit.seed,
        data_seed=fit.seed,
        train_sampling_strategy="group_by_length",
        remove_unused_columns=False,  # the sampler reads `length`
        use_cpu=not torch.accelerator.is_available(),
        bf16=native_bf16,
        gradient_checkpointing=cuda,
        report_to="none",
        save_strategy="no",
        logging_steps=0.05,
        disable_tqdm=True,
        max_length=None,
    )


def run(trainer) -> list[dict]:
    """Train, and return its log as records: one row per metric and step."""
    trainer.remove_callback(PrinterCallback)
    progress = Progress("training")
    trainer.add_callback(progress.callback())
    trainer.train()
    rows = []
    for entry in trainer.state.log_history:
        for name in ("loss", "accuracy", "rewards/accuracies", "mean_token_accuracy"):
            if name in entry:
                metric = f"train_{name.split('/')[-1]}"
                row = {"metric": metric, "step": entry["step"], "value": entry[name]}
                rows.append(row)
    flops = trainer.state.total_flos
    return [*rows, {"metric": "train_flops", "value": float(flops)}]


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


# --- drivers: one per kind of training -------------------------------------------------


def fit_language_model(
    model: PreTrainedModel, tokenizer, data: Dataset, fit: Fit, out: Path
) -> list[dict]:
    """Next-token loss on the masked-in tokens of `data` (SFT, base model, coders)."""
    config = SFTConfig(**arguments(fit, out, len(data)), completion_only_loss=True)
    trainer = ReplyTrainer(
        model, args=config, train_dataset=data, processing_class=tokenizer
    )
    return run(trainer)


def fit_reward_model(
    scorer: PreTrainedModel, tokenizer, data: Dataset, fit: Fit, out: Path
) -> list[dict]:
    """Bradley-Terry loss on pairs."""
    config = RewardConfig(**arguments(fit, out, len(data)))
    trainer = RewardModelTrainer(
        scorer,
        args=config,
        train_dataset=as_sequences(data),
        processing_class=tokenizer,
    )
    return run(trainer)


def fit_preference_model(
    scorer: PreTrainedModel,
    head: nn.Linear,
    tokenizer,
    data: Dataset,
    fit: Fit,
    out: Path,
    **coefs: float,
) -> list[dict]:
    """CodePMP loss on pairs; `head` is the base model's language head.

    The head is trained along (tied to the embeddings where the model ties it) and left
    out of what is saved: reward models start from the trunk and the score head.
    """
    scorer.lm_head = head
    if scorer.config.tie_word_embeddings:
        scorer.lm_head.weight = scorer.get_input_embeddings().weight
    trainer = PreferenceModelTrainer(
        scorer,
        args=RewardConfig(**arguments(fit, out, len(data))),
        train_dataset=as_sequences(data),
        processing_class=tokenizer,
        pad=tokenizer.pad_token_id,
        **coefs,
    )
    rows = run(trainer)
    del scorer.lm_head
    return rows


def fit_dpo(
    policy: PreTrainedModel, tokenizer, data: Dataset, fit: Fit, out: Path, beta: float
) -> list[dict]:
    """DPO loss (Rafailov et al. 2023, eq. 7); the reference is `policy` as it comes."""
    settings = arguments(fit, out, len(data))
    config = DPOConfig(**settings, beta=beta, precompute_ref_log_probs=True)
    trainer = PreferenceTrainer(
        policy, args=config, train_dataset=data, processing_class=tokenizer
    )
    return run(trainer)
