"""The estimate of a run against a run: the same jobs, and about the same FLOPs."""

from pathlib import Path

import pandas as pd
import pytest

from helpers.core.manifests import read_manifest
from helpers.core.paths import STAGES
from helpers.core.records import read_records
from helpers.models import loading
from helpers.models.encoding import encode
from helpers.planning import estimate
from helpers.runs.readings import finished_jobs
from helpers.runs.store import base_folder, read_code_pairs, read_pairs


@pytest.fixture(scope="module")
def planned(run: Path) -> pd.DataFrame:
    """Jobs and FLOPs that the estimate has for the smoke run, by stage."""
    tokenizer = loading.load_tokenizer(base_folder(run))
    model = loading.load_policy(base_folder(run))
    values = {stage: read_manifest(run, stage)["parameters"] for stage in STAGES}
    limit = values["04_reward_model"]["max_length"]
    pairs = read_pairs(run, "train", "judge", "dev", "test")
    prompt, reply = mean_lengths(tokenizer, pairs, limit)
    code = mean_lengths(tokenizer, read_code_pairs(run, "train", "test"), limit)
    counts = pairs["split"].value_counts()
    shape = estimate.Shape(
        parameters=model.num_parameters(exclude_embeddings=True),
        prompt=prompt,
        reply=reply,
        code_prompt=code[0],
        code=code[1],
        train=counts[["train", "judge", "dev"]].sum(),  # 00 sets its parts aside again
        judge=0,
        test=counts["test"],
    )
    found = estimate.works(values, shape)
    rows = [(each.stage, each.jobs, flops(each, shape, model)) for each in found]
    table = pd.DataFrame(rows, columns=["stage", "jobs", "flops"])
    return table.groupby("stage").sum()


def test_the_plan_has_the_jobs_of_the_run(run: Path, planned: pd.DataFrame) -> None:
    done = {stage: len(finished_jobs(run / stage / "jobs")) for stage in STAGES}
    done = {stage: count for stage, count in done.items() if count}
    assert planned["jobs"].to_dict() == done


def mean_lengths(tokenizer, pairs: pd.DataFrame, limit: int) -> list[float]:
    """Tokens of prompt and of chosen reply."""
    lengths = pd.DataFrame(
        [len(ids) for ids in encode(tokenizer, *pair, limit)]
        for pair in zip(pairs["prompt"], pairs["chosen"])
    )
    return lengths.mean().tolist()


TRAINED = ("01_base_model", "03_codepmp", "04_reward_model", "05_sft", "06_dpo")


def flops(work: estimate.Work, shape: estimate.Shape, model) -> float:
    """Those that records count: of what is trained, and read by DPO's reference; online
    ones what they sample and read, too. What examines is not booked.

    The estimate is for models whose head and last block are little of the whole; here
    they are not, so weights are those that work on a token.
    """
    if work.stage not in TRAINED:
        return work.flops
    block, vocab = 12 * model.config.hidden_size**2, model.config.vocab_size
    layers, head = model.config.num_hidden_layers, model.config.hidden_size * vocab
    learned = 2 * shape.reply / shape.pair  # share of a pair's tokens
    spared = 0.75 * block  # of the last block, where no head reads
    weights = (
        layers * block
        + {
            "01_base_model": head,
            "03_codepmp": head * shape.code / (shape.code_prompt + 2 * shape.code)
            - spared,
            "04_reward_model": -spared,
            "05_sft": head * shape.reply / (shape.prompt + shape.reply),
            "06_dpo": learned * head - (1 - learned) * spared,
        }[work.stage]
    )
    read = work.read if work.stage == "06_dpo" else 0
    return weights * (6 * work.trained + 2 * read)


@pytest.mark.parametrize("stage", [*TRAINED, "07_ppo", "10_ppo_curves"])
def test_the_plan_has_about_the_flops_of_the_run(
    stage: str, run: Path, planned: pd.DataFrame
) -> None:
    records = read_records(run / stage / "records.parquet")
    recorded = records[records["metric"] == "train_flops"]["value"].sum()
    assert 0.7 < planned.loc[stage, "flops"] / recorded < 1.4
