"""A job needs nothing of its run but what it has noted: then it goes without the rest."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from helpers.core.atomic import read_json, write_json
from helpers.core.manifests import load_manifest, manifest_file, reading_for
from helpers.core.paths import STAGES
from helpers.core.records import MEASURED, tidy
from helpers.data.code.harvesting import harvest
from helpers.recipes import (
    best_of_n,
    code_writers,
    dpo,
    evaluate,
    language_models,
    online,
    opt350m_study,
    reward_models,
)
from helpers.runs.readings import RECORDS, Unchanged, with_arguments
from helpers.trainers.training import Fit

FIT = Fit(1e-3, 8, 0.25, max_length=96)
ASKED = {"judge_model": "", "prompts": 4, "max_new_tokens": 8, "max_length": 96}
SHAPE = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 96}
BASE = {"seed": 1, "shape": SHAPE, "vocab_size": 300, "code": 10, "fit": FIT}
RM = {"pairs": 16, "seed": 0, "fit": FIT}
OFFLINE = {"pairs": 16, "seed": 0, "label_noise": 0.1}
STUDY = {"judge_model": "", "limit": 2, "max_length": 96}
CODE = {"temperature": 1.0, "max_new_tokens": 8, "seed": 0, "method": "strong"}


def written() -> dict:
    found = harvest(limit=12, seed=0, max_characters=200).to_dict("records")
    fits = {"strong": FIT}
    lists = {"functions": found[:4], "learned": found[4:], "shapes": {"strong": {}}}
    return {**CODE, **lists, "fits": fits}


def paid(run: Path, method: str) -> dict:
    given = load_manifest(run, "07_ppo")["parameters"] | {"rollouts": 1, "rounds": 1}
    settings = online.settings_of(given)
    job = {"method": method, "init": "base", "strength": 0.1, "seed": 0}
    return {**job, "settings": settings, "max_length": 96}


JOBS = {
    "01 base": ("01_base_model", language_models.base_model, BASE),
    "02 coder": ("02_code_pairs", code_writers.code_model, CODE),
    "03 codepmp": (
        "03_codepmp",
        reward_models.preference_model,
        {"init": "codepmp", "seed": 0, "fit": FIT},
    ),
    "04 from base": (
        "04_reward_model",
        reward_models.reward_model,
        {**RM, "method": "rm", "init": "base"},
    ),
    "04 from code": (
        "04_reward_model",
        reward_models.reward_model,
        {**RM, "method": "rm", "init": "codepmp"},
    ),
    "04 judge": (
        "04_reward_model",
        reward_models.judge,
        {**RM, "method": "judge", "starts": []},
    ),
    "05": (
        "05_sft",
        language_models.sft,
        {"method": "sft", "pairs": 16, "seed": 0, "fit": FIT},
    ),
    "06 dpo": (
        "06_dpo",
        dpo.dpo,
        {**OFFLINE, "method": "dpo", "strength": 0.1, "fits": {"dpo": FIT}},
    ),
    "06 from sft": (
        "06_dpo",
        dpo.dpo,
        {**OFFLINE, "method": "sft_dpo", "strength": 0.1, "fits": {"sft_dpo": FIT}},
    ),
    "06 weighted": (
        "06_dpo",
        dpo.dpo,
        {
            **OFFLINE,
            "method": "tis_dpo",
            "strength": 0.1,
            "fits": {"tis_dpo": FIT, "contrast": FIT},
        },
    ),
    "07 iterative": ("07_ppo", online.train, "dpo_iter"),
    "07 ppo": ("07_ppo", online.train, "ppo"),
    "07 rloo": ("07_ppo", online.train, "rloo"),
    "08 policy": (
        "08_evaluate",
        evaluate.evaluate,
        {**ASKED, "method": "sft", "seed": 0},
    ),
    "08 best": (
        "08_evaluate",
        best_of_n.best_of_n,
        {**ASKED, "method": "best_of_n", "seed": 0, "counts": [2]},
    ),
    "08 study": (
        "08_evaluate",
        opt350m_study.answer,
        {**STUDY, "method": "sft", "seed": 0},
    ),
}


def bare(run: Path, read: Mapping[str, str], out: Path) -> Path:
    """A run that holds what the questions ask for, and nothing else."""
    parameters: dict[str, dict] = {}
    for question in read:
        kind, stage, asked = json.loads(question)
        parameters.setdefault(stage, {})
        if kind == "file":
            (out / stage).mkdir(parents=True, exist_ok=True)
            shutil.copy(run / stage / asked["name"], out / stage)
        elif kind == "parameter":
            given = load_manifest(run, stage)["parameters"]
            parameters[stage] |= {asked["name"]: given[asked["name"]]}
        else:
            of = asked.pop("of", None)
            for job, folder in with_arguments(run, stage, asked):
                name = Path(stage) / "jobs" / folder.name
                kept = shutil.ignore_patterns(RECORDS if of is None else "[!j]*")
                shutil.copytree(run / name, out / name, ignore=kept, dirs_exist_ok=True)
    for stage, given in parameters.items():
        about = read_json(manifest_file(run, stage)) | {"parameters": given}
        (out / stage).mkdir(parents=True, exist_ok=True)
        write_json(about, manifest_file(out, stage))
    return out


@pytest.mark.parametrize("name", JOBS)
def test_a_job_needs_only_what_it_has_noted(run: Path, tmp_path: Path, name) -> None:
    stage, function, given = JOBS[name]
    call = paid(run, given) if isinstance(given, str) else given
    call = written() if given is CODE else call

    def rows(of: Path, out: Path) -> tuple[pd.DataFrame, dict[str, str]]:
        out.mkdir()
        with reading_for(stage) as read:
            return tidy(function(out, run=of, **call)), read

    found, read = rows(run, tmp_path / "first")
    assert read and Unchanged(run)(read)
    assert {json.loads(each)[1] for each in read} <= set(STAGES[stage])
    alone = bare(run, read, tmp_path / "bare")
    again, same = rows(alone, tmp_path / "again")
    assert same == read
    untimed = [each[~each["metric"].isin(MEASURED)] for each in (found, again)]
    pd.testing.assert_frame_equal(*untimed)
    assert not Unchanged(tmp_path / "elsewhere")(read)
