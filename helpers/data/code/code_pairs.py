"""Preference pairs from source code, by the method of CodePMP (arXiv:2410.02229).

Two writers give code for the same description: the stronger one's is chosen, the weaker
one's rejected. No test is run and nobody judges; "stronger is better" is the only label.
Who writes stands in `coders`. Here code becomes pairs: filtered so that neither layout
nor length gives a writer away, with functions held out, and with what rules score there.
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from helpers.data.code.descriptions import code_documents
from helpers.data.code.mutations import parsed
from helpers.data.hh import DataError

PAIR_COLUMNS = ("id", "prompt", "chosen", "rejected", "split")
SUBSET = "code"  # the subset of code pairs in records

EMPTY = "empty reply"
UNPARSABLE = "does not parse, or is not one function"
UNLIKE = "lengths too far apart"
IDENTICAL = "identical replies"
REASONS = (EMPTY, UNPARSABLE, UNLIKE, IDENTICAL)

# --- from code to pairs ---------------------------------------------------------------


def build_pairs(
    functions: pd.DataFrame,
    strong_replies: Sequence[str],
    weak_replies: Sequence[str],
    *,
    length_ratio: float = 1.5,
    held_out: float = 0.25,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs (PAIR_COLUMNS) from two writers' code, and drops (columns reason, count).

    The replies stand in the order of `functions`. Both sides must be valid Python and
    exactly one function, and are printed anew from the syntax tree, without comments and
    docstring, so that no layout tells the writers apart. The longer side has at most
    `length_ratio` times the characters of the shorter one; sides that are the same code
    have no gradient. split: "train", or "test" for a share `held_out` (`hold_out`).
    Raises ValueError if the lengths differ, DataError if no pair is left to train on or
    to test.
    """
    rows, drops = [], Counter(dict.fromkeys(REASONS, 0))
    prompts = [prompt for prompt, _ in code_documents(functions)]
    columns = (functions["id"], prompts, strong_replies, weak_replies)
    for key, prompt, *replies in zip(*columns, strict=True):
        sides = [printed(reply) for reply in replies]
        if reason := left_out(replies, sides, length_ratio):
            drops[reason] += 1
        else:
            rows.append((key, prompt, *sides))
    pairs = pd.DataFrame(rows, columns=list(PAIR_COLUMNS[:-1]))
    pairs["split"] = hold_out(pairs["id"], held_out)
    if set(pairs["split"]) != {"train", "test"}:
        counted = ", ".join(f"{reason}: {n}" for reason, n in drops.items() if n)
        raise DataError(
            f"{len(pairs)} of {len(functions)} code pairs are left ({counted or 'all'}): "
            "expected some to train on and some held out; ask for more functions, or "
            "choose writers that write functions"
        )
    return pairs, pd.DataFrame(list(drops.items()), columns=["reason", "count"])


def left_out(
    replies: Sequence[str], sides: Sequence[str | None], ratio: float
) -> str | None:
    """Why a pair is left out, by its replies as they came and as printed; None if not."""
    if not all(reply.strip() for reply in replies):
        return EMPTY
    if None in sides:
        return UNPARSABLE
    if sides[0] == sides[1]:
        return IDENTICAL
    short, long = sorted(map(len, sides))
    return UNLIKE if long > ratio * short else None


def printed(code: str) -> str | None:
    """Code that is exactly one function in the one layout of all; None if it is not.

    Without comments and docstring; None, too, if nothing else is in it.
    """
    function = parsed(code)
    if function is None:
        return None
    if ast.get_docstring(function) is not None:
        function.body = function.body[1:]
    return ast.unparse(function) if function.body else None


def hold_out(ids: pd.Series, share: float) -> pd.Series:
    """`test` for about a share of the ids, one at least where there are two; else `train`.

    The ids of the smallest digests: which function is held out does not depend on the
    order, and hardly on which others there are.
    """
    rank = ids.map(lambda key: _digest(f"held out:{key}")).rank(method="first")
    count = min(max(1, round(share * len(ids))), max(len(ids) - 1, 0))
    return pd.Series("train", ids.index, dtype=object).mask(rank <= count, "test")


def shuffle_labels(pairs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The control without a label: each pair's sides swapped with probability 1/2.

    Whether a pair is swapped depends on its id and `seed` alone, not on its place.
    """
    swapped = pairs["id"].map(lambda key: _digest(f"{seed}:{key}") & 1).astype(bool)
    return pairs.assign(
        chosen=pairs["chosen"].mask(swapped, pairs["rejected"]),
        rejected=pairs["rejected"].mask(swapped, pairs["chosen"]),
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def of_split(pairs: pd.DataFrame, split: str) -> pd.DataFrame:
    """The pairs of one split, in their order."""
    return pairs[pairs["split"] == split].reset_index(drop=True)
