"""What a run leaves out of the full tier, and what the recorded full run says of it."""

import json

import pytest

from helpers.book import full_run, side_by_side
from helpers.config.settings import all_values
from helpers.core.paths import PROJECT, ROOT
from helpers.core.records import tidy
from helpers.ledger import claims
from helpers.ledger.rule import UNTESTED
from helpers.methods import OFFLINE, title
from helpers.statistics import estimates
from helpers.statistics.intervals import Interval


def noted(stage: str, tier: str, *changes: str) -> str:
    values = all_values(PROJECT, list(PROJECT.stages), "runs/x", tier, (), changes)
    return full_run.note(stage, values[stage], full_run.full_values(PROJECT), PROJECT)


def test_a_chapter_names_what_its_run_was_not_asked_for() -> None:
    said = noted("06_dpo", "cpu")
    assert all(title(name) in said for name in set(OFFLINE) - {"dpo", "sft_dpo"})
    assert " SFT+DPO," not in said and "](../book/full.md)" in said
    assert "CodePMP with sides shuffled (`controls`)" in noted("03_codepmp", "cpu")
    said = noted("07_ppo", "cpu")
    assert "GRPO, iterative DPO (`methods`); PPO with raw advantages" in said


@pytest.mark.parametrize("stage", PROJECT.stages)
def test_a_full_run_leaves_nothing_out(stage: str) -> None:
    assert noted(stage, "full") == ""


@pytest.fixture
def root(tmp_path):
    """A project with the ledger and a recorded full run that compared PPO with SFT+DPO."""
    folder = tmp_path / "book" / "recorded" / "runs" / "full"
    folder.mkdir(parents=True)
    ledger = ROOT / "book" / "claims.yml"
    (tmp_path / "book" / "claims.yml").write_bytes(ledger.read_bytes())
    about = {
        "name": "full",
        "kind": "synthetic",
        "date": "2026-01-02",
        "commits": "abc",
    }
    about |= {"data": "built-in", "parameters": {}, "cpu_count": 2, "device": "cpu"}
    (folder / "about.json").write_text(json.dumps({**about, "seconds": 60}))
    gap = Interval(0.5, 0.4, 0.6, error=0.05, seeds=3, n=200)
    table = estimates.one_row("ppo (base)", gap, "sft_dpo").assign(
        judge="truth", p=1e-6
    )
    rows = estimates.as_records(table, "difference")
    rows = [{**row, "subset": "helpful"} for row in rows]
    frame = tidy(rows).assign(stage="09_compare")
    frame[list(side_by_side.KEPT)].to_csv(folder / side_by_side.NUMBERS, index=False)
    return tmp_path


def test_the_ledger_can_quote_the_full_run(root) -> None:
    said = full_run.decided_there(root)
    assert set(said) == {"ppo_over_dpo_helpful"}  # it measured nothing else
    (words,) = said.values()
    assert words.startswith("in the full run of 2026-01-02, commit abc: **")
    everything = side_by_side.recorded_numbers(root)[0].table
    decisions = side_by_side.decisions_of(everything, root)
    assert decisions["ppo_over_dpo_helpful"].status in words
    assert decisions["ppo_over_dpo_harmless"].status == UNTESTED
    assert claims.by_subset(decisions, "codepmp_reward_model").startswith(UNTESTED)


def test_a_superseded_full_run_is_not_quoted(root) -> None:
    path = root / "book" / "recorded" / "runs" / "full" / "about.json"
    about = json.loads(path.read_text()) | {"superseded": "It was wrong."}
    path.write_text(json.dumps(about))
    assert full_run.decided_there(root) == {}
    assert "It was wrong." in full_run.full_page(root)


def test_the_full_run_has_a_page_of_its_own(root) -> None:
    page = full_run.full_page(root)
    assert "## Run `full`" in page and "2026-01-02" in page
    (recorded,) = side_by_side.recorded_numbers(root)
    assert recorded.page == "[The full run](full)"
    assert recorded._replace(name="real").page == "[On real pairs](real)"
    empty = root / "other"
    assert "`prefbook record --run full`" in full_run.full_page(empty)


def test_numbers_of_all_stages_that_claims_read_are_recorded() -> None:
    read = {record["stage"] for record in asked()}
    assert read <= set(side_by_side.COMPARED)


def asked() -> list[dict]:
    ledger = claims.read_ledger(ROOT / "book" / "claims.yml")
    return [record for claim in ledger.recorded() for record in claim["records"]]
