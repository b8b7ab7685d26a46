"""What losses are made of: log-probabilities, entropies and KL of tokens, masked means."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
