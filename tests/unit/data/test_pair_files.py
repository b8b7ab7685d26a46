"""Code pairs from a folder: what is read, printed, left out and held out."""

import gzip
import json
from pathlib import Path

import pytest

from helpers.analysis.pair_scorers import rule_margins
from helpers.core.paths import ROOT
from helpers.data.code import pair_files
from helpers.data.hh import DataError

REAL = ROOT.parent / "shared" / "code-pairs"
GOOD = """import math
from typing import List


def half(x):
    \"\"\"Half of it.\"\"\"
    return x / 2  # exact


def area(r):
    pass


def area(r: float) -> float:
    \"\"\"Of a circle.\"\"\"
    return math.pi * half(r) * 2 * r


print(area(3))
if __name__ == "__main__":
    area(1)
"""
PRINTED = """import math

def half(x):
    return x / 2

def area(r: float) -> float:
    return math.pi * half(r) * 2 * r"""
WEAK = "import math\n\ndef half(x):\n    return x // 2\n\ndef area(r):\n    return half(r) * 3"


def pair(number: int = 0, **changes: object) -> dict:
    row = {
        "prompt": f"Task {number}: the area of a circle.\n\n",
        "chosen": GOOD,
        "rejected": WEAK,
        "bench": "humaneval",
        "task": f"HumanEval/{number}",
        "entry_point": "area",
        "chosen_pass": True,
        "rejected_pass": False,
        "chosen_model": "large",
        "rejected_model": "small",
    }
    return row | changes


def folder(place: Path, *rows: dict) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (place / "pairs.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return place


def counts(place: Path, *rows: dict, **how: object) -> dict[str, int]:
    _, drops = pair_files.read_pairs(folder(place, *rows), length_ratio=9, **how)
    return {row["reason"]: row["count"] for _, row in drops.iterrows() if row["count"]}


def test_code_is_the_asked_function_with_what_it_needs() -> None:
    assert pair_files.printed(GOOD, "area") == PRINTED
    assert pair_files.printed(GOOD, "half") == "def half(x):\n    return x / 2"
    assert pair_files.printed(GOOD, "volume") is None
    assert pair_files.printed("def area(:", "area") is None
    assert pair_files.printed("area = 3", "area") is None


@pytest.mark.parametrize(
    "body",
    [
        "+".join("1" * 3000),  # parsed, but too deep to be printed
        "0x" + "f" * 5000,  # Python refuses to print so many digits
        "(" * 300 + ")" * 300,
        "'\0'",
    ],
)
def test_code_that_cannot_be_printed_is_none(body: str) -> None:
    assert pair_files.printed(f"def area(r):\n    return {body}", "area") is None


def test_a_pair_is_what_both_wrote(tmp_path: Path) -> None:
    place = folder(tmp_path, *map(pair, range(8)))
    pairs, drops = pair_files.read_pairs(place, held_out=0.25, length_ratio=9)
    assert len(pairs) == 8 and drops["count"].sum() == 0
    first = pairs.iloc[0]
    assert first["chosen"] == PRINTED and first["prompt"].endswith("circle.\n")
    assert first["writers"] == "large over small"
    assert pairs["split"].value_counts().to_dict() == {"train": 6, "test": 2}
    assert pairs["id"].is_unique


def test_what_teaches_nothing_is_counted(tmp_path: Path) -> None:
    keep = [pair(1), pair(2)]
    assert counts(tmp_path, *keep, pair(3, rejected=GOOD)) == {pair_files.IDENTICAL: 1}
    assert counts(tmp_path, *keep, pair(3, chosen=" ")) == {pair_files.EMPTY: 1}
    assert counts(tmp_path, *keep, keep[0]) == {pair_files.DUPLICATE: 1}
    wrong = pair(3, entry_point="volume")
    assert counts(tmp_path, *keep, wrong) == {pair_files.UNPARSABLE: 1}
    unknown = pair(3, rejected_pass=None)
    assert counts(tmp_path, *keep, unknown) == {}
    found = counts(tmp_path, *keep, unknown, verified=True)
    assert found == {pair_files.UNVERIFIED: 1}
    place = folder(tmp_path, *keep, pair(3, rejected="def area(r):\n    return r"))
    _, drops = pair_files.read_pairs(place, length_ratio=3)
    assert drops.set_index("reason")["count"][pair_files.UNLIKE] == 1


def test_a_task_is_held_out_whole_whoever_answered_it(tmp_path: Path) -> None:
    rows = [
        pair(at, bench=bench, prompt=f"{bench} {at}", task=f"{name}/{at}")
        for at in range(10)
        for bench, name in (("mbpp", "MBPP"), ("mbppplus", "Mbpp"), ("humaneval", "H"))
    ]
    pairs, _ = pair_files.read_pairs(folder(tmp_path, *rows), length_ratio=9)
    assert pairs["task"].nunique() == 20
    assert (pairs.groupby("task")["split"].nunique() == 1).all()
    assert set(pairs["split"]) == {"train", "test"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "pairs.jsonl, line 1: not JSON"),
        ("[1]", "line 1: found a list; expected one object per line, with prompt"),
        ("{}", "line 1: key 'prompt' is missing"),
        (json.dumps(pair() | {"task": 3}), "line 1: 'task' is a int, not text"),
        (json.dumps(pair() | {"task": "a\0"}), "line 1: 'task' holds a NUL"),
        (json.dumps(pair() | {"task": "\ud800"}), "line 1: 'task' holds half a"),
        (json.dumps(pair() | {"chosen_model": None}), "'chosen_model' is a NoneType"),
        (json.dumps(pair() | {"chosen_pass": 1}), "'chosen_pass' is 1; expected true"),
        ("[" * 100_000, "line 1: nested too deeply; expected one object"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "pairs.jsonl").write_text(line)
    with pytest.raises(DataError, match=said):
        pair_files.read_pairs(tmp_path)


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \*.jsonl"):
        pair_files.read_pairs(tmp_path)
    with pytest.raises(DataError, match="0 code pairs are left .identical replies: 1."):
        pair_files.read_pairs(folder(tmp_path, pair(1, rejected=GOOD)))


@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/code-pairs on this machine")
@pytest.mark.parametrize("verified", [False, True])
def test_real_pairs_are_not_told_by_length(verified: bool) -> None:
    pairs, drops = pair_files.read_pairs(REAL, verified=verified)
    assert len(pairs) + drops["count"].sum() == 7482
    assert len(pairs) > (1200 if verified else 3500)
    margins = rule_margins(pairs)
    right = (margins["value"] > 0) + 0.5 * (margins["value"] == 0)
    right = right.groupby(margins["method"]).mean()
    assert abs(right["length"] - 0.5) < 0.08
    assert not set(pairs.query("split == 'train'")["task"]) & set(
        pairs.query("split == 'test'")["task"]
    )
