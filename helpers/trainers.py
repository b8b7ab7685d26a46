"""TRL's trainers, thin: our token ids, prompts that are shared, the CodePMP loss.

TRL keeps the loop, the optimiser, logging, checkpoints and devices.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import DPOTrainer, RewardTrainer, SFTTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference as PairCollator
from trl.trainer.reward_trainer import DataCollatorForPreference as RewardCollator

from helpers import losses
from helpers.batches import budget_batches
from helpers.heads import score_labelled_positions, score_last_tokens
from helpers.models import disable_dropout
from helpers.pairs import last_tokens, sharing_prompts
from helpers.reference import SIDES, cached_scores

# --- trainers ------------------------------------------------------------------------


class ByLength:
    """Mix-in for TRL's trainers: batches hold rows of like length, drawn by the seed."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler:
        """The library's groups the rows of one process, and draws from torch's state.

        Here the order depends on `data_seed` alone and on no number of processes.
        """
        data = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(
            batch * self.args.world_size,
            lengths=list(data["length"]),
            generator=torch.Generator().manual_seed(self.args.data_seed),
        )


class ReplyTrainer(ByLength, SFTTrainer):
    """TRL's SFT trainer on our token ids.

    TRL prepares the data: it makes the labels from `completion_mask`, and only these
    are learned.
    """

    def __init__(self, model: PreTrainedModel, **kwargs):
        super().__init__(model, **kwargs)
        if not torch.cuda.is_available():
            score_labelled_positions(self.model)


class Pairs(ByLength):
    """Mix-in for TRL's trainers of pairs: both replies are read after one prompt.

    A `budget` of tokens, if set, fills batches up to it, over all processes, in place of
    the batch size; a shared prompt counts once, and a batch's loss is still the mean over
    its pairs. The trainer's method `read` says where its head reads states, (2B, L).

    However a step's batch is split, over micro-batches or processes, every pair counts
    the same: a part's loss is weighed by its share of the pairs.
    """

    def __init__(self, model: PreTrainedModel, budget: int = 0, **kwargs):
        self.budget = budget
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
        parts, because the library takes the mean over these.
        """
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.tensor([self.sizes(each) for each in batches], device=device)
        counts = counts.float()
        total = self.accelerator.reduce(counts.sum(0), "mean").clamp(min=1e-9)
        for batch, own in zip(batches, counts):
            batch["shares"] = own * len(batches) / total
        return batches, items

    def compute_loss(self, model, inputs, *args, **kwargs):
        """TRL's, whose loss is the mean over the pairs of this part of the batch."""
        shares = inputs.pop("shares", None)
        with sharing_prompts(self.model, self.read(inputs)):
            found = super().compute_loss(model, inputs, *args, **kwargs)
        if shares is None:
            return found
        loss, *rest = found if isinstance(found, tuple) else (found,)
        return (loss * shares[0], *rest) if rest else loss * shares[0]

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
    of KL divergences over the vocabulary: see `losses.tis_dpo`.
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
    """TRL's reward trainer on our token ids; rewards are read at the last of them."""

    def __init__(self, model: PreTrainedModel, **kwargs):
        super().__init__(model, **kwargs)
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
        with sharing_prompts(self.model, last | torch.cat([learned, learned & False])):
            rewards, logprobs, mask = model(**inputs)
        chosen, rejected = rewards.chunk(2)
        rm_coef, lm_coef = self.coefs["rm_coef"], self.coefs["lm_coef"]
        coefs = {"rm_coef": rm_coef * pairs, "lm_coef": lm_coef * tokens}
        loss = losses.pmp(chosen, rejected, logprobs, mask, **coefs)
        right = self.accelerator.gather((chosen > rejected).float())
        self._metrics["train"]["accuracy"].append(right.mean().item())
        return (loss, rewards) if return_outputs else loss


# --- batches -------------------------------------------------------------------------


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
