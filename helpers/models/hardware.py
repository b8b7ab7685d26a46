"""What the machine allows: device, number formats, and how many rows at once."""

import torch
from torch import nn

from helpers.models.memory import replies_side_by_side

# from this size on a processor wants bfloat16 and few rows at once: below it, starting
# costs what they save
LARGE = 20e6


def device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def parameters(model: nn.Module) -> int:
    """Number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def native_bf16() -> bool:
    """Whether the GPU, or without one the processor, computes in bfloat16.

    T4 and older only emulate it, slowly: ask the chip, not the library.
    """
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability() >= (8, 0)
    has = getattr(torch.cpu, "get_capabilities", dict)()  # older torch has no such call
    return bool(has.get("amx_bf16") or has.get("avx512_bf16"))


def reading_dtype(model: nn.Module | None = None) -> torch.dtype:
    """What a model computes in: half precision where a GPU has it.

    On a processor that has bfloat16 in hardware, models from `LARGE` parameters on; of
    one that is not known it is not expected.
    """
    if not torch.cuda.is_available():
        large = model is not None and parameters(model) >= LARGE
        halved = large and native_bf16()
        return torch.bfloat16 if halved else torch.float32
    return torch.bfloat16 if native_bf16() else torch.float16


def reading(model: nn.Module) -> torch.autocast:
    """A context in which a model is read in the format that it computes in here."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = reading_dtype(model)
    halved = dtype != torch.float32
    return torch.autocast(kind, dtype if halved else torch.bfloat16, enabled=halved)


def replies_at_once() -> int:
    """How many replies are sampled side by side, by the GPU's memory."""
    if not torch.cuda.is_available():
        return replies_side_by_side(0)
    return replies_side_by_side(torch.cuda.get_device_properties().total_memory / 1e9)


def rows_at_once() -> int:
    """How many sequences are read side by side: few enough for a processor's caches."""
    return 64 if torch.cuda.is_available() else 16


def rows_a_pass(rows: int, model: nn.Module | None = None) -> int:
    """How many of a step's rows go forward and back together: a divisor of `rows`.

    All of them, but on a processor at most 4 of a model of `LARGE` parameters or more, so
    that what the forward leaves for the way back stays in its caches. Pairs a pass of
    SmolLM2-135M on two cores, and tokens a second: 16 141, 8 198, 4 228, 2 224. The step
    is the same.
    """
    if model is None or device().type != "cpu" or parameters(model) < LARGE:
        return rows
    return next(part for part in range(min(rows, 4), 0, -1) if rows % part == 0)


def precision(model: nn.Module) -> str:
    """What a model is trained in here, and why, in words."""
    if torch.cuda.is_available():
        if native_bf16():
            return "bfloat16 (this GPU computes it natively)"
        return "float16 with loss scaling (this GPU only emulates bfloat16)"
    if not native_bf16():
        return "float32 (no NVIDIA GPU, and this processor has no bfloat16)"
    if parameters(model) < LARGE:
        return "float32 (no NVIDIA GPU, and a model too small to gain from bfloat16)"
    return "bfloat16 (this processor computes it in hardware)"
