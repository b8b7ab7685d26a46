"""Settings are chosen by trials: their grids, their table, and what the book says."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from helpers.analysis import tuning
from helpers.book import cost_page, settings_page
from helpers.cli import app
from helpers.config.parameters import ParameterError
from helpers.config.schema import read_schema
from helpers.core import measurements
from helpers.core.paths import PROJECT, ROOT, RunError
from helpers.methods import METHODS, OFFLINE, ONLINE
from helpers.models import loading
from helpers.recipes import judging, trials
from helpers.runs import store
from helpers.trainers.watched import NotFinite
from tests.manifests import write_manifest

RECORD = ROOT / "book" / "recorded" / measurements.TUNING
BEST = {"sft": 1.0, "ppo": 3.0, "rm": 0.3}  # the factor that the trials below favour
made: Counter[str] = Counter()


def trial(out: Path, *, run, method, factor, seed, given, examined) -> list[dict]:
    """In place of a training: scores that are best at the factor of BEST."""
    made[method] += 1
    score = -abs(np.log(factor / BEST[method]))
    rows = [
        {"metric": "score", "subset": "helpful", "value": score},
        {"metric": "score", "subset": "harmless", "value": score - 2},
        {"metric": "n", "value": 10},
    ]
    return rows if method == "rm" else [*rows, {"metric": "kl", "value": factor}]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run of which 00 to 05 are done, and trials that train nothing."""
    for stage in tuning.NEEDED:
        schema = read_schema(PROJECT.notebook(stage))
        given = {name: each.default for name, each in schema.items()}
        given |= {"workers": 1, "max_length": 96}
        about = {"parameters": given, "results": {"content": stage}}
        about |= {"files": {"pairs.parquet": [0, "", 0]}}
        write_manifest(tmp_path / "mine", stage, **about)
    pairs = {"subset": ["helpful", "harmless"], "split": ["dev", "dev"]}
    pd.DataFrame(pairs).to_parquet(tmp_path / "mine" / "00_data" / "pairs.parquet")
    monkeypatch.setattr(tuning, "trial", trial)
    judge = type("Judge", (), {"name": "truth"})
    monkeypatch.setattr(judging, "judges", lambda run: [judge])
    made.clear()
    return tmp_path / "mine"


def tune(run: Path, *methods: str, out: str = "out") -> pd.DataFrame:
    place = run.parent / out
    return tuning.tune(run, methods, (0.3, 1.0, 3.0), place, say=lambda text: None)


def test_every_trial_is_kept_and_the_best_of_each_method_chosen(run) -> None:
    table = tune(run, "ppo", "sft")
    assert table.columns.tolist() == tuning.COLUMNS
    assert table["method"].tolist() == ["sft"] * 3 + ["ppo"] * 3
    chosen = table[table["chosen"]].set_index("method")
    assert chosen["parameter"].to_dict() == {
        "sft": "05_sft.learning_rate",
        "ppo": "07_ppo.learning_rate",
    }
    default = {
        name: read_schema(PROJECT.notebook(name))["learning_rate"].default
        for name in ("05_sft", "07_ppo")
    }
    assert chosen["value"]["sft"] == default["05_sft"]
    assert chosen["value"]["ppo"] == pytest.approx(3 * default["07_ppo"])
    assert chosen["score"].tolist() == [-1.0, -1.0]  # the mean of the two subsets
    assert chosen["n"].tolist() == [10, 10] and chosen["kl"]["ppo"] == 3.0


def test_a_rate_at_which_training_stops_has_no_score(run, monkeypatch) -> None:
    def stops(*_: object) -> None:
        raise NotFinite("the loss is nan")

    stock = trials.trial

    def best_stops(out: Path, *, factor: float, **rest) -> list[dict]:
        each = stock if factor == BEST["sft"] else trial
        return each(out, factor=factor, **rest)

    monkeypatch.setattr(trials, "train", stops)
    monkeypatch.setattr(tuning, "trial", best_stops)
    table = tune(run, "sft").set_index("value")
    assert table["score"].isna().tolist() == [False, True, False]
    assert table["chosen"].sum() == 1 and not table["chosen"].iloc[1]
    assert table["n"].tolist() == [10, 2, 10]


def test_a_second_call_adds_methods_and_makes_no_trial_again(run) -> None:
    tune(run, "sft")
    table = tune(run, "rm", "sft")
    assert made == {"sft": 3, "rm": 3}
    assert table.groupby("method").size().to_dict() == {"sft": 3, "rm": 3}
    assert table["kl"].isna().tolist() == [False] * 3 + [True] * 3
    read = pd.read_csv(run.parent / "out" / "table.csv")
    assert read["chosen"].tolist() == table["chosen"].tolist()
    assert read["chosen"].sum() == 2
    about = json.loads((run.parent / "out" / "about.json").read_text())
    assert about["command"].splitlines() == [
        "prefbook tune --run mine --methods sft --factors 0.3,1,3",
        "prefbook tune --run mine --methods rm,sft --factors 0.3,1,3",
    ]


def test_trials_of_two_runs_are_not_mixed(run) -> None:
    tune(run, "sft")
    run.rename(run.with_name("other"))
    with pytest.raises(RunError, match="trials of the run mine: give another --out"):
        tune(run.with_name("other"), "sft")


def test_a_trial_is_made_again_when_what_it_reads_has_changed(run) -> None:
    tune(run, "sft")
    about = {"parameters": {"workers": 1}, "results": {"content": "other"}}
    write_manifest(run, "04_reward_model", **about)
    tune(run, "sft")
    assert made["sft"] == 6


def test_a_stage_that_took_longer_and_gave_the_same_leaves_trials_alone(run) -> None:
    tune(run, "sft")
    manifest = run / "04_reward_model" / "manifest.json"
    about = json.loads(manifest.read_text())
    about["results"]["seconds"] = "others"
    manifest.write_text(json.dumps(about))
    tune(run, "sft")
    assert made["sft"] == 3


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        ("sft", {"learning_rate": 1e-3}, {"learning_rate": 3e-4}),
        (
            "rloo",
            {"learning_rate": 1.0, "rloo_learning_rate": 0.123},
            {"rloo_learning_rate": 0.037},
        ),
        (
            "ppo",
            {"learning_rate": 3e-4, "critic_learning_rate": 6e-4},
            {"learning_rate": 9e-5, "critic_learning_rate": 1.8e-4},
        ),
    ],
)
def test_a_trial_changes_the_rate_of_its_method(method, given, expected) -> None:
    assert trials.changed(method, given, 0.3) == expected


def test_every_method_has_a_rate_of_its_own_in_its_stage() -> None:
    for method, stage in trials.STAGES.items():
        schema = read_schema(PROJECT.notebook(stage))
        given = dict.fromkeys([*schema, *(each.rate for each in METHODS)], 1.0)
        assert set(trials.changed(method, given, 1)) <= set(schema)
    assert {"sft", "rm", "sft_dpo", "ppo", "dpo_iter"} <= set(tuning.METHODS)
    # otherwise two could choose differently, and only one could have its choice
    rates = {(trials.STAGES[each], trials.rate_name(each)) for each in tuning.METHODS}
    assert len(rates) == len(tuning.METHODS)


def test_what_cannot_be_tried_is_refused(run) -> None:
    assert tuning.parse_methods("") == list(tuning.METHODS)
    assert tuning.parse_factors("0.3,1") == [0.3, 1.0]
    with pytest.raises(ParameterError, match="did you mean ppo"):
        tuning.parse_methods("sft,pppo")
    for text in ("", "1,x", "0,1", "-1", "inf"):
        with pytest.raises(ParameterError, match="expected numbers > 0"):
            tuning.parse_factors(text)
    with pytest.raises(ParameterError, match="05_sft"):
        tuning.trials(run, "sft", [1e6])


def test_an_unfinished_run_and_one_without_dev_are_refused_in_one_line(run) -> None:
    found = CliRunner().invoke(app, ["tune", "--run", "no-such-run"])
    assert found.exit_code == 2 and "00_data is not done" in found.output
    assert len(found.output.strip().splitlines()) == 1
    pairs = pd.DataFrame({"subset": ["helpful"], "split": ["dev"]})
    pairs.to_parquet(run / "00_data" / "pairs.parquet")
    with pytest.raises(RunError, match="no dev pairs of both subsets"):
        tune(run, "sft")


def test_a_score_is_the_mean_of_each_subset() -> None:
    pairs = pd.DataFrame(
        {"subset": ["helpful", "harmless", "helpful"]}, index=[5, 3, 4]
    )
    rows = trials.subset_rows(pairs, np.array([1.0, 5.0, 3.0]))
    found = {row.get("subset", ""): row["value"] for row in rows}
    assert found == {"helpful": 2.0, "harmless": 5.0, "": 3}


@pytest.fixture
def untrained(monkeypatch) -> None:
    """Models, tokenizers and folders that trials load are nothing."""
    for name in ("load_policy", "load_scorer", "load_tokenizer"):
        monkeypatch.setattr(loading, name, lambda folder: None)
    monkeypatch.setattr(store, "job_folder", lambda run, stage, **job: run)


def some_dev_pairs(**columns: list) -> Callable[[Path], pd.DataFrame]:
    """In place of `dev_pairs`: four pairs, two of each subset."""
    subsets = {"subset": ["helpful", "harmless"] * 2}
    return lambda run: pd.DataFrame(subsets | columns)


def test_a_reward_model_that_gives_no_number_is_not_right(
    untrained, monkeypatch
) -> None:
    texts = {name: ["a"] * 4 for name in ("prompt", "chosen", "rejected")}
    monkeypatch.setattr(trials, "dev_pairs", some_dev_pairs(**texts))
    scores = np.array([1.0, np.nan, np.inf, 2.0, 0.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(trials, "reward_scores", lambda *_, **__: scores)
    rows = trials.reward_model_scores(Path(), Path(), 96)
    assert [row["value"] for row in rows] == [0.5, 0.5, 4]  # harmless, helpful, n


def test_a_prompt_is_asked_once_and_what_is_written_is_measured(
    untrained, monkeypatch
) -> None:
    monkeypatch.setattr(
        trials, "dev_pairs", some_dev_pairs(prompt=["a", "b", "a", "c"])
    )
    asked: list[str] = []

    def generate(policy, tokenizer, prompts, **settings) -> list[SimpleNamespace]:
        asked.extend(prompts)
        words = [SimpleNamespace(text=each * 3, prompt=[], ids=[]) for each in prompts]
        for each in words:
            each.ended = each.text == "aaa"
        return words

    judge = SimpleNamespace(score=lambda prompts, texts: np.arange(len(texts)) * 1.0)
    monkeypatch.setattr(trials, "generate", generate)
    monkeypatch.setattr(judging, "judges", lambda run, room: [judge])
    monkeypatch.setattr(trials, "exact_kl", lambda *_: np.array([1.0, 2.0, 6.0]))
    rows = trials.policy_scores(Path(), Path(), 0, max_new_tokens=8, max_length=32)
    assert sorted(asked) == ["a", "b", "c"]
    found = {row["metric"]: row["value"] for row in rows}
    assert (found["kl"], found["length"], found["n"]) == (3.0, 3.0, 3)
    assert found["ended"] == pytest.approx(1 / 3)


def test_the_book_lists_every_trial_with_the_settings_not_the_costs(run) -> None:
    recorded = run.parent / "recorded"
    assert "No trials are recorded" in settings_page.settings_section(recorded)
    tune(run, "sft", out="recorded/tuning")
    text = settings_page.settings_section(recorded)
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| SFT")
    ]
    assert [row[-1] for row in cells] == ["", "yes", ""]
    assert text.count(f"## {measurements.TITLE}") == 1
    assert measurements.TITLE not in "".join(cost_page.recorded_tables(recorded))


def test_the_defaults_are_what_the_recorded_trials_chose() -> None:
    if not (RECORD / "table.csv").exists():
        pytest.skip("no trials are recorded in book/recorded/tuning")
    table = pd.read_csv(RECORD / "table.csv")
    assert table.groupby("method").size().nunique() == 1  # as many for each
    for row in table[table["chosen"]].itertuples():
        stage, name = row.parameter.split(".")
        default = read_schema(PROJECT.notebook(stage))[name].default
        assert default == pytest.approx(row.value), f"{row.method}: {row.parameter}"
    assert set(table["method"]) <= {"sft", "rm", *OFFLINE, *ONLINE}


def test_of_scores_that_are_alike_the_nearest_to_sft_is_chosen() -> None:
    rows = pd.DataFrame(
        {
            "method": "sft_dpo",
            "score": [2.0, 2.73, 2.78, None],
            "kl": [0.1, 1.8, 11.4, 300.0],
        }
    )
    assert tuning.choice(rows).tolist() == [False, True, False, False]
    apart = rows.assign(score=[2.0, 2.60, 2.78, None])
    assert tuning.choice(apart).tolist() == [False, False, True, False]
    sft = rows.assign(method="sft")  # its distance is from itself
    assert tuning.choice(sft).tolist() == [False, False, True, False]
    rm = rows.assign(method="rm", kl=float("nan"))
    assert tuning.choice(rm).tolist() == [False, False, True, False]
