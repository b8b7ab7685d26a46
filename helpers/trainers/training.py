"""Training one model: what all trainings share, and a driver per kind of training.

The trainers are TRL's, as `trainers` thins them; they learn from rows of `token_rows`.
"""

import math
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PrinterCallback
from trl import DPOConfig, RewardConfig, SFTConfig

from helpers.core.processes import processes
from helpers.core.progress import REPORT_TO, Progress
from helpers.models import hardware
from helpers.models.batching import budget_batches
from helpers.trainers import resumable
from helpers.trainers.adapters import adapter
from helpers.trainers.datasets import as_sequences, masked_sequences
from helpers.trainers.fsdp import whole_afterwards
from helpers.trainers.trl_trainers import (
    PreferenceModelTrainer,
    PreferenceTrainer,
    ReplyTrainer,
    RewardModelTrainer,
    TokenWeightedTrainer,
)

# of a trainer's log, what becomes a record; the norm is that of a gradient before its cut
LOGGED = ("loss", "grad_norm", "accuracy", "rewards/accuracies", "mean_token_accuracy")
# mixtures of experts learn the methods' losses, which the others learn, and no other: TRL
# would add one that keeps experts busy
LOSS_ALONE = {"router_aux_loss_coef": 0.0}


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
    token_budget: int = 0  # of pairs: fills batches up to so many tokens; 0: batch_size
    share_prompts: bool = True  # of pairs: a prompt is encoded once for both replies


# --- what the trainers share ---------------------------------------------------------


def arguments(fit: Fit, out: Path, steps: int, model: nn.Module | None = None) -> dict:
    """TRL's arguments for a `Fit`: quiet, seeded, nothing reported, nothing uploaded.

    `steps` are those of one epoch.
    """
    decays, tenth = fit.schedule == "warmup_stable_decay", int(steps * fit.epochs / 10)
    rows = fit.batch_size // processes()
    part = hardware.rows_a_pass(rows, model)
    return quiet_arguments(out, fit.seed, model) | dict(
        learning_rate=fit.learning_rate,
        per_device_train_batch_size=part,
        gradient_accumulation_steps=rows // part,
        num_train_epochs=fit.epochs,
        warmup_steps=fit.warmup,
        lr_scheduler_type=fit.schedule,
        lr_scheduler_kwargs={"num_decay_steps": tenth} if decays else None,
        weight_decay=fit.weight_decay,
        data_seed=fit.seed,
        train_sampling_strategy="group_by_length",
        remove_unused_columns=False,  # the sampler reads `length`
        activation_checkpointing=torch.cuda.is_available(),
        logging_steps=0.05,
        max_length=None,
    )


def quiet_arguments(out: Path, seed: int, model: nn.Module | None = None) -> dict:
    """What every trainer is told, online ones too: seeded, nothing reported or saved."""
    return dict(
        output_dir=str(out),
        seed=seed,
        use_cpu=not torch.accelerator.is_available(),
        bf16=hardware.reading_dtype(model) == torch.bfloat16,
        fp16=hardware.reading_dtype(model) == torch.float16,
        report_to=os.environ.get(REPORT_TO, "none"),
        save_strategy="no",
        disable_tqdm=True,
    )


def batches(fit: Fit, rows: int) -> int:
    """How many batches of the fit's size hold so many rows."""
    return math.ceil(rows / fit.batch_size)


def pair_arguments(fit: Fit, out: Path, pairs: Dataset, model: nn.Module) -> dict:
    """As `arguments`, for pairs, whose batches may be filled by tokens instead."""
    if fit.token_budget:
        filled = budget_batches(pairs["length"], fit.token_budget, processes())
        whole = {"gradient_accumulation_steps": 1}  # a step is what the budget fills
        return arguments(fit, out, len(filled), model) | whole
    return arguments(fit, out, batches(fit, len(pairs)), model)


def train(trainer) -> list[dict]:
    """Train, and return its log as records: one row per metric and step."""
    rows = []
    for entry in log_of(trainer, "training"):
        for name in LOGGED:
            if name in entry:
                metric = f"train_{name.split('/')[-1]}"
                row = {"metric": metric, "step": entry["step"], "value": entry[name]}
                rows.append(row)
    return rows


def log_of(trainer, note: str) -> list[dict]:
    """Train, telling how far it is under the name `note`, and return the trainer's log.

    A training of a job goes on where an earlier sitting has left it (`resumable`). Raises
    NotFinite, as all trainers here do, once a number is none (`watched`).
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress(note).callback())
    sharded = trainer.is_fsdp_enabled
    with whole_afterwards(trainer.model) if sharded else nullcontext():
        resumable.train(trainer)
    trainer.check_weights()
    return trainer.state.log_history


@torch.no_grad()
def loss_of(trainer) -> float:
    """What a trainer says of the first batch of its data loader; nothing is learned."""
    loader = iter(trainer.get_train_dataloader())
    batches, _ = trainer.get_batch_samples(loader, 1, trainer.args.device)
    inputs = trainer._prepare_inputs(batches[0])
    return float(trainer.compute_loss(trainer.model, inputs))


# --- drivers: one per kind of training -------------------------------------------------


def language_trainer(
    model: PreTrainedModel, tokenizer, data: Dataset, fit: Fit, out: Path
) -> ReplyTrainer:
    """TRL's trainer with the next-token loss, on the masked-in tokens of `data`."""
    config = SFTConfig(
        **arguments(fit, out, batches(fit, len(data)), model),
        **LOSS_ALONE,
        completion_only_loss=True,
    )
    return ReplyTrainer(
        model, args=config, train_dataset=data, processing_class=tokenizer
    )


def chosen_trainer(
    model: PreTrainedModel, tokenizer, data: Dataset, fit: Fit, out: Path
) -> ReplyTrainer:
    """As `language_trainer`, on the chosen replies of pairs."""
    replies = masked_sequences(zip(data["prompt_ids"], data["chosen_ids"]))
    return language_trainer(model, tokenizer, replies, fit, out)


def fit_language_model(model: PreTrainedModel, *args) -> list[dict]:
    """Next-token loss (SFT, base model, coders); arguments of `language_trainer`."""
    return train(language_trainer(model, *args))


def reward_trainer(
    scorer: PreTrainedModel, tokenizer, data: Dataset, fit: Fit, out: Path
) -> RewardModelTrainer:
    """TRL's trainer with the Bradley-Terry loss, on pairs."""
    return RewardModelTrainer(
        scorer,
        args=RewardConfig(**pair_arguments(fit, out, data, scorer)),
        train_dataset=as_sequences(data),
        processing_class=tokenizer,
        budget=fit.token_budget,
        share_prompts=fit.share_prompts,
    )


def fit_reward_model(scorer: PreTrainedModel, *args, **kwargs) -> list[dict]:
    """Bradley-Terry loss on pairs; arguments of `reward_trainer`."""
    rows = train(reward_trainer(scorer, *args, **kwargs))
    vars(scorer).pop("forward", None)  # the stock one again
    return rows


def preference_trainer(
    scorer: PreTrainedModel,
    head: nn.Linear,
    tokenizer,
    data: Dataset,
    fit: Fit,
    out: Path,
    **coefs: float,
) -> PreferenceModelTrainer:
    """The trainer with CodePMP's loss; `head` is the base model's language head.

    The head is trained along (tied to the embeddings where the model ties it) and left
    out of what is saved: reward models start from the trunk and the score head.
    """
    scorer.lm_head = head
    if scorer.config.tie_word_embeddings:
        scorer.lm_head.weight = scorer.get_input_embeddings().weight
    return PreferenceModelTrainer(
        scorer,
        args=RewardConfig(**pair_arguments(fit, out, data, scorer)),
        train_dataset=as_sequences(data),
        processing_class=tokenizer,
        budget=fit.token_budget,
        share_prompts=fit.share_prompts,
        pad=tokenizer.pad_token_id,
        **coefs,
    )


def fit_preference_model(scorer: PreTrainedModel, *args, **kwargs) -> list[dict]:
    """CodePMP loss on pairs; arguments of `preference_trainer`."""
    rows = train(preference_trainer(scorer, *args, **kwargs))
    vars(scorer).pop("forward", None)  # the stock one again
    del scorer.lm_head
    return rows


def dpo_trainer(
    policy: PreTrainedModel,
    tokenizer,
    data: Dataset,
    fit: Fit,
    out: Path,
    beta: float,
    loss: str = "sigmoid",
    cache: Path | None = None,
    reference: PreTrainedModel | None = None,
    adapters: bool = False,
    label_smoothing: float = 0.0,
) -> PreferenceTrainer:
    """TRL's trainer of the DPO family; the reference is `policy` as it comes, or given.

    loss: a `loss_type` of TRL: `sigmoid` is DPO (Rafailov et al. 2023, eq. 7), `ipo` is
    IPO with tau = beta, `sigmoid_norm` DPO per token, `robust` DPO for labels of which a
    share `label_smoothing` is flipped. Pairs with weights of tokens (`reference`) give
    TIS-DPO instead of DPO. `cache` is a folder for the reference's log-probabilities;
    None keeps none. With `adapters` these are trained in place of all weights.
    """
    weighted = "chosen_weights" in data.column_names
    config = DPOConfig(
        **pair_arguments(fit, out, data, policy),
        **LOSS_ALONE,
        beta=beta,
        loss_type=loss,
        label_smoothing=label_smoothing,
        precompute_ref_log_probs=True,
    )
    return (TokenWeightedTrainer if weighted else PreferenceTrainer)(
        policy,
        args=config,
        train_dataset=data,
        processing_class=tokenizer,
        budget=fit.token_budget,
        share_prompts=fit.share_prompts,
        cache=cache,
        reference=reference,
        peft_config=adapter(policy, adapters),
    )


def fit_dpo(policy: PreTrainedModel, *args, adapters=False, **kwargs) -> list[dict]:
    """A loss of the DPO family on pairs; arguments of `dpo_trainer`.

    Adapters are merged at the end: `policy` is a plain model again.
    """
    trainer = dpo_trainer(policy, *args, adapters=adapters, **kwargs)
    rows = train(trainer)
    if adapters:
        trainer.model.merge_and_unload()  # in place
    return rows


def fit_chosen(model: PreTrainedModel, *args, **kwargs) -> list[dict]:
    """SFT on the chosen replies of pairs; arguments of `chosen_trainer`."""
    return train(chosen_trainer(model, *args, **kwargs))
