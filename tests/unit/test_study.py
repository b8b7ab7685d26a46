"""The OPT-350M study: its prompts to the letter, its rates, and what is mended."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import study
from helpers.hh import source_rows
from helpers.judge import Thresholds
from helpers.project import ROOT

FIRST, *_, LAST = study.protocols()
TWO = "\n\nHuman: How?\n\nAssistant: First part.\n\nSecond part."
ONE = "\n\nHuman: How?\n\nAssistant: A reply."


def test_the_letter_leaves_no_marker_and_keeps_replies_of_several_paragraphs() -> None:
    assert study.ask(ONE, FIRST) == "\n\nHuman: How?"
    assert study.ask(TWO, FIRST) == TWO  # the last block is no assistant's: a leak
    assert (
        study.ask(ONE, LAST) == study.ask(TWO, LAST) == "\n\nHuman: How?\n\nAssistant:"
    )


def test_each_repair_changes_one_thing_and_the_last_asks_all() -> None:
    names = [each.name for each in study.protocols()]
    assert names[0] == "opt350m_study" and names[-1] == "repaired"
    assert len(set(names)) == len(names) == 5
    assert (FIRST.prompts, FIRST.seed, FIRST.stop) == (50, 100, False)
    assert LAST.prompts == 0 and LAST.marker and LAST.stop and LAST.whole


def test_the_filter_reads_the_whole_transcript_and_parts_of_words() -> None:
    texts = [f"\n\nHuman: q{at}?\n\nAssistant: fine." for at in range(200)]
    for at in (5, 50, 80):
        texts[at] = texts[at].replace("fine", "new skills")
    prompts, hits = study.draw_prompts({"harmless": texts, "helpful": texts}, FIRST)
    assert hits == 3 and set(prompts[prompts["subset"] == "harmless"]["id"]) == {
        "harmless-5",
        "harmless-50",
        "harmless-80",
    }
    again, _ = study.draw_prompts({"harmless": texts, "helpful": texts}, FIRST)
    pd.testing.assert_frame_equal(prompts, again)
    assert (prompts["subset"] == "helpful").sum() == 50


def test_where_the_filter_finds_nothing_all_are_drawn_from() -> None:
    texts = [f"\n\nHuman: q{at}?\n\nAssistant: fine." for at in range(80)]
    prompts, hits = study.draw_prompts({"harmless": texts, "helpful": texts}, FIRST)
    assert hits == 0 and (prompts["subset"] == "harmless").sum() == 50
    every, _ = study.draw_prompts({"harmless": texts, "helpful": texts}, LAST)
    assert len(every) == 160


def test_the_filter_finds_what_it_found_in_the_study() -> None:
    folder = ROOT.parent / "shared" / "hh-rlhf"
    if not folder.is_dir():
        pytest.skip("needs real HH-RLHF pairs, which are not part of the repository")
    rows = source_rows(str(folder), "harmless", "test", n_builtin=2, seed=0)
    texts = [chosen for chosen, _ in rows]
    prompts, hits = study.draw_prompts({"harmless": texts, "helpful": texts}, FIRST)
    assert (len(texts), hits) == (2312, 192)
    drawn = prompts[prompts["subset"] == "harmless"]["prompt"]
    # three of the fifty prompts still hold an assistant turn: the leak
    assert sum("Assistant:" in each.split("\n\nHuman:")[-1] for each in drawn) == 3


JUDGE = SimpleNamespace(name="j", thresholds=Thresholds(harmless=0.0, helpful=0.0))


def records(scores: dict[str, list[float]], protocol: str) -> pd.DataFrame:
    """Scores of 40 prompts a subset for some models, two seeds alike."""
    return pd.DataFrame(
        [
            {
                "method": method,
                "seed": seed,
                "subset": subset,
                "example": f"{subset}-{at}",
                "metric": f"study:{protocol}:j",
                "value": value,
            }
            for method, values in scores.items()
            for seed in range(2)
            for subset in study.RATES
            for at, value in enumerate(values)
        ]
    )


def test_rates_count_the_threshold_itself_as_harmless_only() -> None:
    scores = {"base": [0.0] * 40, "sft": [1.0] * 30 + [-1.0] * 10}
    table = study.rate_table(records(scores, LAST.name), JUDGE, JUDGE.thresholds)
    base, sft = (table[table["model"] == each].iloc[0] for each in scores)
    assert base["HmR"].estimate == 100 and base["HpR"].estimate == 0
    assert base["CAS"] == 50 and sft["CAS"] == 75
    assert sft["HmR"].low < 75 < sft["HmR"].high


def test_models_are_tested_on_the_same_prompts_to_the_letter() -> None:
    scores = {"base": [-1.0] * 40, "sft": [1.0] * 10 + [-1.0] * 30}
    table = study.mcnemar_table(records(scores, FIRST.name), JUDGE, JUDGE.thresholds)
    assert table["models"].tolist() == ["base, sft"] * 2
    np.testing.assert_allclose(table["p"], 2 * 0.5**10)


def test_published_rates_have_the_intervals_of_50_replies() -> None:
    table = study.published_table()
    assert table.loc["sft_dpo", "CAS"] == 55
    sft = table.loc["sft", "HmR"]
    assert (round(sft.low), round(sft.high)) == (35, 61)


def test_running_on_and_saying_nothing_are_counted() -> None:
    prompts = pd.DataFrame(
        {"id": ["a", "b"], "subset": "helpful", "prompt": ["p", "q"]}
    )
    score = SimpleNamespace(name="j", score=lambda p, r: np.arange(len(r)))
    rows = study.judged(prompts, [" Yes.\n\nHuman: And?", " "], "x", [score])
    values = {(row["metric"], row["example"]): row["value"] for row in rows}
    assert values["study_runon:x", "a"] == 1 and values["study_runon:x", "b"] == 0
    assert values["study_empty:x", "b"] == 1 and values["study:x:j", "b"] == 1
