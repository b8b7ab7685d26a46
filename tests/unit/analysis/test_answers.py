"""The answer: every claim is computed, subsets stand apart, a failed judge says nothing."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis import answer
from helpers.book import front_page
from helpers.book.side_by_side import Recorded
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
    asked = [*front_page.ASKED_FIRST, *front_page.FURTHER]
    assert set(asked) <= known and len(asked) == len(set(asked))


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


def evidence_of(folder, *found: tuple[str, str, str]) -> Evidence:
    """Evidence with one clear difference on each subset: (metric, method, opponent)."""
    rows = []
    for metric, method, opponent in found:
        for subset in ("helpful", "harmless"):
            one = estimates.one_row(method, Interval(1, 0.5, 1.5, seeds=3), opponent)
            rows += estimates.as_records(one.assign(subset=subset, p=0.001), metric)
    evidence = Evidence(folder, dict.fromkeys(("07_ppo", "08_evaluate"), tidy([])))
    evidence.read["09_compare"] = tidy(rows)
    return evidence


@pytest.fixture
def judged(monkeypatch):
    """Say why the judge decides nothing, or "" if it does."""
    return lambda why: monkeypatch.setattr(Evidence, "gate", lambda self, subset: why)


def in_blanks(page: str) -> str:
    """A page whose intervals may break."""
    assert "1.000 [" not in page  # as it is made, none may
    return page.replace("\u00a0", " ")


@pytest.mark.parametrize("decides", [True, False])
def test_further_questions_have_a_row_each(decides, tmp_path, monkeypatch, judged):
    evidence = evidence_of(tmp_path, ("difference", "ppo (base)", "sft"))
    judged("" if decides else "the judge fails its gate")
    monkeypatch.setattr(front_page, "Evidence", lambda run: evidence)
    page = in_blanks(front_page.further_table(tmp_path, ROOT))
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(front_page.FURTHER)
    (row,) = (line for line in rows if "Is PPO better than SFT?" in line)
    if decides:
        assert row.count("1.000 [0.500, 1.500]") == 2 and "PPO helps" in row
    else:
        assert "1.000" not in row and "not decided: the judge fails its gate" in row


@pytest.mark.parametrize("decides", [True, False])
def test_the_first_answers_stand_beside_those_of_papers(
    decides, tmp_path, monkeypatch, judged
) -> None:
    equal = ("difference_at_equal_kl", "ppo (base)", "sft_dpo")
    judged("" if decides else "the judge fails its gate")
    evidence = evidence_of(tmp_path, equal, ("gain", "codepmp", "base"))
    monkeypatch.setattr(front_page, "Evidence", lambda run: evidence)
    monkeypatch.setattr(front_page, "this_run", lambda run: "this run")
    page = in_blanks(front_page.answer_table(tmp_path, ROOT))
    codepmp, dpo, best = page.splitlines()[2:]
    assert "it helps, 1.000 [0.500, 1.500]" in codepmp  # no judge of replies is asked
    assert "no number on HH-RLHF" in codepmp and front_page.NO_PAPER in best
    assert "0.718 − 0.611" in dpo and "{cite}`xu2024dpo`" in dpo
    if decides:
        assert "| PPO is better, 1.000 [0.500, 1.500]" in dpo  # once: subsets agree
    else:
        assert "1.000" not in dpo and "not decided: the judge fails its gate" in dpo


def recorded(superseded: str, date: str, evidence: Evidence) -> Recorded:
    about = {"kind": "real HH-RLHF, models", "date": date, "superseded": superseded}
    table = evidence.records("09_compare").assign(stage="09_compare")
    return Recorded("pretrained", about, table)


def test_the_latest_run_on_real_pairs_answers(tmp_path, monkeypatch, judged) -> None:
    judged("")
    helps = evidence_of(tmp_path, ("gain", "codepmp", "base"))
    runs: list[Recorded] = []
    monkeypatch.setattr(front_page, "recorded_numbers", lambda root: runs)
    assert set(front_page.real_answers(ROOT).values()) == {front_page.NOT_YET}
    runs.append(recorded("its trainers were wrong", "2026-01-02", helps))
    assert set(front_page.real_answers(ROOT).values()) == {front_page.SUPERSEDED}
    runs.append(recorded("", "2026-01-01", helps))
    synthetic = recorded("", "2026-01-03", evidence_of(tmp_path))
    synthetic.about["kind"] = "synthetic (built-in), models"
    runs.append(synthetic)
    found = front_page.real_answers(ROOT)["codepmp_reward_model"]
    assert in_blanks(found) == "it helps, 1.000 [0.500, 1.500]"


def test_the_unit_is_what_sets_pairs_apart() -> None:
    rows = [
        {"name": name, "subset": subset, "value": value}
        for name, value in (("judge", 2.0), ("truth", 5.0))
        for subset in ("helpful", "harmless")
    ]
    rows += [{"name": "judge", "subset": "helpful", "value": 1.0}]
    said = answer.unit_of(pd.DataFrame(rows), ["judge 0", "judge 1"])
    assert said == "1.50 on helpful and 2.00 on harmless"


def test_distinct_pairs_of_names_stand_once() -> None:
    for each in (answer.CONTRASTS, answer.RELATIVE_CONTRASTS, answer.EQUAL_KL):
        assert len(each) == len(set(each))
