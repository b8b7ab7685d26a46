"""How 06 trains a policy on pairs directly: DPO, its relatives, and their controls."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel

from helpers import models, recipes, reference, token_rows, training
from helpers.methods import ADAPTERS, LOSSES, WEIGHTED
from helpers.training import Fit


def dpo(
    out: Path,
    *,
    run: Path,
    method: str,
    pairs: int,
    strength: float,
    seed: int,
    fits: dict[str, Fit],
    label_noise: float,
) -> list[dict]:
    """A policy trained on pairs, by one of `OFFLINE`, and its log.

    strength is DPO's beta or IPO's tau, label_noise the share of flipped labels that
    `dpo_robust` expects. `fits` has each method's, and under `contrast` that of the SFT
    models of TIS-DPO (S). What frozen models say of the pairs is kept in `run/cache`.
    """
    start = recipes.reference_folder(run, method, seed)
    fits = {name: replace(each, seed=seed) for name, each in fits.items()}
    fit, counts = fits[method], Counter()
    data = recipes.draw(recipes.read_pairs(run, "train"), pairs, seed)
    policy, tokenizer = models.load_policy(start), models.load_tokenizer(start)
    dataset = token_rows.pair_dataset(data, tokenizer, fit.max_length, counts)
    common = {"tokenizer": tokenizer, "out": out}
    by_dpo = partial(
        training.fit_dpo, fit=fit, beta=strength, cache=run / "cache", **common
    )
    if method in WEIGHTED:
        by_sft = partial(training.fit_chosen, fit=fits["contrast"], **common)
        teach = by_sft if method == "tis_dpo_s" else by_dpo
        dataset = weighted(method, dataset, start, teach, seed)
    log = by_dpo(
        policy,
        data=dataset,
        loss=LOSSES.get(method, "sigmoid"),
        label_smoothing=label_noise if method == "dpo_robust" else 0.0,
        adapters=method in ADAPTERS,
    )
    models.save(policy, tokenizer, out)
    rows = log + token_rows.cut_rows(counts)
    return rows + (reference.weight_rows(dataset) if method in WEIGHTED else [])


def weighted(
    method: str,
    pairs: Dataset,
    start: Path,
    teach: Callable[..., list[dict]],
    seed: int,
) -> Dataset:
    """Pairs with the weights of one of `WEIGHTED`.

    `teach` trains each of the two policies that are compared; equal weights need none.
    """
    if method == "tis_equal":
        return reference.equal_weights(pairs)
    better, worse = contrastive_pair(start, pairs, teach)
    pairs = reference.contrastive_weights(better, worse, pairs)
    if method == "tis_random":
        pairs = reference.permuted_weights(pairs, seed)
    return pairs


def contrastive_pair(
    start: Path, pairs: Dataset, teach: Callable[..., list[dict]]
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """TIS-DPO's two policies from one start.

    One is taught the pairs, the other the pairs with their replies swapped.
    """
    found = []
    for data in (pairs, token_rows.swapped(pairs)):
        model = models.load_policy(start)
        teach(model, data=data)
        found.append(model.eval())
    better, worse = found
    return better, worse
