"""What the tokens of a rollout are worth, and what its record says; pure functions."""

from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from helpers import losses
from helpers.ppo_config import PPOConfig
from helpers.rollouts import Rollout, spread


@dataclass(frozen=True)
class Credit:
    """What each token is worth; all (B, T), 0 where padded."""

    rewards: Tensor
    advantages: Tensor
    returns: Tensor


def assign_credit(
    rollout: Rollout, scores: Tensor, args: PPOConfig, kl_coef: float
) -> Credit:
    """Rewards, advantages and returns of every token, from the scores (B,)."""
    mask = rollout.mask
    # 3. Each token is charged its KL to the reference, the last one gets the score.
    kl = losses.kl_estimate(
        rollout.logprobs, rollout.reference_logprobs, args.kl_estimator
    )
    clipped = scores.clamp(-args.reward_clip, args.reward_clip)
    last = mask.sum(1, keepdim=True) - 1
    rewards = (-kl_coef * kl).scatter_add(1, last, clipped.unsqueeze(1))
    # 4. Generalised advantage estimation.
    advantages, returns = losses.gae(
        rewards, rollout.values, mask, args.gamma, args.lam
    )
    # 5. Advantages of the whole rollout to mean 0, variance 1.
    if args.whiten_advantages:
        advantages = losses.masked_whiten(advantages, mask)
    return Credit(rewards, advantages, returns)


def clipped_losses(
    logprobs: Tensor,
    values: Tensor,
    rollout: Rollout,
    credit: Credit,
    rows: list[int],
    args: PPOConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's loss () on some episodes, and metrics, all means over their tokens.

    `logprobs` and `values` (N,) belong to the N reply tokens of the rows, in order.
    """
    mask, old, old_values = (
        each[rows] for each in (rollout.mask, rollout.logprobs, rollout.values)
    )
    logprobs, values = spread(logprobs, mask), spread(values, mask)
    policy_loss = losses.ppo_policy_loss(
        logprobs, old, credit.advantages[rows], mask, args.cliprange
    )
    value_loss = losses.value_loss(
        values, old_values, credit.returns[rows], mask, args.cliprange_value
    )
    ratio = (logprobs.detach() - old).exp()
    outside = ((ratio - 1).abs() > args.cliprange).float()
    moved = ((values.detach() - old_values).abs() > args.cliprange_value).float()
    metrics = {
        "policy_loss": policy_loss.detach(),
        "value_loss": value_loss.detach(),
        "ratio": losses.masked_mean(ratio, mask),
        "clip_fraction": losses.masked_mean(outside, mask),
        "value_clip_fraction": losses.masked_mean(moved, mask),
    }
    return policy_loss + args.vf_coef * value_loss, metrics


def adapted(kl_coef: float, kl: float, episodes: int, args: PPOConfig) -> float:
    """The next KL coefficient: Ziegler et al. 2019 (arXiv 1909.08593), section 2.2."""
    if args.target_kl is None:
        return kl_coef
    error = min(max(kl / args.target_kl - 1, -0.2), 0.2)
    return kl_coef * (1 + error * episodes / args.kl_horizon)


class RunningMoments(nn.Module):
    """Mean and variance of all values seen, batch by batch (Chan et al. 1979)."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("count", "mean", "squares"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def update(self, values: Tensor) -> None:
        """Take in a batch of values (B,)."""
        values = values.double().cpu()
        shift, total = values.mean() - self.mean, self.count + len(values)
        squares = (values - values.mean()).square().sum()
        self.squares += squares + shift**2 * self.count * len(values) / total
        self.mean += shift * len(values) / total
        self.count.copy_(total)

    def normalise(self, values: Tensor) -> Tensor:
        """Values (B,) on the scale of everything seen; `update` comes first."""
        deviation = (self.squares / self.count).sqrt().clamp(min=1e-6)
        return (values - self.mean.item()) / deviation.item()


def summarise(
    rollout: Rollout, credit: Credit, updates: list[dict[str, float]]
) -> dict[str, float]:
    """The record of one rollout. KL is in nats per reply, entropy in nats per token.

    `reward` is the score alone, without penalties; `tokens` counts prompts and replies;
    losses, ratio and clip fractions are means over the updates. The rest describes the
    policy that sampled the rollout.
    """
    logprobs, mask = rollout.logprobs, rollout.mask

    def kl(kind: str) -> float:
        estimate = losses.kl_estimate(logprobs, rollout.reference_logprobs, kind)
        return estimate.sum(1).mean().item()

    explained = losses.explained_variance(credit.returns, rollout.values, mask)
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
