"""From texts to tokens: one way to encode prompts and replies, for every stage.

Prompts are cut from the left, once for all replies that are compared; a reply ends with
the end token. Text that spells a special token stays text. A tokenizer that reads a reply
in another way alone than after its prompt (Llama 2's puts a space mark before it) is
given both together. An instruct model is asked in its own form, by its chat template,
where its tokenizer says so (`speaks_chat`): the texts everywhere else stay the data's.
"""

import functools
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from helpers.data.dialogues import conversation

Prompt = str | list[dict]  # a text, or a conversation for the chat template
Encoded = tuple[list[int], list[int]]  # prompt ids, reply ids

# prompts and replies as they meet in dialogues and in code
_SEAMS = (
    ("\n\nHuman: Hi there\n\nAssistant:", " Hello to you."),
    ("### Response:\n", "def name(first):\n    return first"),
)
_NAMED = "\ue000"  # stands for a spelled special token while a template is filled


FORM, CHAT = "prompt_form", "chat"  # kept with a tokenizer's own settings


# --- which form -----------------------------------------------------------------------


def speak_chat(tokenizer: PreTrainedTokenizerBase) -> None:
    """From now on, and where it is saved and loaded, prompts are put by its template.

    Raises ValueError if it has none.
    """
    if not tokenizer.chat_template:
        name = tokenizer.name_or_path or type(tokenizer).__name__
        raise ValueError(f"{name} has no chat template: ask it in the data's form")
    tokenizer.init_kwargs[FORM] = CHAT


def speaks_chat(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a dialogue's text is put to this tokenizer's model by its chat template."""
    return tokenizer.init_kwargs.get(FORM) == CHAT


# --- prompts -------------------------------------------------------------------------


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, max_tokens: int
) -> list[int]:
    """Token ids of a prompt, cut from the left; never empty.

    A start token that the tokenizer or the chat template adds survives the cut. Raises
    ValueError if `max_tokens` leaves no room for a token.
    """
    return _fitted(tokenizer, prompt, _prompt_tokens(tokenizer, prompt), max_tokens)


def as_text(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
    """A prompt as the text that a reply follows; conversations by the chat template."""
    if isinstance(prompt, str) and not speaks_chat(tokenizer):
        return prompt
    prompt = conversation(prompt) if isinstance(prompt, str) else prompt
    return tokenizer.apply_chat_template(
        prompt, tokenize=False, add_generation_prompt=True
    )


def _prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt
) -> tuple[list[int], list[int]]:
    """The start tokens that are added to a prompt, and those of the prompt itself."""
    if isinstance(prompt, str) and speaks_chat(tokenizer):
        prompt = conversation(prompt)
    if not isinstance(prompt, str):
        ids = _conversation_tokens(tokenizer, prompt)
        start = int(ids[:1] == [tokenizer.bos_token_id])
        return ids[:start], ids[start:]
    encoded = tokenizer(
        prompt,
        return_special_tokens_mask=True,
        split_special_tokens=True,
        verbose=False,
    )
    ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
    first = next((at for at, special in enumerate(added) if not special), len(ids))
    own = [token for token, special in zip(ids, added) if not special]  # no added end
    if not ids:  # a reply must have something to follow
        return [], [tokenizer.eos_token_id]
    return ids[:first], own


def _conversation_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict]
) -> list[int]:
    """A conversation by the chat template, whose special tokens alone are special."""
    special = sorted(tokenizer.all_special_tokens, key=len, reverse=True)
    spelled, cleaned = [], []
    for message in messages:
        parts, content = [], message["content"]
        while content:
            at, token = min(
                ((content.find(t), t) for t in special if t in content),
                default=(len(content), ""),
            )
            parts.append(content[:at] + (_NAMED if token else ""))
            spelled += [token] * bool(token)
            content = content[at + len(token) :]
        cleaned.append({**message, "content": "".join(parts)})
    first, *rest = as_text(cleaned, tokenizer).split(_NAMED)
    ids = plain_tokens(tokenizer, first, special=True)
    for token, after in zip(spelled, rest, strict=True):
        ids += plain_tokens(tokenizer, token)
        ids += plain_tokens(tokenizer, after, special=True)
    return ids


def plain_tokens(
    tokenizer: PreTrainedTokenizerBase, text: str, special: bool = False
) -> list[int]:
    """The tokens of a text, nothing added; `special`: spelled ones are special."""
    if not text:
        return []
    return tokenizer(
        text, add_special_tokens=False, split_special_tokens=not special, verbose=False
    )["input_ids"]


def _fitted(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    tokens: tuple[list[int], list[int]],
    max_tokens: int,
) -> list[int]:
    """A prompt's `_prompt_tokens`, cut from the left; by template whole turns first."""
    start, ids = tokens
    if isinstance(prompt, str) and speaks_chat(tokenizer):
        messages = conversation(prompt)
        while len(start) + len(ids) > max_tokens and len(messages) > 2:
            messages = messages[2:]  # a question and its answer
            start, ids = _prompt_tokens(tokenizer, messages)
    return _cut_left(start, ids, max_tokens)


def _cut_left(start: list[int], ids: list[int], max_tokens: int) -> list[int]:
    room = max_tokens - len(start)
    if room < 1:
        raise ValueError(f"{max_tokens} tokens leave no room for a prompt")
    return start + ids[-room:]


def reply_room(max_new_tokens: int) -> int:
    """Tokens that a sampled reply may take when it is read again: one for its end."""
    return max_new_tokens + 1


def prompt_room(max_length: int, max_new_tokens: int) -> int:
    """Tokens that a prompt may have, for its policy and for whoever reads the reply."""
    return max_length - reply_room(max_new_tokens)


# --- replies after prompts -------------------------------------------------------------


def encode(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, reply: str, max_length: int
) -> Encoded:
    """(prompt ids, reply ids), together at most `max_length` tokens.

    The reply ends with the end-of-sequence token. What does not fit is cut from the
    left of the prompt, down to half of `max_length`; beyond that from the right of the
    reply, which then has no end. Raises ValueError if `max_length` is below 4.
    """
    prompt_ids, (reply_ids,) = encode_together(tokenizer, prompt, [reply], max_length)
    return prompt_ids, reply_ids


def encode_together(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    replies: Sequence[str],
    max_length: int,
    room: int = 0,
) -> tuple[list[int], list[list[int]]]:
    """As `encode`, for replies that are compared: one cut of the prompt for all of them.

    It leaves room for the longest, and for `room` tokens at least: what other replies
    to the same prompt may take, its end counted.
    """
    if max_length < 4:
        raise ValueError(f"max_length {max_length}: expected at least 4 tokens")
    start, prompt_ids = _prompt_tokens(tokenizer, prompt)
    most = max_length - min(len(start) + len(prompt_ids), max_length // 2)
    rest = [
        [*reply_tokens(tokenizer, prompt, reply), tokenizer.eos_token_id][:most]
        for reply in replies
    ]
    longest = max([min(room, most), *map(len, rest)])
    tokens = (start, prompt_ids)
    return _fitted(tokenizer, prompt, tokens, max_length - longest), rest


def reply_tokens(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, reply: str
) -> list[int]:
    """The tokens of a reply as it follows its prompt, without an end.

    Raises ValueError if the tokenizer cannot tell where the reply begins.
    """
    if speaks_chat(tokenizer):
        reply = reply.removeprefix(" ")  # which the data has after `Assistant:`
    if reads_apart(tokenizer):
        return plain_tokens(tokenizer, reply)
    text = as_text(prompt, tokenizer)
    for before in (text, text[-1:], ":"):
        head = plain_tokens(tokenizer, before)
        whole = plain_tokens(tokenizer, before + reply)
        if whole[: len(head)] == head:
            return whole[len(head) :]
    raise ValueError(
        f"{tokenizer.name_or_path or type(tokenizer).__name__}: its tokens reach from "
        "the prompt into the reply; expected a tokenizer that keeps them apart"
    )


def reply_text(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], prompt: Sequence[int]
) -> str:
    """The text of reply tokens after those of its prompt, special ones left out."""

    def decoded(tokens: Sequence[int]) -> str:
        return tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    if speaks_chat(tokenizer):
        return f" {decoded(ids)}"
    if reads_apart(tokenizer):
        return decoded(ids)
    before = list(prompt[-1:])  # without it the first space would be lost
    return decoded([*before, *ids])[len(decoded(before)) :]


@functools.lru_cache(maxsize=16)
def reads_apart(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether prompt and reply, each encoded alone, are the tokens of the whole."""
    return all(
        plain_tokens(tokenizer, prompt) + plain_tokens(tokenizer, reply)
        == plain_tokens(tokenizer, prompt + reply)
        for prompt, reply in _SEAMS
    )
