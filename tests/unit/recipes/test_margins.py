"""Margins: policies and judges as scorers of the same pairs."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from helpers.core.records import tidy, write_records
from helpers.recipes import pair_margins
from helpers.runs import store

TEST = pd.DataFrame(
    {
        "id": ["a", "b"],
        "subset": ["helpful", "harmless"],
        "split": "test",
        "prompt": ["p", "q"],
        "chosen": ["long reply", "x"],
        "rejected": ["short", "yy"],
    }
)


def likelihoods(method: str, strength: float | None, chosen: float) -> list[dict]:
    """Log-probabilities of a policy: `chosen` and 0 for every pair."""
    return [
        {
            "method": method,
            "strength": strength,
            "seed": 0,
            "subset": subset,
            "example": example,
            "metric": f"{kind}_{side}",
            "value": chosen if side == "chosen" else 0.0,
        }
        for kind in ("logprob", "logprob_mean")
        for side in ("chosen", "rejected")
        for example, subset in zip(TEST["id"], TEST["subset"])
    ]


def test_an_implicit_reward_is_beta_times_the_log_ratio() -> None:
    rows = [("base", None, -4.0), ("sft", None, -3.0), ("dpo", 0.5, -2.0)]
    rows += [("sft_dpo", 0.1, -2.0)]
    records = tidy([row for each in rows for row in likelihoods(*each)])
    found = (
        pd.concat(pair_margins.policy_margins(records))
        .groupby("method")["value"]
        .first()
    )
    assert found["dpo implicit"] == 0.5 * (-2.0 + 4.0)  # from the base model
    assert found["sft_dpo implicit"] == 0.1 * (-2.0 + 3.0)  # from SFT
    assert found["sft log-prob"] == -3.0


def test_a_judge_that_was_loaded_is_a_scorer_of_pairs(tmp_path) -> None:
    (tmp_path / "00_data").mkdir()
    TEST.to_parquet(tmp_path / "00_data" / "pairs.parquet")
    score = lambda _, replies: np.array([float(len(each)) for each in replies])
    judge = SimpleNamespace(name="some/judge", score=score)
    found = pair_margins.judge_margins(tmp_path, judge)
    assert found["value"].tolist() == [5.0, -1.0]
    assert set(found["method"]) == {"some/judge"}


def test_reward_models_of_fewer_pairs_are_called_so(tmp_path, monkeypatch) -> None:
    def margin(method: str, init: str, pairs: int) -> dict:
        place = {"example": "a", "subset": "helpful", "metric": "margin", "value": 1.0}
        return {"method": method, "init": init, "pairs": pairs, "seed": 0, **place}

    kinds = [("rm", "base", 50), ("rm", "base", 2000), ("rm", "shuffled", 50)]
    kinds.append(("judge", "base", 400))
    (tmp_path / "04_reward_model").mkdir()
    records = tidy([margin(*kind) for kind in kinds])
    write_records(records, tmp_path / "04_reward_model" / "records.parquet")
    monkeypatch.setattr(store, "labels", lambda run: 2000)
    found = pair_margins.reward_margins(tmp_path)
    assert found["method"].tolist() == ["rm", "rm, 50 pairs", "judge"]
    assert found["init"].tolist() == ["base", "shuffled", "base"]
