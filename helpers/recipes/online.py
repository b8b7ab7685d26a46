"""Online methods behind one call: PPO and iterative DPO (ours), RLOO and GRPO (TRL's).

All of them sample replies to the same prompts, are paid by the same function of texts,
and leave the same records. A further judge may watch: it scores the replies that are
trained on and teaches nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers.models import loading
from helpers.models.encoding import prompt_room, reply_room
from helpers.models.endings import Ending
from helpers.recipes.judging import judges
from helpers.rewards.judges import RewardModelJudge
from helpers.rewards.payment import Payment
from helpers.runs import store
from helpers.runs.stage import Stage
from helpers.trainers.adapters import adapter
from helpers.trainers.iterative_dpo import fit_iterative
from helpers.trainers.online_settings import VARIANTS, Online
from helpers.trainers.ppo.config import PPOConfig
from helpers.trainers.ppo.trainer import PPOTrainer
from helpers.trainers.rloo_grpo import common, fit_grouped
from helpers.trainers.training import log_of

# --- one fit for each kind of method -------------------------------------------------


def ppo_trainer(
    policy: PreTrainedModel,
    critic: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    payment: Payment,
    prompts: Sequence[str],
    settings: Online,
    out: Path,
    reference: PreTrainedModel | None = None,
) -> PPOTrainer:
    """The trainer of PPO with these settings.

    critic: None for a value head on the policy's own trunk, which takes less memory.
    reference: None for the policy as it comes.
    """
    config = PPOConfig(
        **common(policy, settings, out),
        rollouts=settings.rollouts,
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
        ref_model=reference,
        value_model=critic,
        peft_config=adapter(policy, settings.adapters),
    )
    trainer.history = getattr(payment, "seen", ())  # a plain function keeps none
    return trainer


def fit_ppo(policy: PreTrainedModel, *given, **named) -> list[dict]:
    """Train in place, as `ppo_trainer` is told; one row of metrics per rollout."""
    trainer = ppo_trainer(policy, *given, **named)
    log = [entry for entry in log_of(trainer, "PPO") if "rollout" in entry]
    if trainer.model.policy is not policy:  # it has adapters
        trainer.model.policy.merge_and_unload()  # in place: `policy` is plain again
    return log


# --- the jobs of 07 and 10 -----------------------------------------------------------


def shared_by(stage: Stage, params: Mapping[str, object]) -> dict:
    """What all jobs are given, from the parameters of 07."""
    limit = params["max_length"]
    return {"run": stage.run, "settings": settings_of(params), "max_length": limit}


def settings_of(params: Mapping[str, object]) -> Online:
    """The parameters of 07 in the words of all methods."""
    return Online(
        rollouts=params["rollouts"],
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
    start = store.job_folder(run, "05_sft", seed=seed)
    tokenizer, policy = loading.load_tokenizer(start), loading.load_policy(start)
    settings = replace(settings, seed=seed, kl_coef=strength)
    reward = store.reward_folder(run, init, seed)
    payment = paid_by(run, reward, Ending(tokenizer, policy), settings, max_length)
    prompts = store.read_pairs(run, "train")["prompt"].tolist()
    if method in VARIANTS:
        settings = replace(settings, **VARIANTS[method](settings))
        # with adapters the critic is a head on the policy's trunk: the least memory
        critic = None if settings.adapters else loading.load_scorer(reward)
        log = fit_ppo(policy, critic, tokenizer, payment, prompts, settings, out)
    elif method == "dpo_iter":
        log = fit_iterative(policy, tokenizer, payment, prompts, settings, out)
    else:
        log = fit_grouped(method, policy, tokenizer, payment, prompts, settings, out)
    loading.save(policy, tokenizer, out)
    return as_rows(log, payment.seen_by_all(), settings.rollouts * settings.episodes)


def paid_by(
    run: Path, reward: Path, ending: Ending, settings: Online, max_length: int
) -> Payment:
    """The reward model in a folder pays; the first judge of the run watches."""
    room = reply_room(settings.max_new_tokens)
    model = RewardModelJudge(reward, max_length=max_length, room=room)
    watching = judges(run, room=room)[0]
    return Payment(model, watching, ending, settings.missing_eos_penalty)


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
