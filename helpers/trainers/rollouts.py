"""A batch of episodes for policy optimisation: sampled, scored and measured once.

What stays fixed while the policy is updated is computed here, in one pass per model:
log-probabilities under the sampling policy and the reference, entropies and values.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers.losses.token_level import token_entropy, token_logprobs
from helpers.models import hardware
from helpers.models.batching import cheap_batches
from helpers.models.encoding import Prompt
from helpers.models.generation import generate
from helpers.models.language_heads import logits_of
from helpers.models.states import collate, reply_states

# reward(prompts=texts, completions=texts): one finite score each, as TRL's trainers ask
RewardFunction = Callable[..., Sequence[float] | Tensor]
Logits = Callable[[Tensor, Tensor], Tensor]  # of ids, targets: (N, V) at reply tokens
MEASURES = ("logprobs", "reference_logprobs", "entropy", "values")


# --- policy and critic ---------------------------------------------------------------


class ActorCritic(nn.Module):
    """Policy and critic as one module: one forward, one optimiser, one checkpoint.

    policy: a causal language model; critic: a sequence classifier with one label.
    Without a critic, values are read by a linear head from the states of the policy,
    whose trunk then runs once for both; the head starts at zero.
    """

    def __init__(self, policy: PreTrainedModel, critic: PreTrainedModel | None) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic
        if critic is None:
            weight = policy.get_output_embeddings().weight
            self.value_head = nn.Linear(weight.shape[1], 1).to(weight)
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)

    def forward(
        self, ids: Tensor, targets: Tensor, states: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, V) and values (N,) at the N reply tokens of a `collate`d batch.

        states: the policy's trunk's (N, H), where they are known.
        """
        if states is None:
            states = reply_states(self.policy, ids, targets)
        logits = logits_of(self.policy, states).float()
        if self.critic is None:
            return logits, self.value_head(states).squeeze(-1).float()
        states = reply_states(self.critic, ids, targets)
        return logits, self.critic.score(states).squeeze(-1).float()

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters of policy and critic apart, for rates and clipping."""
        everything = {"policy": [], "critic": []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                of_policy = name.startswith("policy.")
                everything["policy" if of_policy else "critic"].append(parameter)
        return everything


# --- episodes ------------------------------------------------------------------------


@dataclass
class Episode:
    """A prompt, the reply that was sampled to it, and what is known of each token.

    `ended` is False where the reply was cut by length. The measures (T,) belong to the
    T reply tokens: log-probabilities of the policy that sampled them and of the
    reference, entropies of the former, in nats, and the critic's value before each;
    where the reference moves, also log-probabilities of where it started.
    `states` (T, H) are what the policy sampled from, where they are exact.
    """

    prompt: list[int]
    reply: list[int]
    ended: bool
    score: float
    states: Tensor | None = None
    logprobs: Tensor | None = None
    reference_logprobs: Tensor | None = None
    entropy: Tensor | None = None
    values: Tensor | None = None
    start_logprobs: Tensor | None = None


@dataclass(frozen=True)
class Rollout:
    """B episodes of up to T reply tokens; (B, T) unless said, 0 where padded."""

    episodes: list[tuple[list[int], list[int]]]  # ids of prompt and reply
    scores: Tensor  # (B,) as the reward function gave them
    ended: Tensor  # (B,) False where the reply was cut by length
    mask: Tensor  # True at reply tokens
    logprobs: Tensor  # of the policy that sampled them
    reference_logprobs: Tensor
    entropy: Tensor  # nats, of the sampling policy
    values: Tensor  # the critic's own, of the state before each token
    start_logprobs: Tensor | None = None  # None where the reference stays at the start


def stack(episodes: list[Episode], device: torch.device | str = "cpu") -> Rollout:
    """The episodes as one batch, in their order."""
    lengths = torch.tensor([len(each.reply) for each in episodes]).unsqueeze(1)
    moves = episodes[0].start_logprobs is not None
    measures = {
        name: pad_sequence([getattr(each, name) for each in episodes], batch_first=True)
        for name in (*MEASURES, *(["start_logprobs"] if moves else []))
    }
    return Rollout(
        episodes=[(each.prompt, each.reply) for each in episodes],
        scores=torch.tensor([each.score for each in episodes], device=device),
        ended=torch.tensor([each.ended for each in episodes], device=device),
        mask=(torch.arange(int(lengths.max())) < lengths).to(device),
        **{name: values.to(device) for name, values in measures.items()},
    )


def sample(
    policy: PreTrainedModel,
    reward: RewardFunction,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[Prompt],
    draws: Tensor,
    *,
    max_prompt_length: int,
    temperature: float,
) -> list[Episode]:
    """One reply to each prompt, of up to as many tokens as `draws` has columns, scored.

    Raises ValueError unless the reward function gives one finite score per reply.
    """
    replies = generate(
        policy,
        tokenizer,
        prompts,
        max_new_tokens=draws.shape[1],
        temperature=temperature,
        draws=draws,
        max_prompt_tokens=max_prompt_length,
        keep_states=computes_exactly(policy),
    )
    texts = [reply.text for reply in replies]
    scores = torch.as_tensor(reward(prompts=prompts, completions=texts)).float()
    if scores.shape != (len(prompts),) or not scores.isfinite().all():
        raise ValueError(
            f"reward: expected {len(prompts)} finite scores, one per reply, "
            f"got a tensor of shape {tuple(scores.shape)}: {scores}"
        )
    return [
        Episode(
            reply.prompt,
            reply.ids,
            reply.ended,
            score,
            reply.states,
        )
        for reply, score in zip(replies, scores.tolist())
    ]


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """Logits at a temperature; 1, the usual one, costs nothing."""
    return logits if temperature == 1 else logits / temperature


def computes_exactly(model: PreTrainedModel) -> bool:
    """Whether a token read after others is read as with them, but for 1e-6.

    In half precision the two differ enough to move ratios away from 1.
    """
    halved = torch.is_autocast_enabled(model.device.type)
    return not halved and {model.dtype, hardware.reading_dtype(model)} == {
        torch.float32
    }


@torch.no_grad()
def measure(
    episodes: list[Episode],
    model: ActorCritic,
    reference_logits: Logits,
    *,
    temperature: float,
    micro_batch_size: int,
    start_logits: Logits | None = None,
) -> None:
    """Fill in what is measured of every episode.

    start_logits: for a reference that moves, those of where it started.
    """
    references = {
        "reference_logprobs": reference_logits,
        "start_logprobs": start_logits,
    }
    pairs = [(each.prompt, each.reply) for each in episodes]
    device = model.policy.device
    everything = range(len(pairs))
    for rows, ids, targets in micro_batches(
        pairs, everything, micro_batch_size, device
    ):
        tokens = ids[:, 1:][targets]
        known = [episodes[row].states for row in rows]
        states = None if known[0] is None else torch.cat(known)
        logits, values = model(ids, targets, states)
        logits = tempered(logits, temperature)
        flat = {
            "logprobs": token_logprobs(logits, tokens),
            "entropy": token_entropy(logits),
            "values": values,
        }
        for name, read in references.items():
            if read is not None:
                others = tempered(read(ids, targets), temperature)
                flat[name] = token_logprobs(others, tokens)
        lengths = targets.sum(1).tolist()
        for name, measured in flat.items():
            for row, piece in zip(rows, measured.cpu().split(lengths)):
                setattr(episodes[row], name, piece)
        for row in rows:
            episodes[row].states = None  # nobody needs them any more


# --- prompts and chance ---------------------------------------------------------------


def seeded(*numbers: int) -> torch.Generator:
    """A generator of its own for each tuple of numbers: order plays no part."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def prompt_rows(rollout: int, size: int, count: int, seed: int) -> list[int]:
    """Which of `count` prompts a rollout takes: all once, then all in a new order."""
    places = range(rollout * size, (rollout + 1) * size)
    orders = {
        turn: torch.randperm(count, generator=seeded(seed, 0, turn)).tolist()
        for turn in {place // count for place in places}
    }
    return [orders[place // count][place % count] for place in places]


# --- batches -------------------------------------------------------------------------


def micro_batches(
    episodes: Sequence[tuple[list[int], list[int]]],
    rows: Sequence[int],
    size: int,
    device: torch.device | str,
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """(rows, ids, target mask) of at most `size` episodes of like length."""
    lengths = [sum(map(len, episodes[row])) for row in rows]
    for batch in cheap_batches(lengths, size):
        part = [rows[index] for index in batch]
        yield part, *collate([episodes[row] for row in part], device)


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """Put the values (N,) of the N reply tokens in their places in (B, T), else 0."""
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)
