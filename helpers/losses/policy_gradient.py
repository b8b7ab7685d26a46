"""The losses and estimators of PPO: GAE, the clipped objective, the critic's loss."""

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.losses.token_level import masked_mean, masked_variance


@torch.no_grad()
def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantages and their returns, 0 where masked; all (B, T).

    Schulman et al. 2016 (arXiv 1506.02438), eq. 16, as a backward recursion:
    delta_t = r_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lam A_{t+1},
    where both V and A are 0 after the last token. The return is A_t + V_t.
    """
    rewards, values = (torch.where(mask, x, 0.0) for x in (rewards, values))
    next_values = F.pad(values[:, 1:], (0, 1))
    deltas = rewards + gamma * next_values - values
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        running = torch.where(mask[:, t], deltas[:, t] + gamma * lam * running, 0.0)
        advantages[:, t] = running
    return advantages, advantages + values


def ppo_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip: float,
) -> Tensor:
    """Clipped surrogate loss, averaged over tokens; inputs (B, T), result ().

    Schulman et al. 2017 (arXiv 1707.06347), eq. 7, negated so that it is minimised:
    -mean min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A).
    """
    ratio = (logprobs - old_logprobs).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -masked_mean(torch.min(ratio * advantages, clipped * advantages), mask)


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float
) -> Tensor:
    """Half the squared error, pessimistic about moves beyond `clip`; (B, T) to ().

    The value clipping of PPO's reference code, described by Engstrom et al. 2020
    (arXiv 2005.12729), section 3; `clip` = inf leaves the plain squared error.
    """
    near = old_values + (values - old_values).clamp(-clip, clip)
    worse = torch.max((values - returns).square(), (near - returns).square())
    return masked_mean(worse, mask) / 2


def explained_variance(returns: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns): 1 is perfect, 0 is a constant; ().

    nan where the returns do not vary, because nothing is there to explain.
    """
    variance = masked_variance(returns, mask)
    share = 1 - masked_variance(returns - values, mask) / variance
    return torch.where(variance > 0, share, torch.nan)


def kl_estimate(
    policy_logprobs: Tensor, reference_logprobs: Tensor, kind: str = "k1"
) -> Tensor:
    """Estimate of KL(policy || reference) at each token the policy sampled; (B, T).

    Schulman, "Approximating KL divergence" (2020), with d = log pi - log pi_ref:
    k1 = d, unbiased, may be negative; k2 = d^2 / 2, biased, never negative;
    k3 = exp(-d) - 1 + d, unbiased and never negative. ValueError for another `kind`.
    """
    difference = policy_logprobs - reference_logprobs
    if kind == "k1":
        return difference
    if kind == "k2":
        return difference.square() / 2
    if kind == "k3":
        return torch.expm1(-difference) + difference
    raise ValueError(f"KL estimator {kind!r}: expected k1, k2 or k3")
