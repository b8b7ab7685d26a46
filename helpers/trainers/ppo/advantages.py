"""What the tokens of a rollout are worth, and what its record says."""

from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from helpers.losses import policy_gradient, token_level
from helpers.trainers.ppo.config import PPOConfig
from helpers.trainers.ppo.moments import AveragedMoments
from helpers.trainers.rollouts import Rollout, spread


@dataclass(frozen=True)
class Credit:
    """What each token is worth; all (B, T), 0 where padded, in units of the reward.

    `targets` is what the critic is to say: the returns, on its own scale.
    """

    rewards: Tensor
    advantages: Tensor
    returns: Tensor
    values: Tensor
    targets: Tensor


def assign_credit(
    rollout: Rollout,
    scores: Tensor,
    args: PPOConfig,
    kl_coef: float,
    scale: AveragedMoments | None = None,
) -> Credit:
    """Rewards, advantages and returns of every token, from the scores (B,).

    scale: that of a critic which says normalised values; takes in the returns. As in
    ReaLHF, the values are read on the scale before it, their targets on that after it.
    """
    mask, values = rollout.mask, rollout.values
    if scale is not None:
        values = torch.where(mask, scale.restore(values), 0.0)
    # 3. Each token is charged its KL to the reference, the last one gets the score.
    kl = policy_gradient.kl_estimate(
        rollout.logprobs, rollout.reference_logprobs, args.kl_estimator
    )
    clipped = scores.clamp(-args.reward_clip, args.reward_clip)
    last = mask.sum(1, keepdim=True) - 1
    rewards = (-kl_coef * kl).scatter_add(1, last, clipped.unsqueeze(1))
    # 4. Generalised advantage estimation.
    advantages, returns = policy_gradient.gae(
        rewards, values, mask, args.gamma, args.lam
    )
    targets = returns
    if scale is not None:
        scale.update(returns[mask])
        targets = torch.where(mask, scale.normalise(returns), 0.0)
    # 5. Advantages of the whole rollout to mean 0, variance 1.
    if args.whiten_advantages:
        advantages = token_level.masked_whiten(advantages, mask)
    return Credit(rewards, advantages, returns, values, targets)


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
    policy_loss = policy_gradient.ppo_policy_loss(
        logprobs, old, credit.advantages[rows], mask, args.cliprange
    )
    value_loss = policy_gradient.value_loss(
        values, old_values, credit.targets[rows], mask, args.cliprange_value
    )
    ratio = (logprobs.detach() - old).exp()
    outside = ((ratio - 1).abs() > args.cliprange).float()
    moved = ((values.detach() - old_values).abs() > args.cliprange_value).float()
    metrics = {
        "policy_loss": policy_loss.detach(),
        "value_loss": value_loss.detach(),
        "ratio": token_level.masked_mean(ratio, mask),
        "clip_fraction": token_level.masked_mean(outside, mask),
        "value_clip_fraction": token_level.masked_mean(moved, mask),
    }
    return policy_loss + args.vf_coef * value_loss, metrics


def adapted(kl_coef: float, kl: float, episodes: int, args: PPOConfig) -> float:
    """The next KL coefficient: Ziegler et al. 2019 (arXiv 1909.08593), section 2.2.

    kl: nats a reply, from the reference whose KL the coefficient weighs.
    """
    if args.target_kl is None:
        return kl_coef
    error = min(max(kl / args.target_kl - 1, -0.2), 0.2)
    return kl_coef * (1 + error * episodes / args.kl_horizon)


def summarise(
    rollout: Rollout, credit: Credit, updates: list[dict[str, float]]
) -> dict[str, float]:
    """The record of one rollout. KL is in nats per reply, entropy in nats per token.

    `kl` and `kl_k3` are from where the reference started; `kl_reference`, by k1, is from
    where it has moved to, and there only if it moves. `reward` is the score alone,
    without penalties; `tokens` counts prompts and replies; losses, ratio and clip
    fractions are means over the updates. The rest describes the policy that sampled the
    rollout.
    """
    logprobs, mask = rollout.logprobs, rollout.mask

    def kl(reference: Tensor, kind: str) -> float:
        estimate = policy_gradient.kl_estimate(logprobs, reference, kind)
        return estimate.sum(1).mean().item()

    reference, start = rollout.reference_logprobs, rollout.start_logprobs
    moved = {} if start is None else {"kl_reference": kl(reference, "k1")}
    start = reference if start is None else start
    explained = policy_gradient.explained_variance(credit.returns, credit.values, mask)
    return {
        "reward": rollout.scores.mean().item(),
        "kl": kl(start, "k1"),
        "kl_k3": kl(start, "k3"),
        **moved,
        "entropy": token_level.masked_mean(rollout.entropy, mask).item(),
        "reply_length": mask.sum(1).float().mean().item(),
        "ended": rollout.ended.float().mean().item(),
        "explained_variance": explained.item(),
        "tokens": sum(len(ids) for episode in rollout.episodes for ids in episode),
        "updates": len(updates),
        **{name: fmean(update[name] for update in updates) for name in updates[0]},
    }
