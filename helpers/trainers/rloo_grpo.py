"""TRL's RLOO and GRPO, on our replies and under our names."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from helpers.core.processes import processes
from helpers.rewards.payment import Payment
from helpers.trainers.adapters import adapter
from helpers.trainers.online_settings import Online, epochs_of
from helpers.trainers.training import LOSS_ALONE, log_of, quiet_arguments
from helpers.trainers.trl_sampling import OurReplies

UNPENALISED = 1e-12  # in place of a weight of 0, at which TRL does not measure the KL


class Rloo(OurReplies, RLOOTrainer):
    """TRL's RLOO on our replies."""

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields):
        """TRL's samples by `generate`, up to an end token; ours as for PPO."""
        return self.sample(prompt_ids)


class Grpo(OurReplies, GRPOTrainer):
    """TRL's GRPO on our replies."""

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, *_, **__):
        """As RLOO's; beside the ids, no log-probabilities of a sampler apart."""
        return self.sample(prompt_ids), None


def fit_grouped(
    method: str,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    payment: Payment,
    prompts: Sequence[str],
    settings: Online,
    out: Path,
) -> list[dict]:
    """Train in place by TRL's RLOO or GRPO, as `fit_ppo`.

    Their baseline is the other replies to the same prompt. `kl_coef` is RLOO's weight of
    the KL in the reward, as in PPO, and GRPO's of the KL in the loss. RLOO makes one
    pass over a rollout: its clipped ratio is that of whole replies, and in a second one
    half of them are beyond the range. GRPO's loss is the mean of each reply's mean over
    its tokens (Shao et al. 2024, eq. 3); TRL's own default is another's, DAPO's.
    """
    config, trainer, own = {
        "rloo": (RLOOConfig, Rloo, {}),
        "grpo": (GRPOConfig, Grpo, {"loss_type": "grpo"}),
    }[method]
    own_rate = {
        "rloo": settings.rloo_learning_rate,
        "grpo": settings.grpo_learning_rate,
    }[method]
    settings = replace(settings, learning_rate=own_rate or settings.learning_rate)
    epochs = epochs_of(method, settings.epochs)
    updates = epochs * settings.minibatches
    batch = settings.episodes // settings.minibatches
    arguments = config(
        **common(policy, settings, out),
        **LOSS_ALONE,
        **own,
        lr_scheduler_type="constant",
        max_steps=settings.rollouts * updates,
        per_device_train_batch_size=batch // processes(),
        steps_per_generation=settings.minibatches,
        num_iterations=epochs,
        num_generations=settings.generations,
        beta=settings.kl_coef or UNPENALISED,
        logging_steps=updates,
        activation_checkpointing=torch.cuda.is_available(),
    )
    # TRL passes over a batch that is not full, so few prompts would train nothing
    copies = math.ceil(settings.episodes / len(prompts))
    fitted = trainer(
        model=policy,
        reward_funcs=payment,
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": list(prompts) * copies}),
        processing_class=tokenizer,
        peft_config=adapter(policy, settings.adapters),
    )
    fitted.max_prompt_length = settings.max_prompt_length
    fitted.history = getattr(payment, "seen", ())  # a plain function keeps none
    log = [entry for entry in log_of(fitted, method.upper()) if "num_tokens" in entry]
    if settings.adapters:
        fitted.accelerator.unwrap_model(fitted.model).merge_and_unload()
    read = np.diff([0, *(entry["num_tokens"] for entry in log)])
    return [in_our_words(entry, tokens) for entry, tokens in zip(log, read)]


def in_our_words(entry: dict, tokens: float) -> dict:
    """A log entry of TRL under the names of PPO's records; KL in nats per reply.

    RLOO's KL is k1 of the policy that sampled, as PPO's; GRPO's is the mean of k3 over
    the updates of the rollout.
    """
    length = entry["completions/mean_length"]
    return {
        "kl": entry["kl"] * length,  # TRL has it per token
        "entropy": entry["entropy"],
        "reply_length": length,
        "tokens": tokens,
    }


def common(policy: PreTrainedModel, settings: Online, out: Path) -> dict:
    """The arguments that all online trainers share."""
    return quiet_arguments(out, settings.seed, policy) | dict(
        learning_rate=settings.learning_rate,
        max_completion_length=settings.max_new_tokens,
    )
