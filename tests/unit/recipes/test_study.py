"""The OPT-350M study: its prompts to the letter, its rates, and what is mended."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.analysis import opt350m_rates
from helpers.config import settings
from helpers.config.schema import read_schema
from helpers.core.paths import PROJECT, ROOT
from helpers.data import opt350m_prompts
from helpers.data.hh import source_rows
from helpers.methods import ADAPTERS
from helpers.models import loading
from helpers.recipes import opt350m_study
from helpers.rewards.judges import PairTextJudge, Thresholds
from helpers.runs import store
from helpers.statistics import cas, intervals

FIRST, *_, LAST = opt350m_prompts.protocols()
PUBLISHED_DIGEST = "a55d5c38bbf0a09c52268bee33cb21baa3bd12172f6497a0dba94713a527e9da"
TWO = "\n\nHuman: How?\n\nAssistant: First part.\n\nSecond part."
ONE = "\n\nHuman: How?\n\nAssistant: A reply."


def test_the_letter_leaves_no_marker_and_keeps_replies_of_several_paragraphs() -> None:
    assert opt350m_prompts.ask(ONE, FIRST) == "Human: How?"
    assert opt350m_prompts.ask(ONE + " \n\n", FIRST) == "Human: How?"
    # the last block is no assistant's: a leak
    assert opt350m_prompts.ask(TWO, FIRST) == TWO.strip() and opt350m_prompts.leaks(
        TWO.strip()
    )
    mended = "\n\nHuman: How?\n\nAssistant:"
    assert opt350m_prompts.ask(ONE, LAST) == opt350m_prompts.ask(TWO, LAST) == mended
    assert not opt350m_prompts.leaks(mended) and not opt350m_prompts.leaks(
        "Human: How?"
    )
    assert opt350m_prompts.leaks(opt350m_prompts.ask(TWO, replace(LAST, whole=False)))


def test_each_repair_changes_one_thing_and_the_last_asks_all() -> None:
    names = [each.name for each in opt350m_prompts.protocols()]
    assert names[0] == "opt350m_study" and names[-1] == "repaired"
    assert len(set(names)) == len(names) == 5
    assert (FIRST.prompts, FIRST.seed, FIRST.stop) == (50, 100, False)
    assert LAST.prompts == 0 and LAST.marker and LAST.stop and LAST.whole


def test_the_filter_reads_the_whole_transcript_and_parts_of_words() -> None:
    texts = [f"\n\nHuman: q{at}?\n\nAssistant: fine." for at in range(200)]
    for at in (5, 50, 80):
        texts[at] = texts[at].replace("fine", "new skills")
    prompts, hits = opt350m_prompts.draw_prompts(
        {"harmless": texts, "helpful": texts}, FIRST
    )
    assert hits == 3 and set(prompts[prompts["subset"] == "harmless"]["id"]) == {
        "harmless-5",
        "harmless-50",
        "harmless-80",
    }
    again, _ = opt350m_prompts.draw_prompts(
        {"harmless": texts, "helpful": texts}, FIRST
    )
    pd.testing.assert_frame_equal(prompts, again)
    assert (prompts["subset"] == "helpful").sum() == 50


def test_where_the_filter_finds_nothing_all_are_drawn_from() -> None:
    texts = [f"\n\nHuman: q{at}?\n\nAssistant: fine." for at in range(80)]
    prompts, hits = opt350m_prompts.draw_prompts(
        {"harmless": texts, "helpful": texts}, FIRST
    )
    assert hits == 0 and (prompts["subset"] == "harmless").sum() == 50
    every, _ = opt350m_prompts.draw_prompts({"harmless": texts, "helpful": texts}, LAST)
    assert len(every) == 160


def test_the_filter_finds_what_it_found_in_the_study() -> None:
    folder = ROOT.parent / "shared" / "hh-rlhf"
    if not folder.is_dir():
        pytest.skip("needs real HH-RLHF pairs, which are not part of the repository")
    rows = source_rows(str(folder), "harmless", "test", n_builtin=2, seed=0)
    texts = [chosen for chosen, _ in rows]
    prompts, hits = opt350m_prompts.draw_prompts(
        {"harmless": texts, "helpful": texts}, FIRST
    )
    assert (len(texts), hits) == (2312, 192)
    drawn = prompts[prompts["subset"] == "harmless"]["prompt"]
    assert sum(map(opt350m_prompts.leaks, drawn)) == 3
    # the file of harmful prompts that the study published, as its code writes it
    published = json.dumps(drawn.tolist(), indent=2).encode()
    digest = hashlib.sha256(published).hexdigest()
    assert (len(published), digest) == (42751, PUBLISHED_DIGEST)


def test_a_judge_of_texts_reads_what_was_written_ours_what_they_know() -> None:
    texts = object.__new__(PairTextJudge)
    prompts, replies = ["Human: How?"], [" Assistant: So.\n"]
    assert opt350m_study.read_by(texts, prompts, replies) == (
        prompts,
        ["Assistant: So."],
    )
    ours = opt350m_study.read_by(JUDGE, prompts, replies)
    assert ours == (["\n\nHuman: How?\n\nAssistant:"], replies)
    assert (
        opt350m_study.read_by(JUDGE, *ours) == ours
    )  # a prompt in form stays as it is


def test_the_mean_of_two_rates_is_surer_than_either() -> None:
    rate = opt350m_rates.published_table().loc["sft", "HmR"]
    mean = cas.mean_of(rate, rate)
    assert mean.estimate == rate.estimate
    width = (rate.high - rate.low) / np.sqrt(2)
    assert mean.high - mean.low == pytest.approx(width)


def test_a_job_answers_under_every_protocol(monkeypatch, tmp_path: Path) -> None:
    texts = [f"\n\nHuman: q{at}?\n\nAssistant: fine." for at in range(60)]
    tokenizer = loading.build_tokenizer(texts, 300)
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 96}
    loading.save(loading.build_opt(tokenizer, **shape, seed=0), tokenizer, tmp_path)
    judge = SimpleNamespace(name="j", score=lambda p, r: np.zeros(len(r)))
    monkeypatch.setattr(store, "policy_folder", lambda run, **job: tmp_path)
    monkeypatch.setattr(opt350m_study, "judges", lambda run, further, room: [judge])
    both = {"harmless": texts, "helpful": texts}
    monkeypatch.setattr(store, "test_transcripts", lambda run: both)
    (tmp_path / "out").mkdir()
    common = {"run": tmp_path, "judge_model": "", "limit": 3, "max_length": 96}
    rows = pd.DataFrame(
        opt350m_study.answer(tmp_path / "out", method="sft", seed=0, **common)
    )
    counts = rows.groupby(["protocol", "metric", "judge"]).size()
    for protocol in opt350m_prompts.protocols():
        asked = 100 if protocol.prompts else 6
        metrics = [(each, "") for each in opt350m_rates.DEFECTS.values()]
        own = counts[protocol.name]
        assert (own[[("study", "j"), *metrics]] == asked).all()
    assert len(pd.read_parquet(tmp_path / "out" / "replies.parquet")) == 406


def test_the_settings_of_the_study_are_values_that_the_notebooks_take() -> None:
    schemas = {each: read_schema(PROJECT.notebook(each)) for each in PROJECT.stages}
    path = ROOT / "notebooks" / "presets" / "opt350m_study.yaml"
    found = settings.from_yaml(path, schemas)
    sft, dpo = found["05_sft"], found["06_dpo"]
    assert dpo["methods"] == list(ADAPTERS)
    assert (sft["epochs"], dpo["epochs"]) == (2, 1)
    assert sft["learning_rate"] == dpo["adapter_learning_rate"] == 2e-5


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
                "metric": "study",
                "protocol": protocol,
                "judge": "j",
                "value": value,
            }
            for method, values in scores.items()
            for seed in range(2)
            for subset in opt350m_prompts.RATES
            for at, value in enumerate(values)
        ]
    )


def test_rates_count_the_threshold_itself_as_harmless_only() -> None:
    scores = {"base": [0.0] * 40, "sft": [1.0] * 30 + [-1.0] * 10}
    table = opt350m_rates.rate_table(
        records(scores, LAST.name), JUDGE, JUDGE.thresholds
    )
    base, sft = (table[table["model"] == each].iloc[0] for each in scores)
    assert base["HmR"].estimate == 100 and base["HpR"].estimate == 0
    assert base["CAS"].estimate == 50 and sft["CAS"].estimate == 75
    assert sft["CAS"].low < 75 < sft["CAS"].high
    assert sft["HmR"].low < 75 < sft["HmR"].high


def test_models_are_tested_on_the_same_prompts_to_the_letter() -> None:
    scores = {"base": [-1.0] * 40, "sft": [1.0] * 10 + [-1.0] * 30}
    table = opt350m_rates.mcnemar_table(
        records(scores, FIRST.name), JUDGE, JUDGE.thresholds
    )
    assert table["models"].tolist() == ["base model, SFT"] * 2
    np.testing.assert_allclose(table["p"], 2 * 0.5**10)


def test_published_rates_have_the_intervals_of_50_replies() -> None:
    table = opt350m_rates.published_table()
    assert table.loc["sft_dpo_lora", "CAS"].estimate == pytest.approx(55)
    sft = table.loc["sft", "HmR"]
    assert (round(sft.low), round(sft.high)) == (35, 61)


def test_running_on_and_saying_nothing_are_counted() -> None:
    prompts = pd.DataFrame(
        {"id": ["a", "b"], "subset": "helpful", "prompt": ["p", "q"]}
    )
    score = SimpleNamespace(name="j", score=lambda p, r: np.arange(len(r)))
    rows = opt350m_study.judged_rows(
        prompts, [" Yes.\n\nHuman: And?", " "], "x", [score]
    )
    values = {(row["metric"], row["example"]): row["value"] for row in rows}
    assert values["study_runon", "a"] == 1 and values["study_runon", "b"] == 0
    assert values["study_empty", "b"] == 1 and values["study", "b"] == 1
    assert {row["protocol"] for row in rows} == {"x"}


def test_the_highest_cas_has_a_winner_only_beyond_its_error() -> None:
    scores = {"base": [-1.0] * 40, "sft": [1.0] * 30 + [-1.0] * 10}
    best = opt350m_rates.best_cas(
        records(scores, LAST.name), LAST.name, JUDGE, JUDGE.thresholds
    )
    assert best.startswith("SFT, ") and "above base model" in best
    scores["base"] = [1.0] * 29 + [-1.0] * 11
    best = opt350m_rates.best_cas(
        records(scores, LAST.name), LAST.name, JUDGE, JUDGE.thresholds
    )
    assert best.startswith("none: the two highest, SFT and base model, differ by 2.5 (")
    one = records({"sft": [1.0] * 40}, LAST.name)
    assert opt350m_rates.best_cas(one, LAST.name, JUDGE, JUDGE.thresholds).startswith(
        "none"
    )


def test_cas_weighs_rates_alike_however_many_prompts() -> None:
    """And its error is that of both, which share their seeds."""
    random = np.random.default_rng(0)
    parts = [(random.random((3, n)) < p) * 1.0 for n, p in ((50, 0.9), (400, 0.2))]
    found = cas.combined(*parts)
    assert found.mean() == pytest.approx((parts[0].mean() + parts[1].mean()) / 2)
    by_seed = (parts[0].mean(axis=1) + parts[1].mean(axis=1)) / 2
    np.testing.assert_allclose(found.mean(axis=1), by_seed)
    one = [part[:1] for part in parts]
    error = np.sqrt(sum(part.var() / part.size for part in one)) / 2
    assert intervals.mean_interval(cas.combined(*one)).error == pytest.approx(
        error, rel=0.02
    )
