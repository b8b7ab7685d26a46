"""Recorded runs: numbers and settings only, and a page that shows them."""

import json

import pandas as pd
import pytest

from helpers.book import recorded_runs, side_by_side
from helpers.core.paths import ROOT, STAGES, RunError
from helpers.core.records import tidy, write_records
from helpers.core.yaml_files import read_yaml
from helpers.runs import store
from helpers.statistics import estimates
from helpers.statistics.intervals import Interval
from tests.manifests import write_manifest


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The files of a finished run that recording reads."""
    judges = ["judge 0", "judge 1", "judge 2"]
    monkeypatch.setattr(store, "panel", lambda _: judges)
    folder = tmp_path / "runs" / "mine"
    for stage in STAGES:
        parameters = {"run_dir": "runs/mine", "seeds": 3}
        source = {"data_source": str(tmp_path), "data_note": ""}
        parameters |= source if stage == "00_data" else {}
        parameters |= {"beta": 0.7} if stage == "06_dpo" else {}
        parameters |= {"pretrained": ""} if stage == "01_base_model" else {}
        about = {
            "parameters": parameters,
            "seconds": 60.0,
            "started": "2026-01-02T03:04",
        }
        about |= {"cpu_count": 2, "device": "cpu"}
        about |= {"commit": "def" if stage == "09_compare" else "abc"}
        write_manifest(folder, stage, **about)
    for kind, name, text in (
        ("tables", "00.md", "\n*T*\n"),
        ("figures", "f_g.png", ""),
    ):
        (folder / "09_compare" / kind).mkdir()
        (folder / "09_compare" / kind / name).write_text(text)
    for stage in side_by_side.COMPARED:
        known = {"seeds": 3, "n": 200} if stage == "09_compare" else {}
        gain = Interval(0.01, -0.02, 0.04, error=0.015, **known)
        table = estimates.one_row("codepmp", gain, "base")
        rows = estimates.as_records(table, "gain")
        rows += [{**rows[0], "subset": "helpful"}]
        rows.append({"metric": "reward", "example": "p1", "value": 7.125, "seed": 0})
        frame = tidy(rows).assign(stage=stage)
        write_records(frame, folder / stage / "records.parquet")
    (tmp_path / "book" / "recorded").mkdir(parents=True)
    for name in ("reported.yml", "claims.yml"):
        (tmp_path / "book" / name).write_bytes((ROOT / "book" / name).read_bytes())
    pairs = [{"subset": "helpful", "split": "train", "prompt": "secret words"}] * 1200
    pd.DataFrame(pairs).to_parquet(folder / "00_data" / "pairs.parquet")
    return folder


def test_a_run_is_kept_with_what_it_changed_and_without_its_texts(
    run, tmp_path
) -> None:
    out = tmp_path / "book" / "recorded" / "runs" / "mine"
    recorded_runs.record_run(run, out)
    recorded_runs.record_run(run, out)  # again: replaced
    about = json.loads((out / "about.json").read_text())
    assert about["parameters"] == {"06_dpo": {"beta": 0.7}}
    assert about["seconds"] == 60 * (len(STAGES) - 1)  # 10 is not a part of it
    assert about["commits"] == "abc for 00, 01, 02, 03, 04, 05, 06, 07, 08; def for 09"
    assert about["data"].startswith(
        "a folder in the layout of Anthropic/hh-rlhf; pairs"
    )
    kept = "".join(path.read_text() for path in out.rglob("*.*"))
    assert "secret" not in kept and str(tmp_path) not in kept
    assert "7.125" not in kept  # per-example records stay in the run
    page = recorded_runs.real_page(run, tmp_path)
    assert (
        "*T*" in page and "`06_dpo.beta=0.7`" in page and "train helpful 1,200" in page
    )
    assert "{figure} recorded/runs/mine/figures/f_g.png" in page


def test_an_unfinished_run_is_refused_and_nothing_is_left(run, tmp_path) -> None:
    (run / "09_compare" / "manifest.json").unlink()
    with pytest.raises(RunError, match="09_compare is not done"):
        recorded_runs.record_run(run, tmp_path / "out" / "mine")
    assert not (tmp_path / "out").exists()


def test_a_book_without_recorded_runs_says_so(run, tmp_path) -> None:
    assert "prefbook record" in recorded_runs.real_page(run, tmp_path)


def test_numbers_of_three_kinds_stand_in_columns_of_their_own(run, tmp_path) -> None:
    recorded_runs.record_run(run, tmp_path / "book" / "recorded" / "runs" / "mine")
    table = recorded_runs.real_page(run, tmp_path).split("## Recorded")[0]
    header = next(line for line in table.splitlines() if "| reported" in line)
    assert "this run: real pairs, 3 seeds" in header
    assert "`mine`: real HH-RLHF, models trained here from scratch, 3 seeds" in header
    answer = side_by_side.recorded_answer(tmp_path)
    assert "**Recorded run `mine`** (real HH-RLHF" in answer
    assert (
        "on helpful pairs not decided: p is 1.00, 6 questions being asked together"
        in answer
    )
    assert "(CodePMP − base model, helpful: 0.010 [-0.020, 0.040])" in answer
    assert "harmless" not in answer and "PPO" not in answer  # it did not measure them
    row = next(line for line in table.splitlines() if "What CodePMP adds" in line)
    assert row.count("0.010 [-0.020, 0.040]") == 2 and "no number on HH-RLHF" in row
    row = next(line for line in table.splitlines() if "PPO minus SFT+DPO" in line)
    assert "{cite}`xu2024dpo`" in row and row.count("–") == 2


def test_a_superseded_run_keeps_its_numbers_and_gives_no_verdict(run, tmp_path) -> None:
    out = tmp_path / "book" / "recorded" / "runs" / "mine"
    recorded_runs.record_run(run, out)
    about = json.loads((out / "about.json").read_text())
    why = "Its trainers read the wrong words."
    (out / "about.json").write_text(json.dumps(about | {"superseded": why}))
    answer = side_by_side.recorded_answer(tmp_path)
    assert "not decided" in answer and why in answer
    assert "no difference" not in answer and "0.010" not in answer
    page = recorded_runs.real_page(run, tmp_path)
    assert f":::{{warning}}\n{why}" in page and "made before a fix" in page


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (3, "on helpful pairs it helps (CodePMP − base model, helpful: 0.050"),
        (2, "on helpful pairs not decided: 2 of the 3 seeds that it takes"),
        (None, "on helpful pairs not decided: recorded without the number of its"),
    ],
)
def test_a_recorded_run_is_decided_by_the_rule_of_this_one(
    run, tmp_path, seeds, said
) -> None:
    out = tmp_path / "book" / "recorded" / "runs" / "mine"
    recorded_runs.record_run(run, out)
    table = pd.read_csv(out / "numbers.csv")
    sure = {"value": 0.05, "low": 0.04, "high": 0.06, "error": 0.005, "p": 0.001}
    changed = table.assign(**sure, seeds=seeds)
    changed.to_csv(out / "numbers.csv", index=False)
    assert said in side_by_side.recorded_answer(tmp_path)


def test_a_recorded_run_says_nothing_of_replies_without_a_tested_judge(
    run, tmp_path
) -> None:
    out = tmp_path / "book" / "recorded" / "runs" / "mine"
    recorded_runs.record_run(run, out)
    table = pd.read_csv(out / "numbers.csv")
    better = {"metric": "difference", "method": "ppo (base)", "opponent": "sft"}
    better |= {"value": 1.0, "low": 0.9, "high": 1.1, "p": 0.001, "subset": "helpful"}
    row = table[table["stage"] == "09_compare"].head(1).assign(**better)
    pd.concat([table, row]).to_csv(out / "numbers.csv", index=False)
    answer = side_by_side.recorded_answer(tmp_path)
    assert "PPO after SFT: on helpful pairs not decided: no judge was tested" in answer
    assert "PPO helps" not in answer and "1.000 [" not in answer


def test_every_reported_number_has_its_source() -> None:
    quantities = read_yaml(ROOT / "book" / "reported.yml")
    known = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    for each in quantities:
        assert each["reported"].startswith("none") or f"{{{each['source']}," in known
        assert each["record"].keys() <= {
            *("stage", "metric", "method", "opponent", "subset"),
        }


def test_places_and_hostile_values_of_parameters_are_names_and_text(
    run, tmp_path
) -> None:
    bad = "<b>`x`</b> | $y$ {cite}`z`"
    place = tmp_path / "planted" / bad
    for stage, values in {
        "00_data": {"data_source": str(tmp_path / "planted" / "gone")},
        "01_base_model": {"pretrained": str(place)},
        "08_evaluate": {"judge_model": f"org/{bad}@abc"},
    }.items():
        file = run / stage / "manifest.json"
        about = json.loads(file.read_text())
        about["parameters"] |= values
        file.write_text(json.dumps(about))
    out = tmp_path / "book" / "recorded" / "runs" / "mine"
    recorded_runs.record_run(run, out)
    assert "planted" not in "".join(path.read_text() for path in out.rglob("*.*"))
    about = json.loads((out / "about.json").read_text())
    assert about["data"].startswith("gone (")
    (line,) = [
        line
        for line in recorded_runs.run_section(out).splitlines()
        if "01_base_model.pretrained" in line
    ]
    code = line.replace(r"\|", "").split("|")[2]  # one cell, and all of it is code
    assert code.count("``") == 4 and "08_evaluate.judge_model=org/<b>`x`</b>" in code


def test_names_of_methods_become_titles_in_tables_only() -> None:
    text = "sft | dpo\n\n| method   | x   |\n|:---------|-----|\n| sft_dpo  | 0.1 |"
    assert recorded_runs.in_titles(text) == (
        "sft | dpo\n\n| method | x |\n| :--------- | ----- |\n| SFT+DPO | 0.1 |"
    )


def test_an_escaped_pipe_is_text_of_its_cell() -> None:
    row = r"| a \| sft \| b | c\\\| |"
    assert recorded_runs.in_titles(row) == row
