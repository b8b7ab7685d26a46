"""What frozen models say of pairs: log-probabilities of reply tokens, and weights.

Both replies of a pair are read after one copy of their prompt, in batches within a budget
of tokens. What was computed once for a model and a set of pairs can be kept in a folder.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import hash_module

from helpers.generate import evaluating
from helpers.losses import TIS_RANGE, tis_weights, token_logprobs
from helpers.pairs import budget_batches, sharing_prompts

SIDES = ("chosen", "rejected")
BUDGET = 8192  # tokens a batch: fits the caches of a CPU and the memory of a small GPU


@torch.inference_mode()
def pair_scores(
    model: PreTrainedModel, pairs: Iterable[dict], budget: int = BUDGET
) -> pd.DataFrame:
    """Log-probability in nats of each reply token; columns `chosen` and `rejected`.

    pairs: rows with `prompt_ids`, `chosen_ids`, `rejected_ids`. The result has one float
    array per reply, as long as the reply, in the order of the pairs.
    """
    rows = list(pairs)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    lengths = [sum(len(row[name]) for name in names) for row in rows]
    scores: dict[str, list] = {side: [None] * len(rows) for side in SIDES}
    collate = DataCollatorForPreference(pad_token_id=0)
    with evaluating(model):
        for batch in budget_batches(lengths, budget):
            found = _reply_scores(model, collate([rows[row] for row in batch]))
            for place, each in enumerate(found):
                side, row = divmod(place, len(batch))
                scores[SIDES[side]][batch[row]] = each
    return pd.DataFrame(scores)


def _reply_scores(model: PreTrainedModel, batch: dict[str, Tensor]) -> list[np.ndarray]:
    """As `pair_scores`, of one batch: chosen replies, then rejected ones."""
    ids, mask, replies = (
        batch[name].to(model.device)
        for name in ("input_ids", "attention_mask", "completion_mask")
    )
    read = F.pad(replies[:, 1:], (0, 1)).bool()
    with sharing_prompts(model, read):
        trunk = model.get_decoder()
        hidden = trunk(input_ids=ids, attention_mask=mask, use_cache=False)
    logits = model.get_output_embeddings()(hidden.last_hidden_state[read])
    flat = token_logprobs(logits.float(), ids[:, 1:][read[:, :-1]]).cpu()
    return [each.numpy() for each in flat.split(read.sum(1).tolist())]


# --- kept on disk --------------------------------------------------------------------


def cached_scores(
    model: PreTrainedModel, pairs: Dataset, folder: Path | None
) -> pd.DataFrame:
    """As `pair_scores`; read from `folder` if they are there, else put there.

    The file is named by the model's weights and the pairs' token ids, so what has changed
    is not found. None keeps nothing.
    """
    if folder is None:
        return pair_scores(model, pairs)
    path = folder / f"scores-{scores_key(model, pairs)}.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")  # a file is whole or not there
        pair_scores(model, pairs).to_parquet(aside)
        aside.replace(path)
    return pd.read_parquet(path)


def scores_key(model: PreTrainedModel, pairs: Iterable[dict]) -> str:
    """A digest of all that `pair_scores` depends on."""
    key = hashlib.sha256(hash_module(model).encode())
    key.update(model.config.to_json_string().encode())
    for row in pairs:
        key.update(
            f"{row['prompt_ids']} {row['chosen_ids']} {row['rejected_ids']}".encode()
        )
    return key.hexdigest()[:32]


# --- weights of tokens ---------------------------------------------------------------


def contrastive_weights(
    better: PreTrainedModel, worse: PreTrainedModel, pairs: Dataset
) -> Dataset:
    """The pairs with TIS-DPO's weights, by two models of which one prefers the chosen.

    arXiv 2410.04350, eq. 19: `losses.tis_weights`, with mu = 1 for the tokens of chosen
    replies and -1 for those of rejected ones.
    """
    ours, theirs = pair_scores(better, pairs), pair_scores(worse, pairs)
    for side, mu in zip(SIDES, (1, -1)):
        ratios = [torch.from_numpy(a - b) for a, b in zip(ours[side], theirs[side])]
        weights = [tis_weights(ratio, mu).tolist() for ratio in ratios]
        pairs = pairs.add_column(f"{side}_weights", weights)
    return pairs


def random_weights(pairs: Dataset, seed: int) -> Dataset:
    """A control: eq. 19 on log-ratios that are drawn evenly from its range."""
    random = np.random.default_rng(seed)
    for side, mu in zip(SIDES, (1, -1)):
        ratios = [random.uniform(*TIS_RANGE, len(ids)) for ids in pairs[f"{side}_ids"]]
        weights = [tis_weights(torch.from_numpy(each), mu).tolist() for each in ratios]
        pairs = pairs.add_column(f"{side}_weights", weights)
    return pairs


def equal_weights(pairs: Dataset) -> Dataset:
    """A control: every token counts 1, which leaves DPO."""
    for side in SIDES:
        weights = [[1.0] * len(ids) for ids in pairs[f"{side}_ids"]]
        pairs = pairs.add_column(f"{side}_weights", weights)
    return pairs
