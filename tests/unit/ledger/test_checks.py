"""Checks that back claims: each on a run that is as claimed, and on one that is not."""

from dataclasses import replace

import pandas as pd
import pytest

from helpers.core.records import tidy
from helpers.data import opt350m_prompts
from helpers.data.hh import BUILT_IN
from helpers.data.opt350m_prompts import LETTER
from helpers.ledger import checks
from helpers.ledger.checks import CHECKS, STUDY_JUDGE, Evidence
from helpers.ledger.rule import CONSTRUCTED, FAILS, HOLDS, UNTESTED
from helpers.runs import store
from helpers.trainers import trl_trainers

REAL = "some/hh-rlhf"
JUDGE = STUDY_JUDGE.rpartition("/")[2]


def dialogue(subset: str, number: int, reply: str) -> str:
    """A transcript; every second one has a keyword of the study's filter."""
    about = "kill a process" if number % 2 else "bake"
    return f"\n\nHuman: {subset} {number}, how do I {about}?\n\nAssistant: {reply}"


ROWS = {
    subset: [
        tuple(dialogue(subset, n, side) for side in ("Like so.", "No."))
        for n in range(120)
    ]
    for subset in ("helpful", "harmless")
}
WITHOUT = {
    subset: [tuple(each.replace("kill", "end") for each in pair) for pair in rows]
    for subset, rows in ROWS.items()
}


def asked_of(
    prompts: pd.DataFrame, methods=opt350m_prompts.MODELS, runon: float = 0.5
) -> list:
    """Records of 08 for prompts that the study's models were asked to the letter."""
    common = {"stage": "08_evaluate", "seed": 0, "protocol": LETTER.name}
    rows = []
    for method in methods:
        for example, subset in zip(prompts["id"], prompts["subset"]):
            own = {**common, "method": method, "example": example, "subset": subset}
            rows.append({**own, "metric": "study_leak", "value": 0.0})
            rows.append({**own, "metric": "study_runon", "value": runon})
            rows.append({**own, "metric": "study", "judge": JUDGE, "value": 1.0})
    return rows


@pytest.fixture
def find(tmp_path, monkeypatch):
    """Runs a check on a run that is as claimed but for what is given."""

    def run(name: str, *, records=None, rows=ROWS, pairs=None, source=REAL, judge=""):
        texts = {subset: [each for each, _ in own] for subset, own in rows.items()}
        drawn, _ = opt350m_prompts.draw_prompts(texts, LETTER)
        records = asked_of(drawn) if records is None else records(drawn)
        evidence = Evidence(tmp_path, {"08_evaluate": tidy(records)})
        monkeypatch.setattr(store, "test_rows", lambda _: rows)
        monkeypatch.setattr(store, "data_source", lambda _: source)
        monkeypatch.setattr(store, "read_pairs", lambda *_: pairs)
        about = {"parameters": {"judge_model": judge}, "versions": {"trl": "1"}}
        monkeypatch.setattr(checks, "read_manifest", lambda *_: about)
        return CHECKS[name](evidence).status

    return run


def test_four_models(find):
    assert find("four_models") == HOLDS
    three = lambda drawn: asked_of(drawn, opt350m_prompts.MODELS[:3])
    assert find("four_models", records=three) == FAILS


def test_hundred_prompts(find):
    assert find("hundred_prompts") == HOLDS
    fewer = lambda drawn: asked_of(drawn.iloc[1:])
    assert find("hundred_prompts", records=fewer) == FAILS
    assert find("hundred_prompts", records=lambda _: []) == FAILS


def others(drawn: pd.DataFrame) -> list[dict]:
    """Records of prompts that no draw gave: the first of the file."""
    counts = drawn.groupby("subset").cumcount().astype(str)
    return asked_of(drawn.assign(id=drawn["subset"] + "-" + counts))


def test_of_the_test_split(find):
    assert find("of_the_test_split") == HOLDS
    assert find("of_the_test_split", records=others) == FAILS
    # the built-in corpus is not HH-RLHF, but what is not of its test split fails there
    assert find("of_the_test_split", source=BUILT_IN) == UNTESTED
    assert find("of_the_test_split", source=BUILT_IN, records=others) == FAILS


def test_keyword_filter(find):
    assert find("keyword_filter") == HOLDS
    assert find("keyword_filter", records=others) == FAILS  # some have no keyword
    assert find("keyword_filter", records=lambda _: []) == FAILS
    assert find("keyword_filter", rows=WITHOUT) == UNTESTED


def test_drawn_at_random(find):
    assert find("drawn_at_random") == HOLDS
    assert find("drawn_at_random", records=others) == FAILS


def test_only_the_length(find, monkeypatch):
    assert find("only_the_length") == HOLDS
    stopped = lambda drawn: asked_of(drawn, runon=0.0)
    assert find("only_the_length", records=stopped) == UNTESTED
    monkeypatch.setattr(opt350m_prompts, "NEW_TOKENS", 60)
    assert find("only_the_length") == FAILS
    monkeypatch.setattr(opt350m_prompts, "NEW_TOKENS", 50)
    monkeypatch.setattr(opt350m_prompts, "LETTER", replace(LETTER, stop=True))
    assert find("only_the_length") == FAILS


def test_judged_by_deberta(find):
    assert find("judged_by_deberta") == UNTESTED
    assert find("judged_by_deberta", judge=STUDY_JUDGE) == HOLDS
    assert find("judged_by_deberta", judge=f"{STUDY_JUDGE}@0a1b") == HOLDS
    assert find("judged_by_deberta", judge="someone/else") == FAILS
    unscored = lambda drawn: asked_of(drawn)[:2]
    assert find("judged_by_deberta", judge=STUDY_JUDGE, records=unscored) == FAILS


def cut(rows) -> pd.DataFrame:
    """Transcripts as the pairs that models get."""
    found = []
    for subset, own in rows.items():
        for chosen, rejected in own:
            prompt, mark, reply = chosen.rpartition("Assistant:")
            bad = rejected.rpartition("Assistant:")[2]
            found.append((subset, prompt + mark, reply, bad))
    return pd.DataFrame(found, columns=["subset", "prompt", "chosen", "rejected"])


def test_pairs_as_they_are(find):
    pairs = cut(ROWS)
    assert find("pairs_as_they_are", pairs=pairs) == HOLDS
    for side in ("prompt", "chosen", "rejected"):
        junk = pairs.assign(**{side: "junk"})
        assert find("pairs_as_they_are", pairs=junk) == FAILS, side
    one = pairs.copy()
    one.loc[3, "rejected"] = " Yes."
    assert find("pairs_as_they_are", pairs=one) == FAILS
    swapped = pairs.rename(columns={"chosen": "rejected", "rejected": "chosen"})
    assert find("pairs_as_they_are", pairs=swapped) == FAILS
    assert find("pairs_as_they_are", pairs=pairs.iloc[:0]) == FAILS


def test_trained_by_trl_is_no_result(find, monkeypatch):
    assert find("trained_by_trl") == CONSTRUCTED
    monkeypatch.setattr(trl_trainers, "PreferenceTrainer", object)
    assert find("trained_by_trl") == FAILS
