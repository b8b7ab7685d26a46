"""Which number format a model is trained and read in: the chip is asked, and the model."""

import pytest
import torch
from datasets import Dataset
from torch import nn

from helpers.models import hardware
from helpers.trainers import training
from helpers.trainers.training import Fit


class Sized(nn.Module):
    """So many parameters, without their memory."""

    def __init__(self, count: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1).expand(int(count)))


SMALL, LARGE = Sized(4e5), Sized(135e6)
PROCESSORS = {
    "none": {},
    "avx512": {"avx512_bf16": True},
    "amx": {"amx_bf16": True, "avx512_bf16": True},
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_with_bfloat16_uses_it_where_it_pays(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: PROCESSORS[name])
    has = name != "none"
    assert hardware.native_bf16() == has
    assert hardware.reading_dtype(SMALL) == torch.float32
    assert hardware.reading_dtype() == torch.float32  # of no model that is known
    assert hardware.reading_dtype(LARGE) == (torch.bfloat16 if has else torch.float32)
    with hardware.reading(LARGE):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if has else torch.float32)
    with hardware.reading(SMALL):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    for model, expected in ((SMALL, False), (LARGE, has)):
        given = training.arguments(Fit(1e-3, 4), tmp_path, 1, model)
        assert (given["bf16"], given["fp16"]) == (expected, False)


def test_what_was_chosen_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: PROCESSORS["amx"])
    assert hardware.precision(LARGE).startswith("bfloat16 (this processor")
    assert "too small" in hardware.precision(SMALL)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert "has no bfloat16" in hardware.precision(LARGE)


def test_a_gpu_is_asked_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, dtype in (((7, 5), torch.float16), ((9, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda c=capability: c)
        assert hardware.reading_dtype(SMALL) == dtype


def test_a_large_model_goes_through_a_processor_in_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    def parts(batch: int, model: nn.Module | None) -> tuple[int, int]:
        given = training.arguments(Fit(1e-3, batch), tmp_path, 1, model)
        size, steps = "per_device_train_batch_size", "gradient_accumulation_steps"
        return given[size], given[steps]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(hardware, "device", lambda: torch.device("cpu"))
    assert parts(16, SMALL) == parts(16, None) == (16, 1)
    assert [parts(rows, LARGE) for rows in (16, 6, 2, 7)] == [
        (4, 4),
        (3, 2),
        (2, 1),
        (1, 7),
    ]
    pairs = Dataset.from_dict({"length": [30, 20, 10]})
    filled = training.pair_arguments(
        Fit(1e-3, 16, token_budget=40), tmp_path, pairs, LARGE
    )
    assert filled["gradient_accumulation_steps"] == 1
    for kind in ("cuda", "mps"):
        monkeypatch.setattr(hardware, "device", lambda kind=kind: torch.device(kind))
        assert hardware.rows_a_pass(16, LARGE) == 16
