"""The estimate of a run against a run: the same jobs, and about the same FLOPs."""

from pathlib import Path

import pandas as pd
import pytest

from helpers import models, plan
from helpers.encoding import encode
from helpers.jobs import finished_jobs
from helpers.project import STAGES, read_manifest
from helpers.recipes import base_folder, read_pairs
from helpers.records import read_records


@pytest.fixture(scope="module")
def planned(run: Path) -> pd.DataFrame:
    """Jobs and FLOPs that the estimate has for the smoke run, by stage."""
    tokenizer = models.load_tokenizer(base_folder(run))
    model = models.load_policy(base_folder(run))
    pairs = read_pairs(run, "train", "judge", "dev", "test")
    lengths = pd.DataFrame(
        [len(ids) for ids in encode(tokenizer, *pair, 192)]
        for pair in zip(pairs["prompt"], pairs["chosen"])
    ).mean()
    counts = pairs["split"].value_counts()
    shape = plan.Shape(
        parameters=model.num_parameters(exclude_embeddings=True),
        prompt=lengths[0],
        reply=lengths[1],
        train=counts[["train", "judge", "dev"]].sum(),  # 00 sets its parts aside again
        judge=0,
        test=counts["test"],
    )
    values = {stage: read_manifest(run, stage)["parameters"] for stage in STAGES}
    found = plan.works(values, shape)
    rows = [(each.stage, each.jobs, flops(each, shape)) for each in found]
    table = pd.DataFrame(rows, columns=["stage", "jobs", "flops"])
    return table.groupby("stage").sum()


def test_the_plan_has_the_jobs_of_the_run(run: Path, planned: pd.DataFrame) -> None:
    done = {stage: len(finished_jobs(run / stage / "jobs")) for stage in STAGES}
    done = {stage: count for stage, count in done.items() if count}
    assert planned["jobs"].to_dict() == done


def flops(work: plan.Work, shape: plan.Shape) -> float:
    """Those that the records count: TRL's trainers what they train on, with a prompt
    for each reply; online ones what they sample and read, too.
    """
    trained = 6 * work.parameters * work.trained
    if work.stage in OF_PAIRS:
        return trained * 2 * (shape.prompt + shape.reply) / shape.pair
    return trained if work.stage in TRAINED else work.flops


OF_PAIRS = ("04_reward_model", "06_dpo")
TRAINED = ("01_base_model", "03_codepmp", "05_sft", *OF_PAIRS)


@pytest.mark.parametrize("stage", [*TRAINED, "07_ppo", "10_ppo_curves"])
def test_the_plan_has_about_the_flops_of_the_run(
    stage: str, run: Path, planned: pd.DataFrame
) -> None:
    records = read_records(run / stage / "records.parquet")
    recorded = records[records["metric"] == "train_flops"]["value"].sum()
    assert 0.7 < planned.loc[stage, "flops"] / recorded < 1.4
