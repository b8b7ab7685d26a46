"""What the machine allows: device, number formats, and how many rows at once."""

import torch

from helpers.models.memory import replies_side_by_side


def device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def reading_dtype() -> torch.dtype:
    """What models compute in: half precision where a GPU has it."""
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if native_bf16() else torch.float16


def reading() -> torch.autocast:
    """A context in which models are read in half precision where a GPU has it."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = reading_dtype()
    return torch.autocast(kind, dtype, enabled=dtype != torch.float32)


def replies_at_once() -> int:
    """How many replies are sampled side by side, by the GPU's memory."""
    if not torch.cuda.is_available():
        return replies_side_by_side(0)
    return replies_side_by_side(torch.cuda.get_device_properties().total_memory / 1e9)


def rows_at_once() -> int:
    """How many sequences are read side by side: few enough for a processor's caches."""
    return 64 if torch.cuda.is_available() else 16


def native_bf16() -> bool:
    """Whether the GPU, if there is one, computes in bfloat16.

    T4 and older only emulate it, slowly: ask the chip, not the library.
    """
    cuda = torch.cuda.is_available()
    return cuda and torch.cuda.get_device_capability() >= (8, 0)


def precision() -> str:
    """What trainers compute in here, and why, in words."""
    if not torch.cuda.is_available():
        return "float32 (no NVIDIA GPU)"
    if native_bf16():
        return "bfloat16 (this GPU computes it natively)"
    return "float16 with loss scaling (this GPU only emulates bfloat16)"
