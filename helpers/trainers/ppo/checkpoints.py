"""Checkpoints of PPO: what they hold, and when: between two rollouts."""

from pathlib import Path

from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from helpers.trainers.resumable import Resumable


class Checkpointed(Resumable):
    """Mix-in for a `Trainer` of policy and critic: a checkpoint is a policy that loads."""

    def changing(self) -> dict[str, Tensor]:
        """Weights, moments of rewards and values, a reference that moves, the KL weight."""
        moments = nn.ModuleDict({"moments": self.moments, "scale": self.scale})
        tensors = super().changing() | dict(moments.named_buffers())
        if self.args.ref_ema:
            tensors |= dict(self.ref_model.named_parameters(prefix="reference"))
        return {**tensors, "kl_coef": self.kl_coef}

    def write_state(self, folder: Path) -> None:
        """Beside the state, the policy."""
        super().write_state(folder)
        self._save(str(folder))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None):
        """The library's saves the module it trains; here the policy is saved alone."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.policy.save_pretrained(folder)
        self.processing_class.save_pretrained(folder)


class RolloutEnd(TrainerCallback):
    """Finishes rollouts, and puts off checkpoints until one is finished."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.wanted = trainer, False

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.wanted |= control.should_save
        between = state.global_step % args.updates == 0
        control.should_save = self.wanted and between
        if between:
            self.trainer.finish()
            self.wanted = False
