"""Preference dialogues: read, cut into prompt and replies, validated, split.

One parser for the published Anthropic HH-RLHF files (Bai et al. 2022,
arXiv:2204.05862), for a folder in their layout and for the built-in corpus. Pairs
that cannot be compared fairly are dropped and counted by reason; a conversation
never crosses two splits; nothing depends on the order of the lines.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from os.path import isdir  # unlike Path's, False for a name that is too long
from pathlib import Path

import pandas as pd

from helpers.core import hub
from helpers.core.inputs import shown
from helpers.core.paths import ROOT
from helpers.data.dialogues import FAULTS, compare, opening, spaced, turns
from helpers.data.json_lines import DataError, check_texts, read_objects
from helpers.data.synthetic import corpus

BUILT_IN = "built-in"
TEST_PAIRS = 1200  # generated at most for test: intervals of +-3 points on one accuracy
SPLITS = ("train", "judge", "dev", "test")
FOLDERS = {"helpful": "helpful-base", "harmless": "harmless-base"}
PAIR_COLUMNS = ("id", "subset", "split", "prompt", "chosen", "rejected", "turns")

DUPLICATE = "duplicate pair"
SHARED = "conversation shared with test"
NOT_DRAWN = "not drawn"
REASONS = {
    "train": (*FAULTS, DUPLICATE, SHARED, NOT_DRAWN),
    "test": (*FAULTS, DUPLICATE, NOT_DRAWN),
}

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\w+)?")
_EXPECTED = 'expected one object {"chosen": "...", "rejected": "..."} per line'


# --- Files ----------------------------------------------------------------------


def read_rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (chosen, rejected) from a .jsonl or .jsonl.gz file; DataError if bad."""
    row = None
    for where, row in read_objects(path, _EXPECTED):
        yield _row(row, where)
    if row is None:
        raise DataError(f"{shown(path)}, line 1: the file is empty; {_EXPECTED}")


def _row(row: dict, where: str) -> tuple[str, str]:
    check_texts(row, ("chosen", "rejected"), where, _EXPECTED)
    return row["chosen"], row["rejected"]


def _folder_rows(root: Path, subset: str, split: str) -> Iterator[tuple[str, str]]:
    stem = root / FOLDERS[subset] / f"{split}.jsonl"
    for path in (stem.with_name(stem.name + ".gz"), stem):
        if path.is_file():
            return read_rows(path)
    raise DataError(
        f"{stem}.gz (or {stem.name}) is missing: expected helpful-base/ and "
        f"harmless-base/ in {root}, each with train.jsonl.gz and test.jsonl.gz"
    )


def _hub_rows(name: str, subset: str, split: str) -> Iterator[tuple[str, str]]:
    """Rows of a hub data set; 0-based row numbers of the hub become line numbers."""
    from datasets import load_dataset  # slow to import, needed for the hub only

    try:
        name, commit = hub.located(name)
        table = load_dataset(
            name, data_dir=FOLDERS[subset], split=split, revision=commit
        )
    except Exception as error:  # the library raises many kinds for "not there"
        raise DataError(
            f"{name}: neither a folder nor a hub data set that could be loaded with "
            f"data_dir={FOLDERS[subset]!r}, split={split!r} "
            f"({type(error).__name__}: {spaced(str(error))[:200]})"
        ) from error
    where = f"{name}/{FOLDERS[subset]}/{split}"
    return (_row(row, f"{where}, line {n}") for n, row in enumerate(table, 1))


def source_rows(
    source: str, subset: str, split: str, n_builtin: int, seed: int
) -> Iterable[tuple[str, str]]:
    """All (chosen, rejected) dialogues of one subset and official split, as they come."""
    if source == BUILT_IN:
        n = n_builtin if split == "train" else max(min(n_builtin // 4, TEST_PAIRS), 2)
        n = (n + (subset == "helpful")) // 2  # an odd pair goes to helpful
        rows = corpus.transcripts(subset, split, n, seed)
        return [(row["chosen"], row["rejected"]) for row in rows]
    folder = ROOT / source  # an absolute path stays as it is
    if isdir(folder):
        return _folder_rows(folder, subset, split)
    if _HUB_NAME.fullmatch(source):
        return _hub_rows(source, subset, split)
    raise DataError(
        f"{folder}: no such folder; expected {BUILT_IN!r}, a hub name such as "
        "'Anthropic/hh-rlhf', or a folder with helpful-base/ and harmless-base/"
    )


# --- All pairs ------------------------------------------------------------------


def load_pairs(
    source: str,
    *,
    n_builtin: int,
    max_pairs: int,
    judge_fraction: float,
    seed: int,
    max_test_pairs: int = 0,
    dev_fraction: float = 0.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Load preference pairs and say what was dropped.

    source: "built-in", a folder in the hub's layout (relative to the project root) or
    a hub name. n_builtin: generated training pairs, both subsets together; a quarter
    as many, at most TEST_PAIRS, are generated for test. max_pairs, max_test_pairs: at
    most so many pairs of the training and of the test split are drawn, as evenly from
    both subsets as they allow (0: all). judge_fraction: share of the drawn
    conversations set aside for a held-out judge, [0, 1). dev_fraction: share on which
    settings are chosen, [0, 1 - judge_fraction). seed: of the generated corpus and of
    the draws.

    Returns (pairs, drops). pairs: columns PAIR_COLUMNS, split "train", "judge", "dev"
    or "test", prompt up to and with its last marker, one row per pair in an order that
    does not depend on that of the files. drops: subset, split (official), reason,
    count, every reason with its zeros. Raises DataError for input that cannot be
    read, ValueError for numbers out of range.
    """
    if not 0 <= judge_fraction < 1:
        raise ValueError(f"judge_fraction is {judge_fraction}; expected [0, 1)")
    if not 0 <= dev_fraction < 1 - judge_fraction:
        raise ValueError(
            f"dev_fraction is {dev_fraction}; expected 0 or more, and less than 1 "
            f"together with judge_fraction, {judge_fraction}"
        )
    if min(max_pairs, max_test_pairs) < 0 or n_builtin < 2:
        raise ValueError("expected max_pairs, max_test_pairs >= 0 and n_builtin >= 2")
    frames, dropped = [], Counter()
    for subset, folder in FOLDERS.items():
        for split in ("train", "test"):
            rows = source_rows(source, subset, split, n_builtin, seed)
            frame, reasons = _parsed(rows, subset, split)
            frames.append(frame)
            dropped.update({(subset, split, r): n for r, n in reasons.items()})
            if frame.empty:
                raise DataError(
                    f"{source}: no usable pair in {folder}/{split}; "
                    f"dropped: {dict(reasons)}"
                )
    pairs = pd.concat(frames).sort_values("id", ignore_index=True)
    pairs = _without(pairs, _shared_with_test(pairs), SHARED, dropped)
    for split, most in (("train", max_pairs), ("test", max_test_pairs)):
        lost = _not_drawn(pairs, split, most, seed)
        pairs = _without(pairs, lost, NOT_DRAWN, dropped)
    learned = pairs["split"].eq("train")
    shares = pairs["opening"].map(_share)
    edge = judge_fraction + dev_fraction
    pairs.loc[learned & (shares < edge), "split"] = "dev"
    pairs.loc[learned & (shares < judge_fraction), "split"] = "judge"
    return pairs[list(PAIR_COLUMNS)], _drops_table(dropped)


def _parsed(
    rows: Iterable[tuple[str, str]], subset: str, split: str
) -> tuple[pd.DataFrame, Counter[str]]:
    """The comparable pairs of one file, without duplicates, and why others are not."""
    kept, reasons = {}, Counter()
    for row in rows:
        pair = compare(*row)
        if isinstance(pair, str):
            reasons[pair] += 1
            continue
        name = f"{subset}-{_digest(*pair)[:12]}"
        if name in kept:
            reasons[DUPLICATE] += 1
            continue
        prompt = pair[0]
        kept[name] = (name, subset, split, *pair, turns(prompt), opening(prompt))
    return pd.DataFrame(
        list(kept.values()), columns=[*PAIR_COLUMNS, "opening"]
    ), reasons


def _shared_with_test(pairs: pd.DataFrame) -> pd.Series:
    """Training pairs whose opening turn also opens a test pair of either subset."""
    test = pairs["split"].eq("test")
    return ~test & pairs["opening"].isin(pairs.loc[test, "opening"])


def _not_drawn(pairs: pd.DataFrame, split: str, most: int, seed: int) -> pd.Series:
    """Pairs of a split beyond the first `most`, subsets taking turns by hash."""
    part = pairs[pairs["split"].eq(split)]
    if not 0 < most < len(part):
        return pd.Series(False, index=pairs.index)
    place = part["id"].map(lambda name: _share(f"{seed} {name}"))
    turn = place.groupby(part["subset"]).rank(method="first")
    order = pd.DataFrame({"turn": turn, "place": place}).sort_values(["turn", "place"])
    return pd.Series(pairs.index.isin(order.index[most:]), index=pairs.index)


def _without(
    pairs: pd.DataFrame, lost: pd.Series, reason: str, dropped: Counter
) -> pd.DataFrame:
    """The pairs that are not lost; the others are counted."""
    counts = pairs[lost].groupby(["subset", "split"]).size()
    dropped.update({(*where, reason): int(n) for where, n in counts.items()})
    return pairs[~lost].reset_index(drop=True)


def _drops_table(dropped: Counter) -> pd.DataFrame:
    rows = [
        (subset, split, reason, dropped[subset, split, reason])
        for subset in FOLDERS
        for split, reasons in REASONS.items()
        for reason in reasons
    ]
    return pd.DataFrame(rows, columns=["subset", "split", "reason", "count"])


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _share(text: str) -> float:
    """A stable hash of a text, uniform in [0, 1)."""
    return int(_digest(text)[:13], 16) / 16**13
