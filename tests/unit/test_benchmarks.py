"""The benchmark of devices: the true shape, and clocks that leave starting out."""

import importlib
import re
from types import ModuleType

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from helpers.core.paths import ROOT
from helpers.core.records import tidy, write_records
from helpers.models import hardware
from helpers.planning.estimate import REAL


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("devices")


def test_the_shape_is_that_of_opt_350m(devices: ModuleType) -> None:
    work = importlib.import_module("devices_work")
    with torch.device("meta"):
        model = OPTForCausalLM(OPTConfig(vocab_size=work.PADDED, **work.SHAPE))
    assert hardware.parameters(model) == pytest.approx(REAL.parameters, rel=0.001)


def test_starting_cancels_out_of_the_rates(devices: ModuleType) -> None:
    few = {"trained": 100, "read": 100, "batch": 8, "seconds": 4.0, "peak": 5.0}
    many = few | {"trained": 500, "read": 500, "seconds": 6.0, "peak": 6.0}
    rates = devices.rates(few, many, 1e9, recomputed=True)
    assert rates["tokens/s"] == pytest.approx(200.0)
    # 8 per parameter and token with the second forward, 2 for the reference
    assert rates["TFLOP/s"] == pytest.approx(2.0)
    assert (rates["batch"], rates["peak GB"]) == (8, 6.0)
    # 6 and 2 without it
    once = devices.rates(few, many, 1e9, recomputed=False)
    assert once["TFLOP/s"] == pytest.approx(1.6)
    slow = {"sampled": 640, "steps": 10, "batch": 64, "seconds": 1.0, "peak": 1.0}
    twice = slow | {"sampled": 1280, "steps": 20, "seconds": 1.5}
    assert devices.rates(slow, twice, 1, True)["ms a token"] == pytest.approx(50.0)


def test_a_t4_is_imitated_for_a_while(devices: ModuleType) -> None:
    before = hardware.native_bf16, hardware.replies_at_once
    with devices.computing_as_t4():
        assert not hardware.native_bf16() and hardware.replies_at_once() == 64
    assert before == (hardware.native_bf16, hardware.replies_at_once)


@pytest.mark.parametrize("right", [(0.5, 0.6, 0.9), (0.9, 0.6, 0.5)])
def test_what_more_pairs_give_is_told_in_numbers(
    tmp_path, monkeypatch: pytest.MonkeyPatch, right: tuple[float, ...]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = importlib.import_module("reward_models")
    common = {"metric": "margin", "subset": "harmless"}
    rows = [
        {**common, "method": "rm", "init": init, "pairs": pairs, "seed": seed}
        | {"example": f"e{k:03d}", "value": 1.0 if k < 100 * share else -1.0}
        for init in ("base", "codepmp")
        for pairs, share in zip((100, 200, 400), right)
        for seed in range(3)
        for k in range(100)
    ]
    words = [
        {**common, "method": "bag of words", "example": f"e{k:03d}", "value": 1.0}
        for k in range(100)
    ]
    for stage, found in (("04_reward_model", rows), ("00_data", words)):
        (tmp_path / stage).mkdir()
        write_records(tidy(found), tmp_path / stage / "records.parquet")
    said = module.against_words(tmp_path)
    told = re.findall(r"(\d\.\d+) \[[^]]*\] with (\d+)", said)
    assert told == [(f"{each:.3f}", n) for each, n in zip(right, ("100", "200", "400"))]
    assert "help" not in said
