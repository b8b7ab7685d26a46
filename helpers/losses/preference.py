"""Losses on pairs of replies: Bradley-Terry, CodePMP, and the DPO family."""

import torch.nn.functional as F
from torch import Tensor

from helpers.losses.token_level import masked_mean

# of log-ratios, before they are weights: arXiv 2410.04350, eq. 19
TIS_RANGE = (-0.5, 1.5)


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


def dpo(chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float) -> Tensor:
    """-mean log sigmoid(beta (chosen - rejected)): inputs (B,), result ().

    Rafailov et al. 2023 (arXiv 2305.18290), eq. 7, with log-ratios log(pi / pi_ref) of
    whole replies; TRL's `loss_type="sigmoid"` trains it here. With each divided by the
    number of its reply's tokens first it is `dpo_norm`, TRL's `"sigmoid_norm"`: so does
    SimPO (arXiv 2405.14734), without a reference.
    """
    return -F.logsigmoid(beta * (chosen_logratios - rejected_logratios)).mean()


def ipo(chosen_logratios: Tensor, rejected_logratios: Tensor, tau: float) -> Tensor:
    """Squared distance of the log-ratio margin from 1 / (2 tau); inputs (B,), result ().

    Azar et al. 2023 (arXiv 2310.12036), eq. 17, with log-ratios log(pi / pi_ref) of whole
    replies. TRL, whose `loss_type="ipo"` trains here, divides each by the number of its
    reply's tokens first, as the authors told TRL theirs does; the paper does not say so.
    """
    margin = chosen_logratios - rejected_logratios
    return (margin - 1 / (2 * tau)).square().mean()


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
