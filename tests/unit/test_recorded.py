"""Recorded runs: numbers and settings only, and a page that shows them."""

import json

import pandas as pd
import pytest

from helpers import recorded
from helpers.project import STAGES, RunError


@pytest.fixture
def run(tmp_path):
    """The files of a finished run that recording reads."""
    folder = tmp_path / "runs" / "mine"
    for stage in STAGES:
        parameters = {"run_dir": "runs/mine", "seeds": 3}
        parameters |= {"data_source": str(tmp_path)} if stage == "00_data" else {}
        parameters |= {"beta": 0.7} if stage == "06_dpo" else {}
        about = {
            "parameters": parameters,
            "seconds": 60.0,
            "started": "2026-01-02T03:04",
        }
        about |= {"cpu_count": 2, "device": "cpu", "commit": "abc"}
        (folder / stage).mkdir(parents=True)
        (folder / stage / "manifest.json").write_text(json.dumps(about))
    for kind, name, text in (
        ("tables", "00.md", "\n*T*\n"),
        ("figures", "f_g.png", ""),
    ):
        (folder / "09_compare" / kind).mkdir()
        (folder / "09_compare" / kind / name).write_text(text)
    pairs = [{"subset": "helpful", "split": "train", "prompt": "secret words"}] * 1200
    pd.DataFrame(pairs).to_parquet(folder / "00_data" / "pairs.parquet")
    return folder


def test_a_run_is_kept_with_what_it_changed_and_without_its_texts(
    run, tmp_path
) -> None:
    out = tmp_path / "recorded" / "runs" / "mine"
    recorded.record_run(run, out)
    recorded.record_run(run, out)  # again: replaced
    about = json.loads((out / "about.json").read_text())
    assert about["parameters"] == {"06_dpo": {"beta": 0.7}}
    assert about["seconds"] == 60 * len(STAGES)
    assert about["data"].startswith(
        "a folder in the layout of Anthropic/hh-rlhf; pairs"
    )
    kept = "".join(path.read_text() for path in out.rglob("*.*"))
    assert "secret" not in kept and str(tmp_path) not in kept
    page = recorded.real_page(tmp_path / "recorded")
    assert (
        "*T*" in page and "`06_dpo.beta=0.7`" in page and "train helpful 1,200" in page
    )
    assert "{figure} recorded/runs/mine/figures/f_g.png" in page


def test_an_unfinished_run_is_refused_and_nothing_is_left(run, tmp_path) -> None:
    (run / "09_compare" / "manifest.json").unlink()
    with pytest.raises(RunError, match="09_compare is not done"):
        recorded.record_run(run, tmp_path / "out" / "mine")
    assert not (tmp_path / "out").exists()


def test_a_book_without_recorded_runs_says_so(tmp_path) -> None:
    assert "prefbook record" in recorded.real_page(tmp_path)
