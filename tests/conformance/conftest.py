"""Every kind of tokenizer that the trainers meet, each with a small model of its family.

All has true architecture and true files; weights are random. What a trainer consumed is
held against every dialogue read alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from helpers.models import loading
from helpers.trainers import training
from helpers.trainers.training import Fit
from tests import lookalikes

PROMPT = "\n\nHuman: {}\n\nAssistant:"
PAIRS = pd.DataFrame(
    [
        ("Any tips on tea?", " Warm the pot first.", " No."),
        ("And now?", " Wait.", " Who asks such a thing at this late hour?"),
        ("What is </s> or <|im_end|>?", " It is </s>, an end.", " <s> Nothing"),
        ("Is it ripe?", " Press it: a ripe one gives way.", " Yes ripe yes ripe"),
        ("Hm?", " Two spoons, then three.\n\nThen four.", " Tea"),
    ],
    columns=["asked", "chosen", "rejected"],
)
PAIRS["prompt"] = PAIRS["asked"].map(PROMPT.format)
TEXTS = [*PAIRS["prompt"], *PAIRS["chosen"], *PAIRS["rejected"]] * 3
LENGTH = 128


def built_in(folder: Path, texts: list[str]) -> Path:
    """The tokenizer and the OPT that stage 01 makes."""
    tokenizer = loading.build_tokenizer(texts, 300)
    shape = {"hidden": 16, "layers": 2, "heads": 2, "max_positions": 256}
    loading.save(loading.build_opt(tokenizer, **shape, seed=0), tokenizer, folder)
    return folder


KINDS = {
    "built_in": built_in,
    "opt": lookalikes.opt_350m,  # adds a start token
    "gpt2": lookalikes.gpt2,  # no padding
    "llama_2": lookalikes.llama_2,  # reads a reply alone in another way
    "qwen": lookalikes.qwen_coder,  # a chat model with several ends
    "smollm2": lookalikes.smollm2,  # padding is the end
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("kinds")
    return {name: make(root / name, TEXTS) for name, make in KINDS.items()}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    """The folder of one kind after the other."""
    torch.set_num_threads(1)
    return folders[request.param]


class Taken(NamedTuple):
    """What a trainer did with one batch of its own dataloader."""

    batch: dict[str, Tensor]
    loss: float
    gradients: dict[str, Tensor]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Taken]:
    """Calls a driver of `training`; its trainer takes one batch instead of training."""

    def take(driver: Callable, *args, **settings) -> Taken:
        found = []
        monkeypatch.setattr(
            training, "train", lambda trainer: found.append(consumed(trainer)) or []
        )
        driver(*args, **settings)
        return found[0]

    return take


FIT = Fit(learning_rate=1e-2, batch_size=len(PAIRS), max_length=LENGTH)


def consumed(trainer) -> Taken:
    """One batch of the trainer's own dataloader, its loss and its gradients."""
    loader = iter(trainer.get_train_dataloader())
    (batch,), items = trainer.get_batch_samples(loader, 1, trainer.args.device)
    seen = {name: value.clone() for name, value in batch.items()}
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.training_step(trainer.model, batch, items).item()
    return Taken(seen, loss, gradients(trainer.model))


def gradients(model: PreTrainedModel) -> dict[str, Tensor]:
    """The gradient of every weight that has one, by name."""
    named = model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """All gradients agree, but for rounding; and there is something to agree on."""
    assert max(each.abs().max() for each in expected.values()) > 1e-4
    for name, each in expected.items():
        torch.testing.assert_close(found[name], each, rtol=1e-3, atol=2e-6, msg=name)


def logprobs_alone(model: PreTrainedModel, prompt: list[int], reply: list[int]):
    """Log-probabilities (T,) of a reply's tokens, its dialogue read alone, unpadded."""
    ids = torch.tensor([[*prompt, *reply]])
    found = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
    rows = torch.arange(len(prompt) - 1, ids.shape[1] - 1)
    return found[rows, ids[0, len(prompt) :]]
