"""Trainings that can go on where a killed one was: what their checkpoints hold.

A checkpoint holds every tensor that training changes, and the library's own of optimiser,
schedule, chance and log; all else follows from the seed. It is written right after a log
entry, when no mean of the next one has begun.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

from helpers.core import sittings

STATE = "training_state.safetensors"


class Resumable:
    """Mix-in for a `Trainer`: a checkpoint holds what training changes, no more.

    `history`: what grows beside the log while it trains, as JSON; set by its maker.
    """

    history: Sequence = ()

    def changing(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name."""
        named = self.model.named_parameters()
        return {name: each for name, each in named if each.requires_grad}

    def _save_checkpoint(self, model, trial) -> None:
        """TRL's writes a model card into the job's folder first."""
        Trainer._save_checkpoint(self, model, trial)

    def save_model(
        self, output_dir: str | None = None, _internal_call: bool = False
    ) -> None:
        """The library's saves a model that loads, in checkpoints, too."""
        if not _internal_call:
            return super().save_model(output_dir)
        if self.args.should_save:
            self.write_state(Path(output_dir))

    def write_state(self, folder: Path) -> None:
        """Write what training changes to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {n: each.detach().cpu() for n, each in self.changing().items()}
        save_file(state, folder / STATE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        """The library's loads a whole model; raises ValueError if there is no state."""
        file = Path(resume_from_checkpoint) / STATE
        if not file.exists():
            raise ValueError(f"{file}: not there, so this is no checkpoint of ours")
        stored, changing = load_file(file), self.changing()
        if odd := stored.keys() ^ changing.keys():
            raise ValueError(f"{file}: another run's, it differs in {min(odd)}")
        with torch.no_grad():
            for name, tensor in changing.items():
                tensor.copy_(stored[name])


# --- in sittings -----------------------------------------------------------------------


def train(trainer: Trainer) -> None:
    """`trainer.train()`, from where an earlier sitting of the same job has left it."""
    if (training := sittings.next_training()) is None:
        trainer.train()
        return
    trainer.add_callback(Checkpoints(trainer, training))
    left = training.go_on()
    if left and training.left["history"]:
        trainer.history[:] = training.left["history"]
    if left and training.left["finished"]:
        trainer._load_from_checkpoint(str(left))
        trainer.state = TrainerState.load_from_json(str(left / TRAINER_STATE_NAME))
        trainer.state.log_history = training.left["log"]
    else:
        trainer.train(resume_from_checkpoint=str(left) if left else None)


class Checkpoints(TrainerCallback):
    """Leaves a checkpoint of a training of a job where one is due and has room."""

    def __init__(self, trainer: Trainer, training: sittings.Training) -> None:
        self.trainer, self.training = trainer, training

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """The library's file of the log has lost the order of each entry's words."""
        if self.training.left:
            state.log_history = self.training.left["log"]

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Between two means of the log, and after its last entry, the summary."""
        ended = "total_flos" in (logs or {})
        between = state.global_step < state.max_steps
        due = self.training.is_due() and (ended or between)
        if due and has_room(self.trainer):
            about = {"finished": ended, "history": list(self.trainer.history)}
            about["log"] = state.log_history
            self.training.leave(self.save, state.global_step, about)

    def save(self, folder: Path) -> None:
        """Write a checkpoint to a folder that is not there yet."""
        trainer = self.trainer
        before, trainer.args.output_dir = trainer.args.output_dir, str(folder.parent)
        try:
            trainer._save_checkpoint(trainer.model, None)
        finally:
            trainer.args.output_dir = before
        written = folder.parent / f"checkpoint-{trainer.state.global_step}"
        written.rename(folder)


def has_room(trainer: Trainer) -> bool:
    """Whether the disk has twice the room of a checkpoint: weights and two moments each."""
    weights = sum(
        each.numel() * each.element_size() for each in trainer.changing().values()
    )
    return shutil.disk_usage(trainer.args.output_dir).free > 2 * 3 * weights
