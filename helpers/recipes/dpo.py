"""How 06 trains a policy on pairs directly: DPO, its relatives, and their controls."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel

from helpers.data import drawing
from helpers.methods import BY_NAME
from helpers.models import loading
from helpers.runs import store
from helpers.trainers import datasets, tis_weights, training
from helpers.trainers.training import Fit


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
    told, start = BY_NAME[method], store.reference_folder(run, method, seed)
    fits = {name: replace(each, seed=seed) for name, each in fits.items()}
    fit, counts = fits[method], Counter()
    data = drawing.draw(store.read_pairs(run, "train"), pairs, seed)
    policy, tokenizer = loading.load_policy(start), loading.load_tokenizer(start)
    dataset = datasets.pair_dataset(data, tokenizer, fit.max_length, counts)
    common = {"tokenizer": tokenizer, "out": out}
    by_dpo = partial(
        training.fit_dpo, fit=fit, beta=strength, cache=run / "cache", **common
    )
    if told.weights:
        by_sft = partial(training.fit_chosen, fit=fits["contrast"], **common)
        teach = by_sft if method == "tis_dpo_s" else by_dpo
        dataset = weighted(method, dataset, start, teach, seed)
    log = by_dpo(
        policy,
        data=dataset,
        loss=told.loss,
        label_smoothing=label_noise if told.loss == "robust" else 0.0,
        adapters=told.adapters,
    )
    loading.save(policy, tokenizer, out)
    rows = log + datasets.cut_rows(counts)
    return rows + (tis_weights.weight_rows(dataset) if told.weights else [])


def weighted(
    method: str,
    pairs: Dataset,
    start: Path,
    teach: Callable[..., list[dict]],
    seed: int,
) -> Dataset:
    """Pairs with the weights of tokens of TIS-DPO or of one of its controls.

    `teach` trains each of the two policies that are compared; equal weights need none.
    """
    if method == "tis_equal":
        return tis_weights.equal_weights(pairs)
    better, worse = contrastive_pair(start, pairs, teach)
    pairs = tis_weights.contrastive_weights(better, worse, pairs)
    if method == "tis_random":
        pairs = tis_weights.permuted_weights(pairs, seed)
    return pairs


def contrastive_pair(
    start: Path, pairs: Dataset, teach: Callable[..., list[dict]]
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """TIS-DPO's two policies from one start.

    One is taught the pairs, the other the pairs with their replies swapped.
    """
    found = []
    for data in (pairs, datasets.swapped(pairs)):
        model = loading.load_policy(start)
        teach(model, data=data)
        found.append(model.eval())
    better, worse = found
    return better, worse
