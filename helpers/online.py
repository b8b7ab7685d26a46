"""Online methods behind one call: PPO and iterative DPO (ours), RLOO and GRPO (TRL's).

All of them sample replies to the same prompts, are paid by the same function of texts,
and leave the same records. A further judge may watch: it scores the replies that are
trained on and teaches nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from helpers import models
from helpers.encoding import prompt_room, reply_room
from helpers.endings import Ending
from helpers.evaluation import judges, reward_folder
from helpers.iterative import fit_iterative
from helpers.judge import RewardModelJudge
from helpers.launched import processes
from helpers.online_config import VARIANTS, Online, Payment, passes
from helpers.ppo import PPOTrainer
from helpers.ppo_config import PPOConfig
from helpers.project import job_folder
from helpers.recipes import read_pairs
from helpers.runs import Stage
from helpers.training import adapter, log_of, quiet_arguments
from helpers.trl_sampling import OurReplies

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


# --- one fit for each kind of method -------------------------------------------------


def fit_ppo(
    policy: PreTrainedModel,
    critic: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    payment: Payment,
    prompts: Sequence[str],
    settings: Online,
    out: Path,
) -> list[dict]:
    """Train in place by `PPOTrainer`; one row of metrics a rollout.

    critic: None for a value head on the policy's own trunk, which takes less memory.
    """
    config = PPOConfig(
        **common(settings, out),
        num_rollouts=settings.rollouts,
        episodes=settings.episodes,
        num_ppo_epochs=settings.epochs,
        num_mini_batches=settings.minibatches,
        critic_learning_rate=settings.critic_learning_rate,
        kl_coef=settings.kl_coef,
        max_prompt_length=settings.max_prompt_length,
        missing_eos_penalty=settings.missing_eos_penalty,
        whiten_advantages=settings.whiten_advantages,
        ref_ema=settings.ref_ema,
        normalise_rewards=settings.normalise_rewards,
        normalise_values=settings.normalise_values,
    )
    trainer = PPOTrainer(
        policy,
        payment,
        config,
        prompts,
        tokenizer,
        value_model=critic,
        peft_config=adapter(settings.adapters),
    )
    log = [entry for entry in log_of(trainer, "PPO") if "rollout" in entry]
    if settings.adapters:
        trainer.model.policy.merge_and_unload()  # in place: `policy` is plain again
    return log


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
    epochs = passes(method, settings.epochs)
    updates = epochs * settings.minibatches
    batch = settings.episodes // settings.minibatches
    arguments = config(
        **common(settings, out),
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
        peft_config=adapter(settings.adapters),
    )
    fitted.max_prompt_length = settings.max_prompt_length
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


def common(settings: Online, out: Path) -> dict:
    """The arguments that all online trainers share."""
    return quiet_arguments(out, settings.seed) | dict(
        learning_rate=settings.learning_rate,
        max_completion_length=settings.max_new_tokens,
    )


# --- the jobs of 07 and 10 -----------------------------------------------------------


def shared_by(stage: Stage, params: Mapping[str, object]) -> dict:
    """What all jobs are given, from the parameters of 07."""
    limit = params["max_length"]
    return {"run": stage.run, "settings": settings_of(params), "max_length": limit}


def settings_of(params: Mapping[str, object]) -> Online:
    """The parameters of 07 in the words of all methods."""
    return Online(
        rollouts=params["steps"],
        episodes=params["episodes"],
        epochs=params["ppo_epochs"],
        minibatches=params["minibatches"],
        learning_rate=params["learning_rate"],
        critic_learning_rate=params["critic_learning_rate"],
        kl_coef=params["kl_coef"],
        max_prompt_length=prompt_room(params["max_length"], params["max_new_tokens"]),
        max_new_tokens=params["max_new_tokens"],
        rounds=params["rounds"],
        dpo_learning_rate=params["dpo_learning_rate"],
        rloo_learning_rate=params["rloo_learning_rate"],
        grpo_learning_rate=params["grpo_learning_rate"],
        adapters=params["adapters"],
    )


def train(
    out: Path,
    *,
    run: Path,
    method: str,
    init: str,
    strength: float,
    seed: int,
    settings: Online,
    max_length: int,
) -> list[dict]:
    """A policy from the SFT model of the seed, paid by the reward model of init and seed.

    method: `rloo`, `grpo`, `dpo_iter`, or one of `VARIANTS`. strength: the KL weight.
    The judge that watches is the first of the run's: the truth where it is known.
    """
    start = job_folder(run, "05_sft", seed=seed)
    reward = reward_folder(run, init, seed)
    tokenizer, policy = models.load_tokenizer(start), models.load_policy(start)
    settings = replace(settings, seed=seed, kl_coef=strength)
    room = reply_room(settings.max_new_tokens)
    payment = Payment(
        RewardModelJudge(reward, max_length=max_length, room=room),
        judges(run, room=room)[0],
        Ending(tokenizer, policy),
        settings.missing_eos_penalty,
    )
    prompts = read_pairs(run, "train")["prompt"].tolist()
    if method in VARIANTS:
        settings = replace(settings, **VARIANTS[method](settings))
        # with adapters the critic is a head on the policy's trunk: the least memory
        critic = None if settings.adapters else models.load_scorer(reward)
        log = fit_ppo(policy, critic, tokenizer, payment, prompts, settings, out)
    elif method == "dpo_iter":
        log = fit_iterative(policy, tokenizer, payment, prompts, settings, out)
    else:
        log = fit_grouped(method, policy, tokenizer, payment, prompts, settings, out)
    models.save(policy, tokenizer, out)
    return as_rows(log, payment.seen_by_all(), settings.rollouts * settings.episodes)


def as_rows(log: list[dict], seen: list[dict], episodes: int) -> list[dict]:
    """Records of each rollout; a step is an episode, so batches of any size compare.

    episodes: of all rollouts together.
    """
    passed = ("step", "epoch", "rollout")
    each = episodes // len(log)
    return [
        {"metric": name, "step": number * each, "value": float(value)}
        for number, (entry, scores) in enumerate(zip(log, seen, strict=True), 1)
        for name, value in {**entry, **scores}.items()
        if name not in passed
    ]
