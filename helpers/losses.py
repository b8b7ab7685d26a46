"""The losses and estimators of preference learning, as pure functions of tensors.

Nothing here knows of models, texts or devices. B is a number of episodes or pairs, T a
number of reply tokens, V the vocabulary; masks are boolean, True at real reply tokens,
and may pad on either side. Log-probabilities are in nats.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# --- preferences ---------------------------------------------------------------------

TIS_RANGE = (
    -0.5,
    1.5,
)  # of log-ratios, before they are weights: arXiv 2410.04350, eq. 19


def bradley_terry(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    """Negative log-likelihood that the chosen reply wins; rewards (B,), result ().

    -mean log sigmoid(r_chosen - r_rejected): Ouyang et al. 2022, eq. 1, for pairs.
    """
    return -F.logsigmoid(chosen_rewards - rejected_rewards).mean()


def pmp(
    chosen_rewards: Tensor,
    rejected_rewards: Tensor,
    chosen_logprobs: Tensor,
    mask: Tensor,
    *,
    rm_coef: float = 1.0,
    lm_coef: float = 1.0,
) -> Tensor:
    """Preference-model pretraining: rm_coef * L_RM + lm_coef * L_LM; result ().

    CodePMP (arXiv 2410.02229; both coefficients are 1 there). L_RM is Bradley-Terry on
    rewards (B,); L_LM is the mean cross-entropy of the chosen sequence's reply tokens,
    from `chosen_logprobs` and `mask`, both (B, T).
    """
    reward_loss = bradley_terry(chosen_rewards, rejected_rewards)
    language_loss = -masked_mean(chosen_logprobs, mask)
    return rm_coef * reward_loss + lm_coef * language_loss


def dpo_implicit_reward(
    policy_logprob: Tensor, reference_logprob: Tensor, beta: float
) -> Tensor:
    """The reward a policy implies, up to a constant of the prompt; all (B,).

    beta * log(pi / pi_ref), summed over the reply: Rafailov et al. 2023, eq. 5.
    """
    return beta * (policy_logprob - reference_logprob)


def ipo(chosen_logratios: Tensor, rejected_logratios: Tensor, tau: float) -> Tensor:
    """Squared distance of the log-ratio margin from 1 / (2 tau); inputs (B,), result ().

    Azar et al. 2023 (arXiv 2310.12036), eq. 17, with log-ratios log(pi / pi_ref) of whole
    replies. TRL, whose `loss_type="ipo"` trains here, divides each by the number of its
    reply's tokens first, as the authors told TRL theirs does; the paper does not say so.
    """
    margin = chosen_logratios - rejected_logratios
    return (margin - 1 / (2 * tau)).square().mean()


def dpo_normalised(
    chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float
) -> Tensor:
    """DPO on log-ratios per token: -mean log sigmoid(beta margin); inputs (B,), result ().

    TRL's `loss_type="sigmoid_norm"`: each log(pi / pi_ref) of a whole reply is divided by
    the number of its tokens first, as SimPO (arXiv 2405.14734) does without a reference.
    """
    return -F.logsigmoid(beta * (chosen_logratios - rejected_logratios)).mean()


def dpo_robust(
    chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float, noise: float
) -> Tensor:
    """DPO's loss, unbiased if a share `noise` of the labels is flipped; (B,) to ().

    Chowdhury et al. 2024 (arXiv 2403.00409); TRL's `loss_type="robust"`. With
    l(u) = -log sigmoid(u) and u = beta times the margin of whole replies' log-ratios:
    ((1 - noise) l(u) - noise l(-u)) / (1 - 2 noise), which falls below any bound.
    ValueError unless 0 <= noise < 0.5.
    """
    if not 0 <= noise < 0.5:
        raise ValueError(f"label noise {noise}: expected 0 <= noise < 0.5")
    u = beta * (chosen_logratios - rejected_logratios)
    loss = -(1 - noise) * F.logsigmoid(u) + noise * F.logsigmoid(-u)
    return (loss / (1 - 2 * noise)).mean()


def tis_weights(logratios: Tensor, mu: float) -> Tensor:
    """Importance weights of tokens, from log(pi+ / pi-) of a contrastive pair; (...).

    w = k exp(mu clamp(log(pi+ / pi-), L, U)) with k = 1, L = -0.5, U = 1.5, mu = 1 in
    chosen replies and -1 in rejected ones: TIS-DPO (arXiv 2410.04350), eq. 19. The
    authors' code ranks or scales the log-ratios into a range such as [0.7, 1.3] instead.
    """
    return (mu * logratios.clamp(*TIS_RANGE)).exp()


def tis_dpo(
    chosen_logratios: Tensor,
    rejected_logratios: Tensor,
    chosen_weights: Tensor,
    rejected_weights: Tensor,
    beta: float,
    eta: Tensor | float = 0.0,
) -> Tensor:
    """DPO whose tokens count by importance weights: -mean log sigmoid(u - eta); ().

    TIS-DPO (arXiv 2410.04350): u = beta (sum_t w_t log(pi / pi_ref) of the chosen reply
    minus that of the rejected one); log-ratios and weights (B, T), weights 0 at padding.
    `eta` (B,) is beta times the difference of the replies' weighted KL divergences from
    the reference. The authors' code leaves it out by default, and so do our trainers:
    it needs both models' whole distributions at every token, every step.
    """
    chosen = (chosen_weights * chosen_logratios).sum(-1)
    rejected = (rejected_weights * rejected_logratios).sum(-1)
    return -F.logsigmoid(beta * (chosen - rejected) - eta).mean()


# --- tokens and masks ----------------------------------------------------------------


def token_logprobs(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probability of each token: logits (..., V), ids (...), result (...)."""
    flat = F.cross_entropy(logits.flatten(0, -2), ids.flatten(), reduction="none")
    return -flat.view(ids.shape)


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of each distribution: logits (..., V), result (...)."""
    logprobs = logits.log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def token_kl(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """KL in nats of each distribution from the reference's; (..., V), result (...)."""
    policy, reference = logits.log_softmax(-1), reference_logits.log_softmax(-1)
    return (policy.exp() * (policy - reference)).sum(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the unmasked values, 0 if there is none; values and mask (B, T)."""
    # where, not a product: a nan in the padding must not reach the sum
    kept = torch.where(mask, values, 0.0)
    return kept.sum() / mask.sum().clamp(min=1)


def masked_variance(values: Tensor, mask: Tensor) -> Tensor:
    """Population variance of the unmasked values; values and mask (B, T)."""
    return masked_mean((values - masked_mean(values, mask)).square(), mask)


def masked_whiten(values: Tensor, mask: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Shift and scale to mean 0, variance 1 over unmasked values, else 0; (B, T).

    The advantage normalisation of Xu et al. (arXiv 2404.10719), over the whole batch.
    """
    centred = values - masked_mean(values, mask)
    scaled = centred * (masked_variance(values, mask) + epsilon).rsqrt()
    return torch.where(mask, scaled, 0.0)


# --- reinforcement learning ----------------------------------------------------------


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
