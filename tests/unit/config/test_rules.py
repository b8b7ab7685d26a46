"""Rules across parameters: refused before anything runs, in one line."""

import shutil

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from helpers.config import constraints
from helpers.config.constraints import ACROSS, RULES, check_together
from helpers.config.parameters import ParameterError
from helpers.config.schema import read_schema
from helpers.config.settings import all_values
from helpers.core import hub
from helpers.core.paths import PROJECT, Project
from tests.manifests import write_manifest


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("01_base_model.heads=5", "01_base_model: hidden=96, heads=5: expected hidden"),
        ("08_evaluate.max_new_tokens=191", "expected max_new_tokens below max_length"),
        (
            "07_ppo.kl_coef=0 07_ppo.methods=dpo_iter",
            "kl_coef=0.0, methods=.*: expected kl_coef above 0, or",
        ),
        ("07_ppo.episodes=24", "episodes=24, minibatches=4: expected episodes"),
        ("07_ppo.rounds=1000", "expected rollouts times episodes"),
        (
            "07_ppo.minibatches=1 07_ppo.variants=small_batch",
            "minibatches=1, variants=.*: expected no small_batch",
        ),
        ("02_code_pairs.weak_hidden=10", "weak_hidden=10: expected weak_hidden"),
        ("02_code_pairs.strong_errors=3", "expected strong_errors below weak_errors"),
        (
            "02_code_pairs.strong_model=facebook/opt-350m",
            "expected code_source=writers",
        ),
        ("01_base_model.prompt_form=chat", "expected prompt_form=data"),
        ("02_code_pairs.code_source=nowhere", "or a folder of code pairs"),
        ("02_code_pairs.verified_gap=true", "expected a folder of code pairs"),
        (
            "06_dpo.pairs=4800",
            "06_dpo.pairs=4800, .*: expected pairs to be the largest",
        ),
        ("04_reward_model.sizes=600,700", r"sizes=\[600, 700\]: expected pairs to be"),
        ("09_compare.sweep=none", "sweep=none: expected the folder of a sweep"),
        ("09_compare.sweep=../x", "sweep=../x: expected the folder of a sweep"),
        ("02_code_pairs.code_source=" + "x" * 900, "or a folder of code pairs"),
        ("01_base_model.pretrained=" + "x" * 900, "expected a folder, a hub name"),
        ("01_base_model.pretrained=a\0b", "expected str without control characters"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(given: str, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason) as error:
        all_values(PROJECT, list(PROJECT.stages), "runs/x", given=given.split())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("folder", ["/elsewhere", "../x", "runs/../../x", "runs", ""])
def test_results_stay_in_the_folder_of_runs(folder: str) -> None:
    """However a notebook is run: by Papermill, on Colab, by the command."""
    with pytest.raises(ParameterError, match="expected the folder of a run, runs/NAME"):
        check_together("00_data", {"run_dir": folder})
    check_together("00_data", {"run_dir": "runs/beta/00"})


def test_relatives_alone_may_have_any_number_of_pairs() -> None:
    given = ["06_dpo.pairs=4800", "06_dpo.methods=ipo,tis_equal"]
    values = all_values(PROJECT, list(PROJECT.stages), "runs/x", given=given)
    assert values["06_dpo"]["pairs"] == 4800


def test_a_stage_is_held_against_what_its_run_has_finished(tmp_path) -> None:
    project = Project(tmp_path / "project")
    shutil.copytree(PROJECT.root / "notebooks", project.root / "notebooks")
    run, given = project.root / "runs" / "x", {"sizes": [100, 300]}
    write_manifest(run, "04_reward_model", parameters=given)
    dpo = ["06_dpo"]
    with pytest.raises(ParameterError, match=r"sizes=\[100, 300\]: expected pairs"):
        all_values(project, dpo, "runs/x")
    all_values(project, dpo, "runs/x", given=["pairs=300"])
    all_values(project, dpo, "runs/another")  # has no reward model yet


def test_every_tier_follows_the_rules() -> None:
    for tier in ("cpu", *(file.stem for file in PROJECT.tiers.glob("*.yaml"))):
        all_values(PROJECT, list(PROJECT.stages), "runs/x", tier, planned=True)


def test_a_plan_needs_no_weights_but_a_run_does(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(hub, "WEIGHTS", tmp_path)
    given = ["01_base_model.pretrained=smollm2-135m-instruct"]
    all_values(PROJECT, list(PROJECT.stages), "runs/x", given=given, planned=True)
    with pytest.raises(ParameterError, match=r"pretrained=smollm2.*`prefbook weights"):
        all_values(PROJECT, list(PROJECT.stages), "runs/x", given=given)


def test_every_rule_speaks_of_parameters_that_a_stage_declares() -> None:
    values = all_values(PROJECT, list(PROJECT.stages), "runs/x")
    for rule in RULES:
        assert any(set(rule.names) <= set(each) for each in values.values()), rule
    for rule in ACROSS:
        assert all(name in values[stage] for stage, name in rule.names), rule


def test_a_rule_passes_over_stages_without_its_names() -> None:
    check_together("00_data", {"hidden": 7})


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch) -> None:
    check_together("05_sft", {"report_to": "none"})
    check_together("05_sft", {"report_to": "tensorboard"})
    monkeypatch.setattr(constraints, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match="report_to=wandb: expected a package"):
        check_together("05_sft", {"report_to": "wandb"})


def test_deepspeed_that_is_not_installed_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(constraints, "find_spec", lambda name: None)
    check_together("05_sft", {"strategy": "fsdp", "processes": 2})
    with pytest.raises(ParameterError, match="strategy=zero2: expected ddp or fsdp"):
        check_together("05_sft", {"strategy": "zero2", "processes": 2})


def test_every_strategy_has_its_configuration() -> None:
    schema = read_schema(PROJECT.notebook("05_sft"))
    files = list((PROJECT.root / "notebooks" / "strategies").glob("*.yaml"))
    assert {file.stem for file in files} == set(schema["strategy"].choices)
    for file in files:
        load_config_from_file(str(file))
