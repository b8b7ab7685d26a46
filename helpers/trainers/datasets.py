"""Pairs and replies as rows of token ids, tokenised once for every trainer.

Prompts are cut from the left, replies end with one end-of-turn token, and both replies of
a pair see the same prompt.
"""

from collections import Counter
from collections.abc import Iterable

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from helpers.models.encoding import encode, encode_together

SAME, CUT = "pairs_same_after_cut", "replies_without_end"  # what a cut does to pairs
PAIR_IDS = ("prompt_ids", "chosen_ids", "rejected_ids", "length")  # columns of pairs


def pair_dataset(
    pairs: pd.DataFrame,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    counts: Counter[str] | None = None,
) -> Dataset:
    """Token ids of each pair: `prompt_ids`, `chosen_ids`, `rejected_ids`, `length`.

    The prompt is cut to what the longer reply leaves, so both replies see the same one;
    it is counted once in the length, because batches of pairs share it. Pairs whose
    replies are the same after the cut teach nothing and are dropped. `counts`, if given,
    is told how many these are (`SAME`), and how many replies lose their end (`CUT`).
    """
    counts = Counter() if counts is None else counts
    counts.update({SAME: 0, CUT: 0})
    rows = []
    for pair in pairs.itertuples():
        replies = (pair.chosen, pair.rejected)
        prompt, both = encode_together(tokenizer, pair.prompt, replies, max_length)
        counts[CUT] += sum(ids[-1] != tokenizer.eos_token_id for ids in both)
        if both[0] == both[1]:
            counts[SAME] += 1
            continue
        rows.append((prompt, *both, len(prompt) + sum(map(len, both))))
    columns = map(list, zip(*rows)) if rows else [[] for _ in PAIR_IDS]
    return Dataset.from_dict(dict(zip(PAIR_IDS, columns, strict=True)))


def cut_rows(counts: Counter[str]) -> list[dict]:
    """Records of what `pair_dataset` counted."""
    return [{"metric": name, "value": float(counts[name])} for name in (SAME, CUT)]


def as_sequences(pairs: Dataset) -> Dataset:
    """Whole sequences for the reward trainers, and where the reply starts in them."""
    return pairs.map(
        lambda pair: {
            "chosen_ids": pair["prompt_ids"] + pair["chosen_ids"],
            "rejected_ids": pair["prompt_ids"] + pair["rejected_ids"],
            "reply_start": len(pair["prompt_ids"]),
        },
        remove_columns=["prompt_ids"],
    )


def reply_dataset(
    prompts: list[str],
    replies: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    whole: bool = False,
) -> Dataset:
    """Prompt and reply as one sequence, with a mask of what is learned.

    `whole=False` learns the reply only (SFT), `whole=True` every token (base model).
    """
    encoded = [
        encode(tokenizer, prompt, reply, max_length)
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    return masked_sequences(encoded, whole)


def masked_sequences(
    encoded: Iterable[tuple[list[int], list[int]]], whole: bool = False
) -> Dataset:
    """As `reply_dataset`, of (prompt ids, reply ids)."""
    rows = []
    for prompt, reply in encoded:
        mask = [int(whole)] * len(prompt) + [1] * len(reply)
        rows.append((prompt + reply, mask, len(mask)))
    names = ["input_ids", "completion_mask", "length"]
    return Dataset.from_dict(dict(zip(names, map(list, zip(*rows)), strict=True)))


def swapped(pairs: Dataset) -> Dataset:
    """Pairs whose rejected replies are to be preferred: what reverse DPO learns from."""
    names = {"chosen_ids": "rejected_ids", "rejected_ids": "chosen_ids"}
    return pairs.rename_columns(names)
