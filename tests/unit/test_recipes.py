"""What trainings learn from: of each pair only what their method is about."""

import numpy as np
import pandas as pd
import pytest

from helpers import models, recipes
from helpers.scoring import sequence_logprobs
from helpers.training import Fit

PAIRS = pd.DataFrame(
    {
        "id": [f"p{at}" for at in range(8)],
        "subset": ["helpful", "harmless"] * 4,
        "prompt": [f"\n\nHuman: what is {at}?\n\nAssistant:" for at in range(8)],
        "chosen": [f" it is {at}." for at in range(8)],
        "rejected": [f" no idea of {at}." for at in range(8)],
    }
)


@pytest.fixture
def base(tmp_path):
    """A base model on disk."""
    texts = [*(PAIRS["prompt"] + PAIRS["chosen"]), *PAIRS["rejected"]]
    tokenizer = models.build_tokenizer(texts, 300)
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 64}
    folder = tmp_path / "base"
    models.save(models.build_opt(tokenizer, **shape, seed=0), tokenizer, folder)
    return folder


def test_sft_does_not_learn_from_the_rejected_replies(
    base, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(recipes, "base_folder", lambda run: base)
    other = {
        "as they are": PAIRS,
        "rejected": PAIRS.assign(rejected=" something else"),
        "chosen": PAIRS.assign(chosen=" something else"),
    }
    log = {}
    for name, pairs in other.items():
        monkeypatch.setattr(recipes, "read_pairs", lambda run, split, it=pairs: it)
        job = {"run": tmp_path, "method": "sft", "pairs": 8, "seed": 0}
        rows = recipes.sft(tmp_path / name, fit=Fit(1e-3, 4, max_length=48), **job)
        log[name] = [row["value"] for row in rows if row["metric"] == "train_loss"]
    assert log["as they are"] == log["rejected"] != log["chosen"]


def test_sft_says_how_held_out_replies_are_predicted(base, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "base_folder", lambda run: base)
    monkeypatch.setattr(recipes, "read_pairs", lambda run, split: PAIRS)
    job = {"run": tmp_path, "method": "sft", "pairs": 8, "seed": 0}
    fit = Fit(1e-2, 4, epochs=10, max_length=48)
    rows = recipes.sft(tmp_path / "out", fit=fit, **job)
    held = pd.DataFrame([row for row in rows if row["metric"].startswith("heldout")])
    assert sorted(held["step"].unique()) == [0, 20]
    table = held.pivot(index=["metric", "subset"], columns="step", values="value")
    assert len(table) == 4
    fallen = table[20] - table[0]  # learned were the chosen ones
    assert fallen["heldout_chosen"].max() < fallen["heldout_rejected"].min() < 0
    # the mean over tokens, not over replies
    model, tokenizer = models.load_policy(base), models.load_tokenizer(base)
    part = PAIRS[PAIRS["subset"] == "helpful"]
    texts = part["prompt"].tolist(), part["chosen"].tolist()
    scores = sequence_logprobs(model, tokenizer, *texts, max_length=48)
    expected = -np.concatenate(scores).mean()
    assert table.loc[("heldout_chosen", "helpful"), 0] == pytest.approx(expected)
