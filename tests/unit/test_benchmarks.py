"""The benchmark for GPUs: the true shape, and clocks that leave starting out."""

import importlib
from types import ModuleType

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from helpers import models
from helpers.plan import REAL
from helpers.project import ROOT


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu")


def test_the_shape_is_that_of_opt_350m(gpu: ModuleType) -> None:
    work = importlib.import_module("gpu_work")
    with torch.device("meta"):
        model = OPTForCausalLM(OPTConfig(vocab_size=work.PADDED, **work.SHAPE))
    assert models.size(model) == pytest.approx(REAL.parameters, rel=0.001)


def test_starting_cancels_out_of_the_rates(gpu: ModuleType) -> None:
    few = {"trained": 100, "read": 100, "batch": 8, "seconds": 4.0, "peak": 5.0}
    many = few | {"trained": 500, "read": 500, "seconds": 6.0, "peak": 6.0}
    rates = gpu.rates(few, many, 10**9)
    assert rates["tokens/s"] == pytest.approx(200.0)
    # 8 per parameter and token with the second forward, 2 for the reference
    assert rates["TFLOP/s"] == pytest.approx(2.0)
    assert (rates["batch"], rates["peak GB"]) == (8, 6.0)
    slow = {"sampled": 640, "steps": 10, "batch": 64, "seconds": 1.0, "peak": 1.0}
    twice = slow | {"sampled": 1280, "steps": 20, "seconds": 1.5}
    assert gpu.rates(slow, twice, 1)["ms a token"] == pytest.approx(50.0)


def test_a_t4_is_imitated_for_a_while(gpu: ModuleType) -> None:
    before = models.native_bf16, models.replies_at_once(80)
    with gpu.computing_as_t4():
        assert not models.native_bf16() and models.replies_at_once(80) == 64
    assert before == (models.native_bf16, models.replies_at_once(80))
