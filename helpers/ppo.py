"""Proximal policy optimisation of a language model against a reward on texts.

The settings, the trainer, its record: the steps of the loop are numbered 1 to 8. Policy
and critic are separate models, as in Xu et al. (arXiv 2404.10719), whose three factors
(advantage whitening, batch size, moving reference) are settings here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers import losses
from helpers.generate import reply_values
from helpers.rollouts import (
    RewardFunction,
    Rollout,
    micro_batches,
    policy_logits,
    roll_out,
    spread,
)


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO. "Xu" is arXiv 2404.10719, appendix A, or its code, ReaLHF.

    Raises ValueError for values that cannot be trained with.
    """

    steps: int = 100  # batches of episodes; a tiny model has settled by then
    batch_size: int = 64  # episodes a step; Xu's baseline, their larger batch is 512
    minibatches: int = 4  # updates per pass over a batch (Xu)
    epochs: int = 4  # passes over a batch; Schulman et al. 2017 use 3 to 10
    micro_batch_size: int = 16  # rows per forward: bounds memory, changes no result
    max_prompt_tokens: int = 128  # cut from the left: the last turns matter most
    max_new_tokens: int = 48  # a reply of one or two sentences
    temperature: float = 1.0  # sample the policy itself, as the gradient assumes (Xu)
    lr: float = 1e-5  # policy (Xu, for 7B; small models bear more)
    critic_lr: float = 5e-6  # critic (Xu), which starts from a trained reward model
    kl_coef: float = 0.1  # weight of the KL penalty in the reward (Xu)
    kl_estimator: str = "k1"  # its expectation is the KL itself, so that is penalised
    gamma: float = 1.0  # only the end is rewarded: nothing to discount (Xu)
    lam: float = 0.95  # leans on the critic a little; 1 (Xu) is unbiased but noisier
    clip: float = 0.2  # largest useful change of a token's ratio (Schulman et al., Xu)
    value_clip: float = 0.2  # largest useful move of a value per batch (Xu)
    whiten_advantages: bool = True  # advantage normalisation, the first factor of Xu
    reward_clip: float = 20.0  # an outlier of the reward model moves no further (Xu)
    normalise_rewards: bool = False  # by running mean and spread: for unscaled rewards
    missing_end_penalty: float = 1.0  # taken off a reply cut by length: teaches to stop
    max_ratio: float = 5.0  # mean ratio at which the rest of a batch is left (Xu)
    max_grad_norm: float = 1.0  # of policy and critic, each by itself; the usual guard
    ref_ema: float = 0.0  # share of the policy mixed into the reference a step; 0 = off
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "minibatches", "epochs", "micro_batch_size")
        for name in (*counts, "max_prompt_tokens", "max_new_tokens"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"PPOConfig.{name} = {value}: expected at least 1")
        if self.batch_size % self.minibatches:
            raise ValueError(
                f"PPOConfig.batch_size = {self.batch_size}: expected a multiple of "
                f"minibatches, {self.minibatches}"
            )
        if self.temperature <= 0:
            raise ValueError(
                f"PPOConfig.temperature = {self.temperature}: expected above 0, "
                "PPO must explore"
            )
        if self.kl_estimator not in ("k1", "k2", "k3"):
            raise ValueError(
                f"PPOConfig.kl_estimator = {self.kl_estimator!r}: expected k1, k2 or k3"
            )


class PPOTrainer:
    """Trains `policy` and `critic` in place to raise `reward_function`.

    policy, reference: causal language models of one tokenizer; critic: a sequence
    classifier with one label, best started from the reward model. With `ref_ema` the
    reference moves, in place. `reward_function(prompts, replies)` takes texts and gives
    scores (B,). Dropout stays off: a ratio must compare policies, not dropout masks.
    Raises ValueError if there are no prompts.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel,
        critic: PreTrainedModel,
        reward_function: RewardFunction,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        config: PPOConfig,
    ) -> None:
        if not prompts:
            raise ValueError("PPOTrainer: no prompts to sample replies to")
        self.policy, self.critic = policy.eval(), critic.eval()
        self.reference = reference.eval().requires_grad_(False)
        self.reward_function, self.tokenizer = reward_function, tokenizer
        self.prompts, self.config = list(prompts), config
        groups = [
            {"params": list(policy.parameters()), "lr": config.lr},
            {"params": list(critic.parameters()), "lr": config.critic_lr},
        ]
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.moments = RunningMoments()
        self.random = torch.Generator().manual_seed(config.seed)
        self.queue: list[int] = []

    def train(self, on_step: Callable[[dict], None] | None = None) -> list[dict]:
        """Run all steps; one record of metrics per step, also handed to `on_step`.

        The same seed gives the same records on one CPU thread.
        """
        records = []
        for step in range(1, self.config.steps + 1):
            records.append({"step": step, **self.step()})
            if on_step:
                on_step(records[-1])
        return records

    def step(self) -> dict[str, float]:
        """One batch of episodes: sample, give credit, learn, report."""
        rollout = self.roll_out()
        advantages, returns = self.assign_credit(rollout)
        updates = list(self.learn(rollout, advantages, returns))
        self.move_reference()
        return summarise(rollout, returns, updates)

    def roll_out(self) -> Rollout:
        """Episodes on the next prompts, with everything about them that stays fixed."""
        # 1. Rollout: sample a reply to each prompt. 2. Score the texts.
        config = self.config
        return roll_out(
            self.policy,
            self.reference,
            self.critic,
            self.reward_function,
            self.tokenizer,
            [self.prompts[index] for index in self.next_prompts()],
            max_prompt_tokens=config.max_prompt_tokens,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=int(torch.randint(2**31, (), generator=self.random)),
            micro_batch_size=config.micro_batch_size,
        )

    def next_prompts(self) -> list[int]:
        """Numbers of the next batch: every prompt once, then shuffled anew."""
        size = self.config.batch_size
        while len(self.queue) < size:
            order = torch.randperm(len(self.prompts), generator=self.random)
            self.queue += order.tolist()
        batch, self.queue = self.queue[:size], self.queue[size:]
        return batch

    def assign_credit(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Advantages and returns of every token, (B, T) each."""
        config, mask = self.config, rollout.mask
        # 2. (continued) Penalise a missing end of turn.
        scores = rollout.scores - config.missing_end_penalty * ~rollout.ended
        if config.normalise_rewards:
            self.moments.update(scores)
            scores = self.moments.normalise(scores)

        # 3. Each token is charged its KL to the reference, the last one gets the score.
        kl = losses.kl_estimate(
            rollout.logprobs, rollout.reference_logprobs, config.kl_estimator
        )
        clipped = scores.clamp(-config.reward_clip, config.reward_clip)
        last = mask.sum(1, keepdim=True) - 1
        rewards = (-config.kl_coef * kl).scatter_add(1, last, clipped.unsqueeze(1))

        # 4. Generalised advantage estimation.
        advantages, returns = losses.gae(
            rewards, rollout.values, mask, config.gamma, config.lam
        )

        # 5. Advantages of the whole batch to mean 0, variance 1.
        if config.whiten_advantages:
            advantages = losses.masked_whiten(advantages, mask)
        return advantages, returns

    def learn(
        self, rollout: Rollout, advantages: Tensor, returns: Tensor
    ) -> Iterator[dict[str, float]]:
        """Update policy and critic; yields the metrics of each minibatch."""
        # 6. Several passes over the batch in random minibatches, with clipped losses.
        for _ in range(self.config.epochs):
            order = torch.randperm(self.config.batch_size, generator=self.random)
            for rows in order.chunk(self.config.minibatches):
                self.optimizer.zero_grad()
                metrics = self.backward(rollout, advantages, returns, rows.tolist())
                yield metrics
                if not metrics["ratio"] <= self.config.max_ratio:  # also stops at nan
                    return
                for model in (self.policy, self.critic):
                    clip_grad_norm_(model.parameters(), self.config.max_grad_norm)
                self.optimizer.step()

    def backward(
        self, rollout: Rollout, advantages: Tensor, returns: Tensor, rows: list[int]
    ) -> dict[str, float]:
        """Add up the gradients of one minibatch; its metrics, means over its tokens."""
        config = self.config
        total = rollout.mask[rows].sum()
        means: dict[str, Tensor] = {}
        for part, ids, targets in micro_batches(
            rollout.episodes, rows, config.micro_batch_size, self.policy.device
        ):
            mask, old = rollout.mask[part], rollout.logprobs[part]
            logits = policy_logits(self.policy, ids, targets, config.temperature)
            tokens = ids[:, 1:][targets]
            logprobs = spread(losses.token_logprobs(logits, tokens), mask)
            policy_loss = losses.ppo_policy_loss(
                logprobs, old, advantages[part], mask, config.clip
            )
            values = spread(reply_values(self.critic, ids, targets), mask)
            value_loss = losses.value_loss(
                values, rollout.values[part], returns[part], mask, config.value_clip
            )
            share = mask.sum() / total  # every token of the minibatch counts once
            ((policy_loss + value_loss) * share).backward()

            ratio = (logprobs.detach() - old).exp()
            outside = ((ratio - 1).abs() > config.clip).float()
            metrics = {
                "policy_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                "ratio": losses.masked_mean(ratio, mask),
                "clip_fraction": losses.masked_mean(outside, mask),
            }
            for name, value in metrics.items():
                means[name] = means.get(name, 0.0) + value * share
        return {name: float(value) for name, value in means.items()}

    @torch.no_grad()
    def move_reference(self) -> None:
        """Let the reference follow the policy slowly, if asked to."""
        # 7. reference <- (1 - ref_ema) reference + ref_ema policy: third factor of Xu.
        if self.config.ref_ema:
            pairs = zip(self.reference.parameters(), self.policy.parameters())
            for reference, policy in pairs:
                reference.lerp_(policy, self.config.ref_ema)


class RunningMoments:
    """Mean and variance of all values seen, batch by batch (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def update(self, values: Tensor) -> None:
        """Take in a batch of values (B,)."""
        count, mean = len(values), values.mean().item()
        shift, total = mean - self.mean, self.count + count
        squares = (values - mean).square().sum().item()
        self.squares += squares + shift**2 * self.count * count / total
        self.mean += shift * count / total
        self.count = total

    def normalise(self, values: Tensor) -> Tensor:
        """Values (B,) on the scale of everything seen; `update` comes first."""
        deviation = (self.squares / self.count) ** 0.5
        return (values - self.mean) / max(deviation, 1e-6)


def summarise(
    rollout: Rollout, returns: Tensor, updates: list[dict[str, float]]
) -> dict[str, float]:
    """The record of one step. KL is in nats per reply, entropy in nats per token.

    `reward` is the score alone, without penalties; `tokens` counts prompts and replies;
    losses, ratio and clip fraction are means over the updates. The rest describes the
    policy that sampled the batch.
    """
    # 8. Log.
    logprobs, mask = rollout.logprobs, rollout.mask

    def kl(kind: str) -> float:
        estimate = losses.kl_estimate(logprobs, rollout.reference_logprobs, kind)
        return estimate.sum(1).mean().item()

    explained = losses.explained_variance(returns, rollout.values, mask)
    return {
        "reward": rollout.scores.mean().item(),
        "kl": kl("k1"),
        "kl_k3": kl("k3"),
        "entropy": losses.masked_mean(rollout.entropy, mask).item(),
        "reply_length": mask.sum(1).float().mean().item(),
        "ended": rollout.ended.float().mean().item(),
        "explained_variance": explained.item(),
        "tokens": sum(len(ids) for episode in rollout.episodes for ids in episode),
        "updates": len(updates),
        **{name: fmean(update[name] for update in updates) for name in updates[0]},
    }
