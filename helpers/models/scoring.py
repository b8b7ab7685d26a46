"""What a model says of given replies: one way to read them, whichever head is asked.

Replies to the same prompt are read two by two after one copy of it, and a head sees only
the states that it needs: those before reply tokens, or the last of each reply.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers.losses.token_level import token_kl, token_logprobs
from helpers.models import hardware
from helpers.models.batching import cheap_batches, length_batches
from helpers.models.encoding import Encoded, Prompt, encode_together
from helpers.models.generation import check_positions
from helpers.models.language_heads import logits_of
from helpers.models.prompt_sharing import can_share, last_tokens, sharing_prompts
from helpers.models.states import collate, evaluating, reply_logits, states_at


def sequence_logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    replies: Sequence[str],
    *,
    batch_size: int | None = None,
    max_length: int,
) -> list[np.ndarray]:
    """Log-probability in nats of each reply token, the end included, per reply.

    One float array per pair, in order, as long as the reply's tokens under `encode`.
    """
    encoded = encode_replies(tokenizer, prompts, replies, max_length)
    return token_scores(model, encoded, batch_size)


def encode_replies(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    replies: Sequence[str],
    max_length: int,
    room: int = 0,
) -> list[Encoded]:
    """Every reply after its prompt, in order; ValueError if the numbers differ.

    All replies to one prompt stand after one cut of it, which leaves `room` tokens at
    least (`encoding.encode_together`): what is compared is read after the same words.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, (prompt, _) in enumerate(zip(prompts, replies, strict=True)):
        rows[prompt if isinstance(prompt, str) else repr(prompt)].append(row)
    found: list[Encoded | None] = [None] * len(replies)
    for group in rows.values():
        given = (prompts[group[0]], [replies[row] for row in group])
        prompt_ids, rest = encode_together(tokenizer, *given, max_length, room)
        for row, reply_ids in zip(group, rest):
            found[row] = prompt_ids, reply_ids
    return found


def token_scores(
    model: PreTrainedModel, encoded: Sequence[Encoded], batch_size: int | None = None
) -> list[np.ndarray]:
    """As `sequence_logprobs`, for (prompt ids, reply ids)."""

    def score(states: Tensor, following: Tensor) -> Tensor:
        return token_logprobs(logits_of(model, states).float(), following)

    return read_replies(model, encoded, score, batch_size)


def end_scores(
    model: PreTrainedModel, encoded: Sequence[Encoded], batch_size: int | None = None
) -> np.ndarray:
    """A scorer's value of each (prompt ids, reply ids); (n,).

    Of a causal model that of its head at the last token; an encoder has one value of all.
    """
    if reads_both_ways(model):
        return _classified(model, encoded, batch_size or hardware.rows_at_once())

    def score(states: Tensor, _: Tensor) -> Tensor:
        return model.score(states).squeeze(-1).float()

    found = read_replies(model, encoded, score, batch_size, ends=True)
    return np.concatenate([np.empty(0), *found])


def reads_both_ways(model: PreTrainedModel) -> bool:
    """Whether a sequence classifier is an encoder, whose tokens see what follows them."""
    return not hasattr(model, "score")  # the head of causal models, read at one token


def real_tokens(ids: Tensor, lengths: Sequence[int]) -> Tensor:
    """The attention mask (B, L) of right-padded ids whose rows have so many tokens."""
    count = torch.tensor(lengths).unsqueeze(1)
    return (torch.arange(ids.shape[1]) < count).long().to(ids.device)


@torch.inference_mode()
def _classified(
    model: PreTrainedModel, encoded: Sequence[Encoded], batch_size: int
) -> np.ndarray:
    """The logit of an encoder with one label, of whole sequences; (n,)."""
    scores = np.empty(len(encoded))
    lengths = [len(prompt) + len(reply) for prompt, reply in encoded]
    for rows in length_batches(lengths, batch_size):
        ids, _ = collate([encoded[row] for row in rows], model.device)
        mask = real_tokens(ids, [lengths[row] for row in rows])
        with hardware.reading(model):
            logits = model(input_ids=ids, attention_mask=mask).logits
        scores[rows] = logits.squeeze(-1).float().cpu().numpy()
    return scores


@torch.inference_mode()
def exact_kl(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    encoded: Sequence[Encoded],
    batch_size: int | None = None,
) -> np.ndarray:
    """KL(policy || reference) along each reply that the policy sampled, in nats; (n,).

    The sum over its tokens of the divergence of the two next-token distributions. Its
    mean is the divergence of the replies, as is that of the log-ratio of sampled tokens.
    Each token's term varies less than its log-ratio (Rao-Blackwell; Amini et al. 2025,
    arXiv:2504.10637); the sum usually does, but terms of one reply are not independent.
    """
    size = batch_size or hardware.rows_at_once() // 2  # logits of two models are held
    found = np.empty(len(encoded))
    lengths = [len(prompt) + len(reply) for prompt, reply in encoded]
    with evaluating(policy), evaluating(reference):
        for rows in cheap_batches(lengths, size):
            ids, mask = collate([encoded[row] for row in rows], policy.device)
            logits = (reply_logits(model, ids, mask) for model in (policy, reference))
            pieces = token_kl(*logits).split(mask.sum(1).tolist())
            found[rows] = [piece.sum().item() for piece in pieces]
    return found


@torch.inference_mode()
def read_replies(
    model: PreTrainedModel,
    encoded: Sequence[Encoded],
    head: Callable[[Tensor, Tensor], Tensor],
    batch_size: int | None,
    ends: bool = False,
) -> list[np.ndarray]:
    """What `head(states (N, H), ids (N,))` gives for each reply, in order.

    The states are those before the reply's tokens, and the ids these tokens; or with
    `ends` the state at the last token alone. Batches hold replies of like length, at
    most `batch_size` (None: what is fast here) or 2. Raises ValueError for more tokens
    than the model holds.
    """
    lengths = [len(prompt) + len(reply) for prompt, reply in encoded]
    check_positions(model, max(lengths, default=0))
    prompts = [tuple(prompt) for prompt, _ in encoded]
    repeated = len(set(prompts)) < len(prompts)
    groups: list[tuple[int, ...]] = [(row,) for row in range(len(encoded))]
    if repeated and can_share(model):
        groups = couples(prompts)
    found: list[np.ndarray | None] = [None] * len(encoded)
    longest = [sum(lengths[row] for row in group) for group in groups]
    together = max(map(len, groups), default=1)
    size = max(1, (batch_size or hardware.rows_at_once()) // together)
    with evaluating(model):
        for batch in cheap_batches(longest, size):
            rows = [
                row for side in zip(*(groups[each] for each in batch)) for row in side
            ]
            part = [encoded[row] for row in rows]
            pieces = _read_batch(model, part, head, ends, repeated)
            for row, piece in zip(rows, pieces):
                found[row] = piece.cpu().numpy()
    return found


def _read_batch(
    model: PreTrainedModel,
    encoded: list[Encoded],
    head: Callable,
    ends: bool,
    repeated: bool,
) -> tuple[Tensor, ...]:
    """As `read_replies`, of one batch: the first of every group, then the second."""
    ids, predicts = collate(encoded, model.device)
    lengths = [len(prompt) + len(reply) for prompt, reply in encoded]
    mask = real_tokens(ids, lengths)
    # read at the last token itself: a padding id may be a token of the text
    read = last_tokens(mask) if ends else F.pad(predicts, (0, 1))
    with hardware.reading(model):
        if repeated:
            states = _shared_states(model, ids, mask, read)
        else:
            states = states_at(model, ids, read)
    output = head(states.to(model.dtype), ids.roll(-1, 1)[read])
    return output.split(read.sum(1).tolist())


def _shared_states(
    model: PreTrainedModel, ids: Tensor, mask: Tensor, read: Tensor
) -> Tensor:
    """As `states_at`, of a batch in halves that share prompts, if the model can."""
    trunk = model.get_decoder()
    with sharing_prompts(model, read):
        output = trunk(input_ids=ids, attention_mask=mask, use_cache=False)
    return output.last_hidden_state[read]


def couples(keys: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Rows two by two, each with one of the same key, or with itself if none is left."""
    pairs, waiting = [], {}
    for row, key in enumerate(keys):
        if key in waiting:
            pairs.append((waiting.pop(key), row))
        else:
            waiting[key] = row
    return pairs + [(row, row) for row in waiting.values()]
