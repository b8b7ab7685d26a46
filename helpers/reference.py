"""What frozen models say of pairs: log-probabilities of reply tokens, and weights.

Both replies of a pair are read after one copy of their prompt. What was computed once for
a model and a set of pairs can be kept in a folder.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from transformers import PreTrainedModel
from trl.trainer.utils import hash_module

from helpers import flops
from helpers.files import whole
from helpers.losses import TIS_RANGE, tis_weights
from helpers.scoring import token_scores

SIDES = ("chosen", "rejected")
PERCENTILES = (5, 25, 50, 75, 95)  # that are told of weights


def pair_scores(model: PreTrainedModel, pairs: Dataset) -> pd.DataFrame:
    """Log-probability in nats of each reply token; columns `chosen` and `rejected`.

    pairs: columns `prompt_ids`, `chosen_ids`, `rejected_ids`. The result has one float
    array per reply, as long as the reply, in the order of the pairs.
    """
    prompts = pairs["prompt_ids"]
    encoded = [each for side in SIDES for each in zip(prompts, pairs[f"{side}_ids"])]
    scores = token_scores(model, encoded)
    return pd.DataFrame(
        {"chosen": scores[: len(pairs)], "rejected": scores[len(pairs) :]}
    )


# --- kept on disk --------------------------------------------------------------------


def cached_scores(
    model: PreTrainedModel, pairs: Dataset, folder: Path | None
) -> pd.DataFrame:
    """As `pair_scores`; read from `folder` if they are there, else put there.

    The file is named by the model's weights and the pairs' token ids, so what has changed
    is not found. None keeps nothing. What the scores took is booked again where they are
    read: a method needs them, whoever came first.
    """
    if folder is None:
        return pair_scores(model, pairs)
    path = folder / f"scores-{scores_key(model, pairs)}.parquet"
    found = pd.read_parquet(path) if path.exists() else pd.DataFrame()
    if "spent" in found.attrs:
        flops.book(**found.attrs["spent"])
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with flops.metered() as spent:
        found = pair_scores(model, pairs)
    found.attrs["spent"] = flops.as_values(spent)
    with whole(path) as aside:
        found.to_parquet(aside)
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


def permuted_weights(pairs: Dataset, seed: int) -> Dataset:
    """A control: the weights the pairs have, dealt anew to all tokens of their side."""
    random = np.random.default_rng(seed)
    for side in SIDES:
        name = f"{side}_weights"
        weights = list(pairs[name])
        ends = np.cumsum(list(map(len, weights)))[:-1]
        dealt = np.split(random.permutation(np.concatenate(weights)), ends)
        column = [each.tolist() for each in dealt]
        pairs = pairs.remove_columns(name).add_column(name, column)
    return pairs


def equal_weights(pairs: Dataset) -> Dataset:
    """A control: every token counts 1, which leaves DPO."""
    for side in SIDES:
        weights = [[1.0] * len(ids) for ids in pairs[f"{side}_ids"]]
        pairs = pairs.add_column(f"{side}_weights", weights)
    return pairs


def weight_rows(pairs: Dataset) -> list[dict]:
    """Records of how the weights are spread over all tokens of either side.

    `weight_mean_chosen`, `weight_sd_chosen`, quantiles from `weight_q05_chosen` on, and
    `weight_clamped_chosen`, the share that lies at a bound of eq. 19; `rejected` alike.
    """
    rows = []
    for side, mu in zip(SIDES, (1, -1)):
        weights = np.concatenate(list(pairs[f"{side}_weights"]))
        low, high = sorted(np.exp(mu * np.array(TIS_RANGE)))
        # weights were single precision when they were clamped
        clamped = (weights <= low * (1 + 1e-5)) | (weights >= high * (1 - 1e-5))
        found = {"mean": weights.mean(), "sd": weights.std()}
        found |= {f"q{at:02}": np.percentile(weights, at) for at in PERCENTILES}
        for name, value in (found | {"clamped": clamped.mean()}).items():
            rows.append({"metric": f"weight_{name}_{side}", "value": float(value)})
    return rows
