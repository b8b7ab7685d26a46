"""Real trainings, tiny: a rate of 0.99 is flagged in the records, a usual one is not."""

import copy
from pathlib import Path

import pandas as pd
import pytest
import torch

from helpers import methods
from helpers.core.records import write_records
from helpers.data.dialogues import ASSISTANT
from helpers.data.synthetic import corpus
from helpers.models import loading
from helpers.runs import jobs, store
from helpers.trainers import datasets, training
from helpers.trainers.training import Fit

FAST = 0.99
USUAL = {"sft": 9e-4, "dpo": 5e-5}  # as notebooks 05 and 06 have them


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """Pairs of the built-in corpus."""
    rows = []
    for subset in corpus.SUBSETS:
        for each in corpus.transcripts(subset, "train", 160, seed=0):
            prompt, marker, chosen = each["chosen"].rpartition(ASSISTANT)
            rejected = each["rejected"].rpartition(ASSISTANT)[2]
            rows.append((prompt + marker, chosen, rejected))
    frame = pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"])
    return frame.sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def base(pairs: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned something, so that there is something to lose."""
    out = tmp_path_factory.mktemp("base")
    torch.set_num_threads(1)
    replies = pairs["chosen"].tolist()
    tokenizer = loading.build_tokenizer((pairs["prompt"] + replies).tolist(), 600)
    shape = {"hidden": 32, "layers": 1, "heads": 2, "max_positions": 192}
    model = loading.build_opt(tokenizer, **shape, seed=0)
    data = datasets.reply_dataset(
        pairs["prompt"].tolist(), replies, tokenizer, 192, whole=True
    )
    training.fit_language_model(model, tokenizer, data, Fit(8e-3, 16, 4.0), out)
    loading.save(model, tokenizer, out)
    return out


def trained(out: Path, *, method: str, rate: float, base: Path, pairs) -> list[dict]:
    """One training, as a job of a stage runs it."""
    tokenizer, model = loading.load_tokenizer(base), loading.load_policy(base).cpu()
    data, fit = datasets.pair_dataset(pairs, tokenizer, 192), Fit(rate, 16)
    if method == "sft":
        return training.fit_chosen(model, tokenizer, data, fit, out)
    return training.fit_dpo(model, tokenizer, data, fit, out, beta=0.1)


@pytest.mark.parametrize("method", USUAL)
def test_a_rate_that_ruins_is_flagged_and_the_usual_one_is_not(
    method: str, base: Path, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    stage = tmp_path / "stage"
    said = {}
    for rate in (USUAL[method], FAST):
        grid = [{"method": method, "rate": rate}]
        shared = {"base": base, "pairs": copy.copy(pairs)}
        records = jobs.run_grid(
            trained, grid, stage / "jobs", stage="x", shared=shared, workers=1
        )
        write_records(records, stage / "records.parquet")
        said[rate] = store.flags_of(tmp_path, "stage")
    assert said[USUAL[method]] == []
    assert any("1 of 1 jobs: its loss ended above" in each for each in said[FAST])
    assert any("its gradient grew" in each for each in said[FAST])
    assert all(f"({methods.title(method)})" in each for each in said[FAST])
