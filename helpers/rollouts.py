"""A batch of episodes for policy optimisation: sampled, scored and measured once.

What stays fixed while the policy is updated is computed here, in one pass per model:
log-probabilities under the sampling policy and the reference, entropies and values.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers.generate import (
    collate,
    encode_prompt,
    generate,
    length_batches,
    reply_logits,
    reply_values,
)
from helpers.losses import token_entropy, token_logprobs

# texts of prompts and replies to one score each, (B,)
RewardFunction = Callable[[list[str], list[str]], Tensor]
# token ids of prompt and reply
Episode = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Rollout:
    """B episodes of up to T reply tokens; (B, T) unless said, 0 where padded."""

    episodes: list[Episode]
    scores: Tensor  # (B,) as the reward function gave them
    ended: Tensor  # (B,) False where the reply was cut by length
    mask: Tensor  # True at reply tokens
    logprobs: Tensor  # of the policy that sampled them
    reference_logprobs: Tensor
    entropy: Tensor  # nats, of the sampling policy
    values: Tensor  # the critic's, of the state before each token


@torch.no_grad()
def roll_out(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    critic: PreTrainedModel,
    reward_function: RewardFunction,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    *,
    max_prompt_tokens: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    micro_batch_size: int,
) -> Rollout:
    """Sample one reply to each prompt, score the texts, and measure every token.

    Raises ValueError unless the reward function gives one finite score per reply.
    """
    replies = generate(
        policy,
        tokenizer,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        max_prompt_tokens=max_prompt_tokens,
    )
    scores = reward_function(prompts, [reply.text for reply in replies])
    scores = torch.as_tensor(scores, dtype=torch.float32, device=policy.device)
    if scores.shape != (len(prompts),) or not scores.isfinite().all():
        raise ValueError(
            f"reward_function: expected {len(prompts)} finite scores, one per reply, "
            f"got a tensor of shape {tuple(scores.shape)}: {scores}"
        )

    encoded = [encode_prompt(tokenizer, text, max_prompt_tokens) for text in prompts]
    episodes = list(zip(encoded, (reply.ids for reply in replies)))
    lengths = torch.tensor([len(reply.ids) for reply in replies]).unsqueeze(1)
    mask = (torch.arange(int(lengths.max())) < lengths).to(policy.device)
    names = ("logprobs", "reference_logprobs", "entropy", "values")
    measures = {name: torch.zeros(mask.shape, device=mask.device) for name in names}
    everything = range(len(episodes))
    batches = micro_batches(episodes, everything, micro_batch_size, policy.device)
    for rows, ids, targets in batches:
        tokens = ids[:, 1:][targets]
        logits = policy_logits(policy, ids, targets, temperature)
        reference_logits = policy_logits(reference, ids, targets, temperature)
        measured = {
            "logprobs": token_logprobs(logits, tokens),
            "reference_logprobs": token_logprobs(reference_logits, tokens),
            "entropy": token_entropy(logits),
            "values": reply_values(critic, ids, targets),
        }
        for name, flat in measured.items():
            measures[name][rows] = spread(flat, mask[rows])
    ended = torch.tensor([reply.ended for reply in replies], device=mask.device)
    return Rollout(episodes, scores, ended, mask, **measures)


def micro_batches(
    episodes: list[Episode], rows: Sequence[int], size: int, device: torch.device
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """(rows, ids, target mask) of episodes of like length, so that little is padded."""
    lengths = [sum(map(len, episodes[row])) for row in rows]
    for batch in length_batches(lengths, size):
        part = [rows[index] for index in batch]
        yield part, *collate([episodes[row] for row in part], device)


def policy_logits(
    model: PreTrainedModel, ids: Tensor, targets: Tensor, temperature: float
) -> Tensor:
    """Logits (N, V) of the N reply tokens, of the distribution sampled from."""
    logits = reply_logits(model, ids, targets)
    return logits if temperature == 1 else logits / temperature


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """Put the values (N,) of the N reply tokens in their places in (B, T), else 0."""
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)
