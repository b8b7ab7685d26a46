"""What frozen models say of pairs: log-probabilities of reply tokens, and weights.

Both replies of a pair are read after one copy of their prompt. What was computed once for
a model and a set of pairs can be kept in a folder.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel
from trl.trainer.utils import hash_module

from helpers.core import flops
from helpers.core.atomic import whole
from helpers.models.scoring import token_scores

SIDES = ("chosen", "rejected")


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
