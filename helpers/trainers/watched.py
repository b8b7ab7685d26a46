"""A training stops at the first loss, gradient or weight that is no finite number.

The library goes on: it leaves such a loss out of its log, and a model of nans is saved
like any other. Here the error says which of the three it is and at which step; the batch
of that step is kept as token ids in the job's folder, `failed`, so that it can be read
again. No text of the data is in the error.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers.core.atomic import write_json
from helpers.core.failures import FAILED
from helpers.core.processes import processes
from helpers.models.whole_weights import not_finite

# Steps in a row that float16 may leave out: loss scaling begins at 2**16 and halves at
# each, so after these it is at 2**-16, and the gradient is infinite by itself.
SKIPS = 32


class NotFinite(RuntimeError):
    """A training whose loss, gradient or weights are no finite numbers any more."""


class Watched:
    """Mix-in for a `Trainer`, before it in the order of classes: stops at what is wrong.

    With several processes the loss of one is not looked at: its gradient is all
    processes' in the same step, so that they stop together.
    """

    batch: object = None  # of the step that is taken
    skipped: int = 0  # steps in a row that loss scaling has left out

    def training_step(self, model: nn.Module, inputs, *rest, **named) -> Tensor:
        """The library's returns the loss of a batch, its gradient computed."""
        self.batch = inputs
        return self.finite_loss(super().training_step(model, inputs, *rest, **named))

    def finite_loss(self, loss: Tensor) -> Tensor:
        """The loss () as it is; raises NotFinite if it is none."""
        if processes() == 1 and not math.isfinite(value := float(loss)):
            self.stop(f"loss is {value}", self.state.global_step + 1)
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm=None):
        """The library's returns the norm of a step's gradient before it was clipped."""
        norm = super()._get_grad_norm(model, grad_norm)
        value = 0.0 if norm is None else float(norm)
        self.skipped = 0 if math.isfinite(value) else self.skipped + 1
        scaled = self.accelerator.scaler is not None or self.args.fp16
        if self.skipped > (SKIPS if scaled else 0):
            self.stop(f"norm of the gradient is {value}", self.state.global_step + 1)
        return norm

    def check_weights(self) -> None:
        """Raise NotFinite if a trained model has a weight that is none."""
        if name := not_finite(self.model.named_parameters()):
            self.stop(f"weight {name} is not finite", self.state.global_step)

    def stop(self, what: str, step: int) -> None:
        """Keep the batch and raise NotFinite."""
        said = f"{type(self).__name__}: the {what} at step {step}"
        if self.accelerator.is_main_process:
            about = {"error": said, "steps": self.state.max_steps}
            about["learning_rates"] = self.lr_scheduler.get_last_lr()
            keep(self.kept_batch(), about, Path(self.args.output_dir) / FAILED)
        raise NotFinite(f"{said} of {self.state.max_steps}")

    def kept_batch(self) -> dict[str, Tensor]:
        """The tensors of the batch by name; texts and all else are left out."""
        given = self.batch if isinstance(self.batch, Mapping) else {}
        return {name: each for name, each in given.items() if torch.is_tensor(each)}


def keep(batch: Mapping[str, Tensor], about: Mapping, folder: Path) -> None:
    """Write a batch as `batch.safetensors`, and beside it what is known of its step."""
    folder.mkdir(parents=True, exist_ok=True)
    # copies: tensors that share memory are not written
    tensors = {
        name: torch.clone(each.cpu()).contiguous() for name, each in batch.items()
    }
    save_file(tensors, folder / "batch.safetensors")
    shapes = {name: list(each.shape) for name, each in tensors.items()}
    write_json({**about, "batch": shapes}, folder / "about.json")
