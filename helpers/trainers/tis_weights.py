"""Weights of tokens for TIS-DPO, from two policies that differ in taste, and controls."""

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from helpers.losses.preference import TIS_RANGE, tis_weights
from helpers.trainers.reference import SIDES, pair_scores

PERCENTILES = (5, 25, 50, 75, 95)  # that are told of weights


# --- weights of tokens ---------------------------------------------------------------


def contrastive_weights(
    better: PreTrainedModel, worse: PreTrainedModel, pairs: Dataset
) -> Dataset:
    """The pairs with TIS-DPO's weights, by two models of which one prefers the chosen.

    arXiv 2410.04350, eq. 19: `preference.tis_weights`, with mu = 1 for the tokens of chosen
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
