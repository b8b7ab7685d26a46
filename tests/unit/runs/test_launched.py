"""Trainings on two processes: the records of one, at the same batch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from helpers.config.constraints import check_together
from helpers.config.parameters import ParameterError
from helpers.core.flops import metered
from helpers.core.paths import ROOT
from helpers.core.processes import Processes
from helpers.methods import OFFLINE
from helpers.models import loading
from helpers.recipes import dpo, language_models, online, reward_models
from helpers.runs import jobs, launch
from helpers.trainers.online_settings import Online
from helpers.trainers.training import Fit
from tests.manifests import write_manifest

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
CODE = {
    "id": [f"f{at}" for at in range(8)],
    "prompt": [f"# {word}\n" for word in WORDS],
    "chosen": [f"x = {at}\n" for at in range(8)],
    "rejected": [f"y = {at} {at}\n" for at in range(8)],
    "split": ["train"] * 7 + ["test"],
}
# a key's bias moves all scores of a query alike: Adam follows the rounding of a zero
ROUNDING = "k_proj.bias"
FIT = Fit(1e-3, 4, epochs=2, max_length=64)
FILLED = replace(FIT, token_budget=222)  # fits 8, 10 and 6 pairs, all of them even


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with data, a base model and an SFT policy, as the stages leave them."""
    folder = tmp_path_factory.mktemp("run")
    pairs = pd.DataFrame(ROWS)
    (folder / "00_data").mkdir()
    pairs.to_parquet(folder / "00_data" / "pairs.parquet")
    (folder / "02_code_pairs").mkdir()
    pd.DataFrame(CODE).to_parquet(folder / "02_code_pairs" / "pairs.parquet")
    done(folder, "02_code_pairs", {})
    texts = [*(pairs["prompt"] + pairs["chosen"]), *pairs["rejected"]]
    tokenizer = loading.build_tokenizer(texts, 300)
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 64}
    model = loading.build_opt(tokenizer, **shape, seed=0)
    done(folder, "00_data", {"data_source": "built-in"})
    for stage in ("01_base_model", "05_sft"):
        loading.save(model, tokenizer, done(folder, stage, {}, seed=0))
    for method in ("rm", "judge"):
        job = {"method": method, "init": "base", "pairs": 24, "seed": 0}
        place = done(
            folder, "04_reward_model", {"max_length": 64, "sizes": [24]}, **job
        )
        scorer = loading.load_scorer(folder / "05_sft" / "jobs" / "job", seed=0)
        loading.save(scorer, tokenizer, place)
    return folder


def done(run: Path, stage: str, parameters: dict, **job: object) -> Path:
    """The folder of a finished stage's job, which has still to be filled."""
    place = run / stage / "jobs" / str(job.get("method", "job"))
    place.mkdir(parents=True, exist_ok=True)
    if job:
        about = {"job": job, "key": "", "files": {}}
        (place / "job.json").write_text(json.dumps(about))
    write_manifest(run, stage, parameters=parameters)
    return place


# the last batch has three rows or one: two processes cannot share it alike
FITS = dict.fromkeys((*OFFLINE, "contrast"), FIT)
DPO = {"pairs": 21, "strength": 0.1, "fits": FITS, "label_noise": 0.1}
JOBS = {
    "sft": (language_models.sft, {"method": "sft", "pairs": 21, "fit": FIT}),
    "reward model": (
        reward_models.reward_model,
        {"method": "rm", "init": "base", "pairs": 23, "fit": FIT},
    ),
    "reward model of a budget": (
        reward_models.reward_model,
        {"method": "rm", "init": "base", "pairs": 24, "fit": FILLED},
    ),
    "codepmp": (reward_models.preference_model, {"init": "codepmp", "fit": FIT}),
    "dpo": (dpo.dpo, {"method": "sft_dpo", **DPO}),
    "dpo of adapters": (dpo.dpo, {"method": "sft_dpo_lora", **DPO}),
    "tis-dpo": (dpo.dpo, {"method": "tis_dpo", **DPO}),
}


ONLINE = Online(
    rollouts=2,
    episodes=16,
    epochs=2,
    minibatches=2,
    learning_rate=1e-3,
    critic_learning_rate=1e-3,
    kl_coef=0.1,
    max_prompt_length=48,
    max_new_tokens=8,
    rounds=2,
    dpo_learning_rate=1e-3,
)


@pytest.mark.parametrize("method", ["ppo", "dpo_iter", "rloo", "grpo"])
def test_online_methods_share_their_replies_out(method, run, tmp_path) -> None:
    """PPO and iterative DPO give the same records on any number of processes.

    TRL's trainers draw the same replies, but cut them into other mini-batches.
    """
    call = {"run": run, "method": method, "init": "base", "strength": 0.1, "seed": 0}
    call |= {"settings": ONLINE, "max_length": 64}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with jobs.limited(1), metered() as spent:
        expected = pd.DataFrame(online.train(one, **call))
    rows, own = launch.launch(online.train, two, call, Processes(2)), spent.rows()
    found = pd.DataFrame(rows[: -len(own)])
    costs, shared = (
        {row["metric"]: row["value"] for row in each}
        for each in (own, rows[-len(own) :])
    )
    assert found["metric"].tolist() == expected["metric"].tolist()
    assert found["step"].equals(expected["step"])
    assert shared.keys() == costs.keys()  # of both processes together
    assert shared["train_flops"] == pytest.approx(costs["train_flops"], rel=0.15)
    assert shared["optimiser_steps"] == costs["optimiser_steps"]
    assert np.isfinite(found["value"]).all()
    if method in ("ppo", "dpo_iter"):
        np.testing.assert_allclose(
            found["value"], expected["value"], rtol=1e-3, atol=2e-4
        )
    weights = [load_file(each / "model.safetensors") for each in (one, two)]
    start = load_file(run / "05_sft" / "jobs" / "job" / "model.safetensors")
    assert any(not torch.equal(weights[1][key], start[key]) for key in start)
    for key, value in weights[0].items():
        if method in ("ppo", "dpo_iter") and not key.endswith(ROUNDING):
            assert (value - weights[1][key]).abs().max() < 1e-3, key


HARDER = ("codepmp", "dpo of adapters", "tis-dpo")  # two heads; parts; two trainings


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        *(("ddp", name) for name in JOBS if name != "tis-dpo"),
        *(("fsdp", name) for name in HARDER),
        *(("zero2", name) for name in JOBS),
    ],
)
def test_two_processes_give_the_records_of_one(
    strategy, name, run, tmp_path, monkeypatch
) -> None:
    if strategy == "fsdp":  # Accelerate asks for GPUs, and is let to do without
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "fsdp"))
    if strategy == "zero2":
        pytest.importorskip("deepspeed", reason="needs DeepSpeed: run `make deepspeed`")
    function, job = JOBS[name]
    call = {"run": run, "seed": 0, **job}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with jobs.limited(1), metered() as spent:
        expected = function(one, **call)
    expected += spent.rows()
    found = launch.launch(function, two, call, Processes(2, strategy))
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
        if not key.endswith(ROUNDING):
            assert (value - weights[1][key]).abs().max() < 1e-3, key
    assert not list(two.glob(".*"))


def test_a_grid_can_run_on_several_processes(run, tmp_path) -> None:
    function = language_models.sft
    shared = {"run": run, "fit": FIT}
    grid = [{"method": "sft", "pairs": 24, "seed": 0}]
    records = jobs.run_grid(
        function, grid, tmp_path, stage="05_sft", shared=shared, processes=Processes(2)
    )
    assert "train_loss" in set(records["metric"])
    assert (tmp_path / jobs.slug(grid[0]) / "model.safetensors").exists()


def test_a_failure_says_what_went_wrong(run, tmp_path) -> None:
    call = {"run": run / "nowhere", "seed": 0, **JOBS["sft"][1]}
    with pytest.raises(launch.LaunchError, match="RunError: 00_data is not done"):
        launch.launch(language_models.sft, tmp_path, call, Processes(2))


def test_calls_survive_as_json(tmp_path) -> None:
    call = {"run": tmp_path, "fits": {"strong": FIT}, "sizes": (1, 2), "none": None}
    again = launch.decode(json.loads(json.dumps(launch.encode(call))))
    assert again == call and type(again["sizes"]) is tuple
    with pytest.raises(launch.LaunchError, match="object: cannot be given"):
        launch.encode({"what": object()})


def test_functions_from_elsewhere_are_refused(tmp_path) -> None:
    with pytest.raises(launch.LaunchError, match="only functions of helpers"):
        launch.launch(test_calls_survive_as_json, tmp_path, {}, Processes(2))


@pytest.mark.parametrize(
    "values",
    [
        {"batch_size": 6, "processes": 4},
        {"episodes": 24, "minibatches": 3, "processes": 4},
        {"strategy": "fsdp", "processes": 1},
    ],
)
def test_batches_that_cannot_be_shared_are_refused(values) -> None:
    with pytest.raises(ParameterError, match="processes"):
        check_together("04_reward_model", values)
