"""TRL's trainers, thin: our token ids, prompts that are shared, the CodePMP loss.

TRL keeps the loop, the optimiser, logging, checkpoints and devices.
"""

import itertools
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel
from trl import DPOTrainer, RewardTrainer, SFTTrainer

from helpers.core.processes import booked_once
from helpers.losses import preference
from helpers.models.labelled_heads import score_labelled_positions, score_last_tokens
from helpers.models.loading import disable_dropout
from helpers.models.prompt_sharing import last_tokens, sharing_prompts
from helpers.models.scoring import reads_both_ways
from helpers.trainers.pair_batches import (
    BudgetSampler,
    ByEpoch,
    LabelledPairs,
    WeightedPairs,
    first_pairs,
    gathering_uneven,
    is_uneven,
    own_rows,
)
from helpers.trainers.reference import SIDES, cached_scores
from helpers.trainers.resumable import Resumable
from helpers.trainers.watched import Watched


class ByLength(Watched, Resumable):
    """Mix-in for TRL's trainers: batches hold rows of like length, drawn by the seed."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler:
        """The library's groups the rows of one process, and draws from torch's state.

        Here the order depends on `data_seed` alone and on no number of processes.
        """
        data = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        lengths = list(data["length"])
        return ByEpoch(batch * self.args.world_size, lengths, self.args.data_seed)


class ReplyTrainer(ByLength, SFTTrainer):
    """TRL's SFT trainer on our token ids.

    TRL prepares the data: it makes the labels from `completion_mask`, and only these
    are learned.
    """

    def __init__(self, model: PreTrainedModel, **kwargs):
        super().__init__(model, **kwargs)
        if not torch.cuda.is_available():
            score_labelled_positions(self.model)

    def _get_num_items_in_batch(self, batch_samples: list, device):
        """The library's counts a step's labels; rows that fill it up here have none."""
        if batch_samples:
            own = own_rows(self.accelerator, self.args.train_batch_size)
            batch_samples[-1]["labels"][own:] = -100
        return super()._get_num_items_in_batch(batch_samples, device)


class Pairs(ByLength):
    """Mix-in for TRL's trainers of pairs: both replies are read after one prompt.

    A `budget` of tokens, if set, fills batches up to it, over all processes, in place of
    the batch size; a shared prompt counts once, and a batch's loss is still the mean over
    its pairs. The trainer's method `read` says where its head reads states, (2B, L).

    However a step's batch is split, over micro-batches or processes, every pair counts
    the same: a part's loss is weighed by its share of the pairs. `share_prompts` off
    leaves the model's forward as it is, which reads a copy of the prompt per reply.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        budget: int = 0,
        share_prompts: bool = True,
        **kwargs,
    ):
        self.budget, self.share_prompts, self.uneven = budget, share_prompts, False
        super().__init__(model, **kwargs)
        disable_dropout(self.model)  # TRL's own passes over rates that are numbers

    def _prepare_dataset(self, dataset: Dataset, *args, **kwargs) -> Dataset:
        """TRL's tokenises texts and drops what is too long; ours are ids that fit."""
        return dataset

    def sizes(self, batch: dict[str, Tensor]) -> list[int]:
        """How many pairs a batch holds; what else its loss is a mean over comes after."""
        return [len(batch["input_ids"]) // 2]

    def get_batch_samples(self, epoch_iterator, num_batches: int, device):
        """The library's takes a step's micro-batches, and counts their labels, if any.

        Here each is also told its shares: of all the step holds, times the number of
        parts, because the library takes the mean over these. A process that has no pair
        left keeps one that fills its part up, with a share of nothing.
        """
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.uneven = is_uneven(self.accelerator)
        own = own_rows(self.accelerator, self.args.train_batch_size)
        if self.uneven:
            batches[-1] = first_pairs(batches[-1], max(own, 1))
        counts = torch.tensor([self.sizes(each) for each in batches], device=device)
        counts = counts.float()
        counts[-1:] *= own > 0
        total = self.accelerator.reduce(counts.sum(0), "mean").clamp(min=1e-9)
        for batch, count in zip(batches, counts):
            batch["shares"] = count * len(batches) / total
        return batches, items

    def compute_loss(self, model, inputs, *args, **kwargs):
        """TRL's, whose loss is the mean over the pairs of this part of the batch."""
        share, *_ = inputs.pop("shares", (1.0,))
        with self.sharing(self.read(inputs)), self.gathering(share):
            found = super().compute_loss(model, inputs, *args, **kwargs)
        loss, *rest = found if isinstance(found, tuple) else (found,)
        return (loss * share, *rest) if rest else loss * share

    def sharing(self, read: Tensor) -> AbstractContextManager:
        """While it lasts, the model reads the states at `read` (2B, L) of pairs."""
        shared = self.share_prompts
        return sharing_prompts(self.model, read) if shared else nullcontext()

    def gathering(self, share: Tensor | float) -> AbstractContextManager:
        """While it lasts, what processes log may differ in number of pairs."""
        if not self.uneven:
            return nullcontext()
        return gathering_uneven(self.accelerator, share > 0)

    def get_train_dataloader(self) -> DataLoader:
        """The library's has batches of one size; ours may be filled by tokens."""
        if not self.budget:
            return super().get_train_dataloader()
        batches = BudgetSampler(
            self.train_dataset["length"],
            self.budget,
            self.args.seed,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        loader = DataLoader(
            self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator
        )
        # as if alone: the sampler has shared the batches out
        return prepare_data_loader(
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
        )


class PreferenceTrainer(Pairs, DPOTrainer):
    """TRL's DPO trainer on our token ids.

    `reference` is the model it starts from unless another is given; `cache` is the folder
    in which the reference's log-probabilities are kept.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        cache: Path | None = None,
        reference: PreTrainedModel | None = None,
        **kwargs,
    ):
        if kwargs["args"].precompute_ref_log_probs:  # before adapters are put in
            data = kwargs["train_dataset"]
            with booked_once():
                self.scores = cached_scores(reference or model, data, cache)
        super().__init__(model, **kwargs)
        if not torch.cuda.is_available():
            score_labelled_positions(self.model)

    def read(self, inputs: dict[str, Tensor]) -> Tensor:
        return F.pad(inputs["completion_mask"][:, 1:], (0, 1)).bool()

    def _precompute_ref_logps(self, dataset: Dataset, *args) -> Dataset:
        """TRL's reads each pair's copies and keeps the sums of log-probabilities.

        Ours are the same sums, from one reading of each prompt.
        """
        for side in SIDES:
            weights = self.weights(dataset, side)
            sums = list(map(self.total, self.scores[side], weights))
            dataset = dataset.add_column(f"ref_{side}_logps", sums)
        return dataset

    def weights(self, dataset: Dataset, side: str) -> Iterable:
        """What each reply token counts: 1."""
        return itertools.repeat(1.0)

    @staticmethod
    def total(scores: np.ndarray, weights: np.ndarray | float) -> float:
        return float((scores * weights).sum())


class TokenWeightedTrainer(PreferenceTrainer):
    """TIS-DPO (arXiv 2410.04350): DPO whose reply tokens count by fixed weights.

    The data set has `chosen_weights` and `rejected_weights`, one for each reply token.
    As the authors' code does by default, this leaves out the paper's eta, a difference
    of KL divergences over the vocabulary: see `preference.tis_dpo`.
    """

    def __init__(self, model: PreTrainedModel, *, processing_class, **kwargs):
        super().__init__(
            model,
            processing_class=processing_class,
            data_collator=WeightedPairs(processing_class.pad_token_id),
            **kwargs,
        )

    def weights(self, dataset: Dataset, side: str) -> Iterable:
        return map(np.array, dataset[f"{side}_weights"])

    def _compute_loss(self, model, inputs, return_outputs):
        """TRL's sums the log-probabilities of tokens; here each counts by its weight."""
        weights = inputs.pop("weights")

        def weighted(**kwargs):
            output = model(**kwargs)
            output.log_probs = output.log_probs * weights
            return output

        return super()._compute_loss(weighted, inputs, return_outputs)


class RewardModelTrainer(Pairs, RewardTrainer):
    """TRL's reward trainer on our token ids; rewards are read at the last of them.

    An encoder (BERT and its like) reads prompt and reply together, as it comes.
    """

    def __init__(self, model: PreTrainedModel, **kwargs):
        super().__init__(model, **kwargs)
        if reads_both_ways(self.model):
            self.share_prompts = False
        else:
            score_last_tokens(self.model)

    def read(self, inputs: dict[str, Tensor]) -> Tensor:
        return last_tokens(inputs["attention_mask"])


class PreferenceModelTrainer(RewardModelTrainer):
    """CodePMP (arXiv 2410.02229): reward loss on the pair, language loss on the chosen.

    `rm_coef` and `lm_coef` weigh the two; the paper sets both to 1, its controls set one
    of them to 0. A plain reward model is the case (1, 0), which TRL computes itself.
    """

    def __init__(self, model, *, rm_coef: float, lm_coef: float, pad: int, **kwargs):
        self.coefs = {"rm_coef": rm_coef, "lm_coef": lm_coef}
        super().__init__(model, data_collator=LabelledPairs(pad), **kwargs)

    def sizes(self, batch: dict[str, Tensor]) -> list[int]:
        """Pairs, and the chosen replies' tokens: each loss has a mean of its own."""
        return [*super().sizes(batch), int((batch["labels"][:, 1:] != -100).sum())]

    def compute_loss(
        self, model, inputs, return_outputs=False, num_items_in_batch=None
    ):
        """TRL's is the reward loss alone."""
        pairs, tokens = inputs.pop("shares", (1.0, 1.0))
        last = last_tokens(inputs["attention_mask"])
        learned = F.pad(inputs["labels"][:, 1:] != -100, (0, 1))
        with self.sharing(last | torch.cat([learned, learned & False])):
            rewards, logprobs, mask = model(**inputs)
        chosen, rejected = rewards.chunk(2)
        rm_coef, lm_coef = self.coefs["rm_coef"], self.coefs["lm_coef"]
        coefs = {"rm_coef": rm_coef * pairs, "lm_coef": lm_coef * tokens}
        loss = preference.pmp(chosen, rejected, logprobs, mask, **coefs)
        with self.gathering(pairs):
            right = self.accelerator.gather((chosen > rejected).float())
        self._metrics["train"]["accuracy"].append(right.mean().item())
        return (loss, rewards) if return_outputs else loss
