"""How policies are examined: the prompts they answer, and the records they leave."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.methods import METHODS, PARTS
from helpers.recipes import evaluate
from helpers.runs import store

PAIRS = pd.DataFrame(
    {
        "id": [f"p{at}" for at in range(6)],
        "split": "test",
        "subset": ["helpful"] * 4 + ["harmless"] * 2,
        "prompt": [f"prompt {at}" for at in range(6)],
        "chosen": [f"chosen {at}" for at in range(6)],
        "rejected": [f"rejected {at}" for at in range(6)],
    }
)


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setattr(store, "read_pairs", lambda run, *splits: PAIRS)
    return PAIRS


def judge(name: str) -> SimpleNamespace:
    """One that likes long replies and knows whose prompt it reads."""
    score = lambda prompts, texts: np.array([len(text) for text in texts], float)
    return SimpleNamespace(name=name, score=score)


def test_half_of_the_prompts_are_of_each_subset(pairs) -> None:
    asked = evaluate.asked(None, 4)
    assert asked["subset"].value_counts().to_dict() == {"helpful": 2, "harmless": 2}
    again = evaluate.asked(None, 4)
    assert asked["id"].tolist() == again["id"].tolist()
    assert set(evaluate.asked(None, 2)["id"]) < set(asked["id"])  # a part of the larger


def test_a_reply_is_scored_by_every_judge_and_measured() -> None:
    texts = ["a", "bb", "ccc", "dddd", "e", "ff"]
    rows = evaluate.reply_rows(PAIRS, texts, [judge("x"), judge("y")], "greedy")
    frame = pd.DataFrame(rows)
    counts = frame.groupby(["metric", "judge"], dropna=False).size()
    assert counts["reward", "x"] == counts["reward", "y"] == len(PAIRS)
    lengths = frame[frame["metric"] == "length"].set_index("example")["value"]
    assert lengths["p3"] == 4 and set(frame["decoding"]) == {"greedy"}


def test_a_constant_reply_is_seen() -> None:
    assert evaluate.distinct_row(["same"] * 4, "sampled")["value"] == 0.25
    assert evaluate.distinct_row(["a", "b", "a", "c"], "sampled")["value"] == 0.75


def test_chosen_replies_are_examined_like_a_policy(pairs) -> None:
    rows = pd.DataFrame(evaluate.chosen_rows(None, 4, [judge("x")]))
    assert set(rows["method"]) == {"chosen"} and set(rows["seed"]) == {0}
    assert set(rows["decoding"]) == {"greedy", "sampled"}


def test_a_method_is_compared_at_its_own_strength_or_the_largest() -> None:
    records = pd.DataFrame(
        {
            "method": ["sft", "sft_dpo", "sft_dpo", "best_of_n", "best_of_n"],
            "strength": [np.nan, 0.1, 0.3, 2.0, 16.0],
        }
    )
    kept = evaluate.compared(records, {"sft_dpo": 0.1})
    assert kept["strength"].tolist()[1:] == [0.1, 16.0] and len(kept) == 3


def test_the_variants_of_ppo_are_left_out_of_the_comparison() -> None:
    records = pd.DataFrame({"method": [each.name for each in METHODS]})
    left = set(evaluate.without_parts(records)["method"])
    assert left == {each.name for each in METHODS} - set(PARTS)
    starts = evaluate.REFERENCE_OF
    assert starts["dpo"] == "base" and starts["ppo"] == "sft" and "sft" not in starts
