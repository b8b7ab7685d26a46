"""The one list of methods: an entry is all that grids, trials, costs and figures need."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import methods
from helpers.config.schema import read_schema
from helpers.core.paths import PROJECT, ROOT

ENTRY = """METHODS = (
    Method(
        "simpo",
        "SimPO",
        DPO,
        loss="simpo",
        rate="simpo_learning_rate",
        strength="simpo_beta",
        further="simpo_betas",
        colours=("#123456",),
    ),
"""
ASKED = """
from helpers import methods
from helpers.analysis import method_costs, tuning
from helpers.figures.style import PALETTE
from helpers.recipes import evaluate, grids, trials

given = {"methods": ["simpo"], "simpo_beta": 2.0, "simpo_betas": [1.0, 4.0], "seeds": 2}
given["relative_pairs"] = 100
print("simpo" in methods.POLICIES and "simpo" in methods.RELATIVES)
print("simpo implicit" in methods.names())
print([job["strength"] for job in grids.dpo(given, 50)] == [2, 2, 1, 1, 4, 4])
print(trials.STAGES["simpo"] == "06_dpo" and "simpo" in tuning.METHODS)
print(trials.rate_name("simpo") == "simpo_learning_rate")
print(method_costs.LINEAGE["simpo"][-1] == ("06_dpo", "simpo", ""))
print(evaluate.REFERENCE_OF["simpo"] == "sft")
print(PALETTE["simpo"] == "#123456")
print(methods.title("simpo implicit − sft") == "SimPO, implicit reward − SFT")
"""


def test_an_entry_is_all_that_a_method_needs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers")
    listed = tmp_path / "helpers" / "methods.py"
    listed.write_text(listed.read_text().replace("METHODS = (\n", ENTRY, 1))
    command = [sys.executable, "-c", ASKED]
    alone = {"cwd": tmp_path, "env": {"PYTHONPATH": str(tmp_path)}}
    said = subprocess.run(command, **alone, capture_output=True, check=False)
    assert said.stdout.decode().split() == ["True"] * 9, said.stderr.decode()


def test_the_parameters_of_every_method_are_declared() -> None:
    for each in methods.METHODS:
        schema = read_schema(PROJECT.notebook(each.stage))
        asked = {each.rate, each.further} - {""}
        if each.stage != methods.SFT:
            asked |= {each.strength}
        if each.stage == methods.DPO:
            asked |= {each.pairs}
        assert asked <= set(schema), each.name


def test_what_follows_follows_a_method_with_settings_of_its_own() -> None:
    for each in methods.METHODS:
        if each.follows:
            assert not methods.BY_NAME[each.follows].follows
    notebooks = {
        stage: set(read_schema(PROJECT.notebook(stage))["methods"].choices)
        for stage in (methods.DPO, methods.PPO)
    }
    assert notebooks[methods.DPO] == set(methods.OFFLINE)
    assert notebooks[methods.PPO] == set(methods.ONLINE)


def test_a_name_that_is_in_no_list_is_an_error() -> None:
    with pytest.raises(KeyError, match="no method is called 'pp0'"):
        methods.check_names(methods.POLICIES, "method", "ppo", "pp0")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("sft_dpo", "SFT+DPO"),
        ("ppo (base)", "PPO"),
        ("ppo (codepmp)", "PPO, CodePMP"),
        ("best_of_n (random)", "one of N at random"),
        ("ppo implicit (codepmp)", "PPO, implicit reward, CodePMP"),
        ("ppo (base) − sft_dpo", "PPO − SFT+DPO"),
        ("raw_advantages", "PPO with raw advantages"),
        ("a reader's own words (here)", "a reader's own words (here)"),
    ],
)
def test_readers_meet_titles(name: str, title: str) -> None:
    assert methods.title(name) == title


def test_titles_are_words_and_tell_names_apart() -> None:
    """What has one title is one thing: of the base start, or a part by its short name."""
    found: dict[str, set[str]] = {}
    for name in methods.names():
        found.setdefault(methods.title(name), set()).add(name)
    for title, names in found.items():
        plain = {name.removesuffix(" (base)").removeprefix("ppo_") for name in names}
        assert len(plain) == 1, names
        assert "_" not in title and "(base)" not in title
