"""Sampling replies: with a cache of keys and values, from draws that a seed fixes.

Sampling keeps a key-value cache and drops each reply from the batch as soon as it ends,
by the one rule of `endings`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from helpers.models.batching import length_batches
from helpers.models.encoding import Prompt, encode_prompt
from helpers.models.endings import Ending
from helpers.models.hardware import reading, replies_at_once
from helpers.models.kv_cache import roomy_cache
from helpers.models.language_heads import logits_of
from helpers.models.states import evaluating


@dataclass(frozen=True)
class Reply:
    """One sampled turn.

    `prompt` are the tokens that it follows, cut as they were read; `ids` are all sampled
    tokens, with the one that ended the turn (`endings.Ending`); `text` stops before what
    ended it. `ended` is False where `max_new_tokens` cut the reply short. `states` (T, H), if they were to be kept, are the trunk's before each of
    the T tokens.
    """

    text: str
    prompt: list[int]
    ids: list[int]
    ended: bool
    states: Tensor | None = None


# --- generation ----------------------------------------------------------------------


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_prompt_tokens: int,
    **settings,
) -> list[Reply]:
    """One reply to each prompt, in their order; `settings` as `continue_prompts`."""
    encoded = [encode_prompt(tokenizer, p, max_prompt_tokens) for p in prompts]
    return continue_prompts(model, tokenizer, encoded, **settings)


@torch.inference_mode()
def continue_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    draws: Tensor | None = None,
    batch_size: int | None = None,
    stop_at_human: bool = True,
    keep_states: bool = False,
) -> list[Reply]:
    """One reply to each prompt, given as token ids, in the order of the prompts.

    Temperature 0 is greedy; else tokens are drawn after the temperature, `top_k`
    (0 = all) and `top_p` (1 = all) filters, each by its own number of `draws`
    (prompts, max_new_tokens), which come from `seed` unless given: replies do not
    depend on batches. A reply ends as `endings.Ending` says, without `stop_at_human` at
    an end token only. A GPU computes in half precision. Raises ValueError if prompt and
    reply may exceed the model's positions.
    """
    check_positions(model, max(map(len, encoded), default=0) + max_new_tokens)
    pick = _picker(temperature, top_k, top_p)
    if draws is None:
        generator = torch.Generator().manual_seed(seed)
        draws = uniform_draws(len(encoded), max_new_tokens, generator)
    exact = torch.float32 if model.device.type == "mps" else torch.float64
    draws = draws.to(model.device, exact)  # Apple's chips have no doubles
    ending = Ending(tokenizer, model, stop_at_human)
    replies: list[Reply | None] = [None] * len(encoded)
    with evaluating(model), reading(model):
        size = batch_size or replies_at_once()
        for rows in length_batches([len(ids) for ids in encoded], size):
            batch = [encoded[row] for row in rows]
            sampled, states = decode(
                model, batch, pick, draws[rows], ending.reached, keep_states
            )
            for place, (row, ids) in enumerate(zip(rows, sampled)):
                text, ended = ending.text(ids, encoded[row]), ending.reached(ids)
                own = None if states is None else states[place, : len(ids)]
                replies[row] = Reply(text, encoded[row], ids, ended, own)
    return replies


def uniform_draws(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Numbers in [0, 1) that decide which tokens are sampled, (rows, columns)."""
    # double: a single-precision draw could not reach the tokens below 1 in 2^24
    return torch.rand(rows, columns, generator=generator, dtype=torch.float64)


def decode(
    model: PreTrainedModel,
    prompts: list[list[int]],
    pick: Callable[[Tensor, Tensor], Tensor],
    draws: Tensor,
    ended: Callable[[list[int]], bool],
    keep_states: bool,
) -> tuple[list[list[int]], Tensor | None]:
    """Sample one batch, with a cache from which rows leave as soon as they end.

    `draws` (B, T): a number for each of the up to T tokens of each reply. Also gives the
    trunk's states (B, T, H) before each token, if they are to be kept.
    """
    tokens = [torch.tensor(ids, device=model.device) for ids in prompts]
    ids = pad_sequence(tokens, batch_first=True, padding_side="left")
    ones = [torch.ones_like(row) for row in tokens]
    mask = pad_sequence(ones, batch_first=True, padding_side="left")
    cache, kept = roomy_cache(model.config), []
    trunk = model.get_decoder()
    replies: list[list[int]] = [[] for _ in prompts]
    active = list(range(len(prompts)))
    for drawn in draws.T:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        states = trunk(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        if keep_states:
            kept.append(states.new_zeros(len(prompts), states.shape[1]))
            kept[-1][active] = states
        ids = pick(logits_of(model, states), drawn[active]).unsqueeze(1)
        for row, token in zip(active, ids[:, 0].tolist()):
            replies[row].append(token)
        keep = [i for i, row in enumerate(active) if not ended(replies[row])]
        if not keep:
            break
        if len(keep) < len(active):
            active = [active[i] for i in keep]
            index = torch.tensor(keep, device=ids.device)
            cache.batch_select_indices(index)
            ids, mask = ids[index], mask[index]
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
    return replies, torch.stack(kept, dim=1) if kept else None


def _picker(
    temperature: float, top_k: int, top_p: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """The rule that takes logits (B, V) and draws (B,) to next tokens (B,)."""
    if temperature == 0:
        return lambda logits, drawn: logits.argmax(-1)
    filters = LogitsProcessorList([TemperatureLogitsWarper(float(temperature))])
    if top_k:
        filters.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        filters.append(TopPLogitsWarper(top_p))

    def pick(logits: Tensor, drawn: Tensor) -> Tensor:
        shares = filters(None, logits.float()).to(drawn.dtype).softmax(-1)
        below = shares.cumsum(-1)  # a draw falls into the share of one token
        chosen = torch.searchsorted(
            below, drawn.unsqueeze(1) * below[:, -1:], right=True
        )
        return chosen.squeeze(1).clamp(max=logits.shape[-1] - 1)

    return pick


def check_positions(model: PreTrainedModel, needed: int) -> None:
    """Refuse lengths that a model with learned positions cannot hold."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and needed > limit:
        raise ValueError(
            f"prompt and reply take up to {needed} tokens, the model holds {limit}: "
            "lower max_prompt_tokens or max_new_tokens"
        )
