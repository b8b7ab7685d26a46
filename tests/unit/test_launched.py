"""Trainings on two processes: the records of one, at the same batch."""

import json
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from helpers import jobs, launched, models, recipes
from helpers.params import ParameterError
from helpers.rules import check_together
from helpers.training import Fit

WORDS = ("red", "green", "blue", "small", "large", "old", "new", "warm")
ROWS = [
    {
        "id": f"p{at:02d}",
        "subset": "helpful",
        "split": "train" if at < 24 else "test",
        "prompt": f"\n\nHuman: {' '.join(WORDS[: at % 5 + 1])}?\n\nAssistant:",
        "chosen": f" {WORDS[at % 8]} it is.",
        "rejected": f" no {WORDS[(at + 3) % 8]}.",
        "turns": 1,
    }
    for at in range(32)
]
FIT = Fit(1e-3, 4, epochs=2, max_length=64)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with data, a base model and an SFT policy, as the stages leave them."""
    folder = tmp_path_factory.mktemp("run")
    pairs = pd.DataFrame(ROWS)
    (folder / "00_data").mkdir()
    pairs.to_parquet(folder / "00_data" / "pairs.parquet")
    texts = [*(pairs["prompt"] + pairs["chosen"]), *pairs["rejected"]]
    tokenizer = models.build_tokenizer(texts, 300)
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 64}
    model = models.build_opt(tokenizer, **shape, seed=0)
    for stage in ("01_base_model", "05_sft"):
        place = folder / stage / "jobs" / "seed=0"
        models.save(model, tokenizer, place)
        (place / "job.json").write_text(json.dumps({"job": {"seed": 0}, "key": ""}))
        (folder / stage / "manifest.json").write_text('{"key": ""}')
    return folder


JOBS = {
    "sft": (recipes.sft, {"method": "sft", "pairs": 24, "fit": FIT}),
    "reward model": (
        recipes.reward_model,
        {"method": "rm", "init": "base", "pairs": 24, "fit": FIT},
    ),
    "dpo": (
        recipes.dpo,
        {"method": "sft_dpo", "pairs": 24, "strength": 0.1, "fit": FIT}
        | {"contrast": FIT, "adapted": FIT},
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_give_the_records_of_one(name, run, tmp_path) -> None:
    function, job = JOBS[name]
    call = {"run": run, "seed": 0, **job}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with jobs.limited(1):
        expected = function(one, **call)
    found = launched.launch(function, two, call, processes=2)
    assert len(found) == len(expected)
    for shared, single in zip(found, expected):
        assert shared.keys() == single.keys()
        assert shared["metric"] == single["metric"]
        if shared["metric"] in ("train_loss", "margin"):
            assert shared["value"] == pytest.approx(single["value"], abs=1e-4)
        if shared["metric"] == "train_flops":  # less padding in smaller batches
            assert shared["value"] == pytest.approx(single["value"], rel=0.15)
    assert {"train_loss", "train_flops"} <= {row["metric"] for row in found}
    weights = [load_file(each / "model.safetensors") for each in (one, two)]
    for key, value in weights[0].items():
        assert (value - weights[1][key]).abs().max() < 1e-3
    assert not list(two.glob(".*"))


def test_a_grid_can_run_on_several_processes(run, tmp_path) -> None:
    function = recipes.sft
    shared = {"run": run, "fit": FIT}
    grid = [{"method": "sft", "pairs": 24, "seed": 0}]
    records = jobs.run_grid(
        function, grid, tmp_path, stage="05_sft", shared=shared, processes=2
    )
    assert "train_loss" in set(records["metric"])
    assert (tmp_path / jobs.slug(grid[0]) / "model.safetensors").exists()


def test_a_failure_says_what_went_wrong(run, tmp_path) -> None:
    call = {"run": run / "nowhere", "seed": 0, **JOBS["sft"][1]}
    with pytest.raises(launched.LaunchError, match="FileNotFoundError: "):
        launched.launch(recipes.sft, tmp_path, call, processes=2)


def test_calls_survive_as_json(tmp_path) -> None:
    call = {"run": tmp_path, "fits": {"strong": FIT}, "sizes": (1, 2), "none": None}
    again = launched.decode(json.loads(json.dumps(launched.encode(call))))
    assert again == call | {"sizes": [1, 2]}
    with pytest.raises(launched.LaunchError, match="object: cannot be given"):
        launched.encode({"what": object()})


def test_functions_from_elsewhere_are_refused(tmp_path) -> None:
    with pytest.raises(launched.LaunchError, match="only functions of helpers"):
        launched.launch(test_calls_survive_as_json, tmp_path, {}, processes=2)


@pytest.mark.parametrize(
    "values",
    [
        {"batch_size": 6, "processes": 4},
        {"token_budget": 512, "processes": 2},
    ],
)
def test_batches_that_cannot_be_shared_are_refused(values) -> None:
    with pytest.raises(ParameterError, match="processes"):
        check_together("04_reward_model", values)
