"""The answer: every claim is computed, subsets stand apart, a failed judge says nothing."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis import answer
from helpers.book import front_page
from helpers.core.paths import ROOT
from helpers.core.records import tidy
from helpers.ledger.checks import Evidence
from helpers.ledger.entries import contrasts, read_ledger
from helpers.statistics import estimates
from helpers.statistics.intervals import Interval

LEDGER = read_ledger(ROOT / "book" / "claims.yml")


def test_09_computes_every_contrast_that_a_claim_asks_for() -> None:
    trained = {*answer.CONTRASTS, *answer.RELATIVE_CONTRASTS}
    assert set() < set(contrasts("difference")) <= trained
    assert set() < set(contrasts("difference_at_equal_kl")) <= set(answer.EQUAL_KL)


def test_every_question_and_verdict_has_its_claim() -> None:
    known = {claim["id"] for claim in LEDGER.recorded()}
    known |= {each.rpartition("_")[0] for each in known}
    assert set(answer.VERDICTS.values()) <= known
    assert set(front_page.QUESTIONS) <= known


ONE = Interval(1, 0.5, 1.5)


def table(*subsets: str, interval: Interval | None = ONE):
    """A difference on some subsets, or the reason why there is none."""
    one = estimates.contrast("sft", "base")
    ends = estimates.bounds(interval) if interval else {"interval": None}
    rows = [{**one, "subset": each, **ends, "why": "curves apart"} for each in subsets]
    return pd.DataFrame(rows)


def test_subsets_are_told_apart_and_both_is_not_told() -> None:
    said = answer.apart(table("helpful", "harmless", "both"), "sft", "base", {})
    assert said.count("1.000 (95% interval") == 2
    assert " on helpful and " in said and said.endswith(" on harmless")


def test_where_the_judge_fails_there_is_no_number() -> None:
    refused = {"helpful": "it fails", "harmless": ""}
    said = answer.apart(table("helpful", "harmless"), "sft", "base", refused)
    assert "no number on helpful, where the judge fails its gate" in said
    assert said.count("1.000") == 1


def test_a_number_that_could_not_be_given_says_why() -> None:
    said = answer.apart(table("helpful", interval=None), "sft", "base", {})
    assert said == "no number on helpful: curves apart"
    assert answer.apart(table("helpful"), "sft", "dpo", {}) == answer.NOT_RUN


def test_held_out_models_are_one_kind_of_judge() -> None:
    """Two that differ widen the interval of their kind; others stand by themselves."""
    random = np.random.default_rng(0)
    rows = [
        {"method": method, "seed": seed, "subset": "helpful", "example": f"e{at}"}
        | {"metric": "reward", "judge": judge, "decoding": "sampled"}
        | {"value": gain * (method == "sft") * worth + random.normal()}
        for judge, worth in (("truth", 1), ("judge 0", 0.5), ("judge 1", 2))
        for method, gain in (("base", 0), ("sft", 1))
        for seed in range(3)
        for at in range(60)
    ]
    found = answer.by_judge(tidy(rows), "sampled", [("sft", "base")])
    by = found.set_index("judge")["interval"]
    assert set(by.index) == {"truth", "held-out models"}
    assert by["truth"].judges in (0, 1) and by["held-out models"].judges == 2
    wide = by["held-out models"].high - by["held-out models"].low
    assert wide > 2 * (by["truth"].high - by["truth"].low)


@pytest.mark.parametrize("decides", [True, False])
def test_the_front_page_has_a_row_a_question(decides, tmp_path, monkeypatch) -> None:
    rows = []
    for subset in ("helpful", "harmless"):
        one = estimates.one_row("ppo (base)", Interval(1, 0.5, 1.5, seeds=3), "sft")
        rows += estimates.as_records(one.assign(subset=subset, p=0.001), "difference")
    evidence = Evidence(tmp_path, dict.fromkeys(("07_ppo", "08_evaluate"), tidy([])))
    evidence.read["09_compare"] = tidy(rows)
    why = "" if decides else "the judge fails its gate"
    monkeypatch.setattr(Evidence, "gate", lambda self, subset: why)
    monkeypatch.setattr(front_page, "Evidence", lambda run: evidence)
    page = front_page.answer_table(tmp_path, ROOT)
    assert len(page.strip().splitlines()) == 2 + len(front_page.QUESTIONS)
    (row,) = (line for line in page.splitlines() if "Is PPO better than SFT?" in line)
    if decides:
        assert row.count("1.000 [0.500, 1.500]") == 2 and "PPO helps" in row
    else:
        assert "1.000" not in row and "not decided: the judge fails its gate" in row


def test_distinct_pairs_of_names_stand_once() -> None:
    for each in (answer.CONTRASTS, answer.RELATIVE_CONTRASTS, answer.EQUAL_KL):
        assert len(each) == len(set(each))
