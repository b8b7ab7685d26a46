"""The stages on look-alikes of the hub's models: OPT-350M, two coders, a judge, offline.

Random weights, true architectures and files; adapters are trained online, as at `t4`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from helpers.core.paths import ROOT, STAGES
from helpers.core.records import read_records, select
from helpers.data.synthetic import corpus
from helpers.models import loading
from helpers.runs.readings import finished_jobs
from helpers.runs.store import job_folder
from tests import lookalikes

NAME = "test-lookalikes"
RUN = ROOT / "runs" / NAME
WRITERS = ("strong_model", "weak_model")  # random weights write no functions
SMALL = (
    "n_builtin=120",
    "functions=16",
    "06_dpo.methods=sft_dpo,dpo_lora",
    "07_ppo.methods=ppo",
    "variants=raw_advantages",
    "inits=base",
    "adapters=true",
    "best_of=2",
    "study_prompts=2",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The look-alikes, by the parameter that names them."""
    root = tmp_path_factory.mktemp("hub")
    rows = corpus.transcripts("harmless", "train", 100, 0)
    texts = [row["chosen"] for row in rows]
    texts.append((ROOT / "helpers" / "data" / "hh.py").read_text(encoding="utf-8"))
    return {
        "pretrained": lookalikes.opt_350m(root / "opt", texts),
        "strong_model": lookalikes.deepseek_coder(root / "strong", texts),
        "weak_model": lookalikes.qwen_coder(root / "weak", texts),
        "describer_model": root / "weak",
        "judge_model": lookalikes.deberta(root / "deberta", texts),
    }


def run_stages(stages: list[str], *given: str) -> subprocess.CompletedProcess:
    """Some stages of the run with these values, without a network."""
    command = [sys.executable, "-m", "helpers.cli", "run", "--tier", "smoke"]
    command += ["--run", NAME]
    for stage in stages:
        command += ["--only", stage]
    for each in given:
        command += ["-p", each]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def run(folders: dict[str, Path]) -> Path:
    """A run of 00-08 on the look-alikes."""
    given = {name: path for name, path in folders.items() if name not in WRITERS}
    models_given = (f"{name}={path}" for name, path in given.items())
    done = run_stages(list(STAGES)[:9], *SMALL, *models_given)
    assert done.returncode == 0, done.stdout + done.stderr
    return RUN


def test_everything_starts_from_the_pretrained_model(run: Path) -> None:
    base = loading.load_policy(job_folder(run, "01_base_model"))
    assert base.config.word_embed_proj_dim == 8
    for stage, job in (
        ("05_sft", {}),
        ("06_dpo", {"method": "dpo_lora"}),
        ("07_ppo", {"method": "ppo", "strength": 0.1}),
    ):
        policy = loading.load_policy(job_folder(run, stage, seed=0, **job))
        assert policy.config.word_embed_proj_dim == 8
        assert policy.state_dict().keys() == base.state_dict().keys()


def test_the_describer_described_what_copyists_wrote(run: Path) -> None:
    for method in ("strong", "weak", "describer"):
        folder = job_folder(run, "02_code_pairs", method=method)
        assert len(pd.read_parquet(folder / "replies.parquet")) == 16
        assert not (folder / "model.safetensors").exists()  # nothing was trained
    said = pd.read_parquet(folder / "replies.parquet")["reply"]
    functions = pd.read_parquet(run / "02_code_pairs" / "functions.parquet")
    assert functions["docstring"].tolist() == said.tolist()


def test_the_judge_scored_all_replies(run: Path) -> None:
    records = read_records(run / "08_evaluate" / "records.parquet")
    kept = {"judge": "deberta", "decoding": "sampled"}
    methods = set(select(records, "reward", **kept)["method"])
    assert {"base", "sft", "sft_dpo", "ppo", "best_of_n", "chosen"} <= methods
    kept = {"judge": "deberta", "protocol": "opt350m_study"}
    study = select(records, "study", **kept)
    assert {"base", "sft", "dpo_lora"} <= set(study["method"])


def test_coders_are_asked_and_what_is_no_function_is_refused(
    run: Path, folders: dict[str, Path]
) -> None:
    given = (f"{name}={folders[name]}" for name in (*WRITERS, "describer_model"))
    asked = ("functions=8", "code_source=writers")
    done = run_stages(["02_code_pairs"], *asked, *given)
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "code pairs are left" in said and "choose writers that write" in said
    for job, folder in finished_jobs(run / "02_code_pairs" / "jobs"):
        replies = pd.read_parquet(folder / "replies.parquet")
        assert len(replies) == 8, job
