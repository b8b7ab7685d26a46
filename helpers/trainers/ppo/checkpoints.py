"""Checkpoints of a trainer that works by rollouts: written between two of them.

A run that resumes from one gives the same records, because it holds every tensor that
training changes, and all else follows from the seed.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback

STATE = "ppo_state.safetensors"


class Resumable:
    """Mix-in for a `Trainer` of a `policy`: saves it, and all that training changes.

    What that is, tensors by their names, the trainer's method `changing` says.
    """

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None):
        """Save the policy, as `from_pretrained` reads it, and the trainer's own state."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.policy.save_pretrained(folder)
        self.processing_class.save_pretrained(folder)
        state = {name: each.detach().cpu() for name, each in self.changing().items()}
        save_file(state, folder / STATE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        """Put the state of a checkpoint in place; raises ValueError if it has none."""
        file = Path(resume_from_checkpoint) / STATE
        if not file.exists():
            raise ValueError(f"{file}: not there, so this is no checkpoint of PPO")
        stored, changing = load_file(file), self.changing()
        if odd := stored.keys() ^ changing.keys():
            raise ValueError(f"{file}: another run's, it differs in {min(odd)}")
        with torch.no_grad():
            for name, tensor in changing.items():
                tensor.copy_(stored[name])


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
