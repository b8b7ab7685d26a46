"""Batches of pairs: what the trainers' losses read beside TRL's, and batches by tokens.

Where processes cannot share the last batch of an epoch alike, Accelerate fills it up with
rows of the first one: here these are found and left out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl.trainer.dpo_trainer import DataCollatorForPreference as PairCollator
from trl.trainer.reward_trainer import DataCollatorForPreference as RewardCollator

from helpers.models.batching import budget_batches
from helpers.trainers.reference import SIDES

# --- what fills a batch up ---------------------------------------------------------------


def is_uneven(accelerator: Accelerator) -> bool:
    """Whether the batch just read is one that the processes cannot share alike."""
    state = accelerator.gradient_state
    several = accelerator.num_processes > 1
    return several and state.end_of_dataloader and state.remainder > 0


def own_rows(accelerator: Accelerator, size: int) -> int:
    """How many rows of this process's batch, of `size` if full, do not fill it up only.

    Of the rows that are left, each process is given `size` after the other.
    """
    if not is_uneven(accelerator):
        return size
    left = accelerator.gradient_state.remainder - size * accelerator.process_index
    return min(max(left, 0), size)


def first_pairs(batch: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The first `count` pairs of a batch, whose tensors have B rows or 2B, by side."""
    half = len(batch["input_ids"]) // 2
    return {
        name: torch.cat([side[:count] for side in each.split(half)])
        for name, each in batch.items()
    }


@contextmanager
def gathering_uneven(accelerator: Accelerator, own: bool) -> Iterator[None]:
    """While it lasts, tensors are gathered whose rows differ in number by process.

    own: whether this process has rows of its own; else nothing is taken from it.
    """

    def gather(values: Tensor) -> Tensor:
        parts = gather_object([values.detach().cpu()] if own else [])
        return torch.cat([torch.atleast_1d(part) for part in parts]).to(values.device)

    accelerator.gather = accelerator.gather_for_metrics = gather
    try:
        yield
    finally:
        del accelerator.gather, accelerator.gather_for_metrics


# --- batches -------------------------------------------------------------------------


class ByEpoch(LengthGroupedSampler):
    """The library's rows of like length, in an order that an epoch knows by itself.

    The library's draws on from the epoch before, which a training that goes on has not
    drawn.
    """

    def __init__(self, rows: int, lengths: list[int], seed: int) -> None:
        super().__init__(rows, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Told by the trainer before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epoch):  # as many draws as one training makes until then
            list(super().__iter__())
        return super().__iter__()


class BudgetSampler(Sampler):
    """Batches of like length within a budget of tokens, in a new order every epoch.

    Of each batch, process `rank` of `world` gets as many rows as every other.
    """

    def __init__(
        self, lengths: list[int], budget: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.batches = budget_batches(lengths, budget, together=world)
        self.share, self.seed, self.epoch = slice(rank, None, world), seed, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        for place in random.permutation(len(self.batches)):
            yield self.batches[place][self.share]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


@dataclass
class LabelledPairs(RewardCollator):
    """TRL's pair batches, and `labels`: the chosen replies' tokens, -100 elsewhere."""

    def torch_call(self, examples: list[dict]) -> dict[str, Tensor]:
        batch = super().torch_call(examples)
        labels = batch["input_ids"][: len(examples)].clone()
        labels[batch["attention_mask"][: len(examples)] == 0] = -100
        for row, example in enumerate(examples):
            labels[row, : example["reply_start"]] = -100
        return {**batch, "labels": labels}


@dataclass
class WeightedPairs(PairCollator):
    """TRL's pair batches, and `weights` (2B, L - 1) of the tokens they predict."""

    def torch_call(self, examples: list[dict]) -> dict[str, Tensor]:
        batch = super().torch_call(examples)
        mask = batch["completion_mask"].bool()
        flat = [
            w for side in SIDES for each in examples for w in each[f"{side}_weights"]
        ]
        weights = torch.zeros(mask.shape).masked_scatter(mask, torch.tensor(flat))
        return {**batch, "weights": weights[:, 1:]}
