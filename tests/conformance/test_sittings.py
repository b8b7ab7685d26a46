"""A training that is killed and goes on gives what one gives that nobody disturbed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback

from helpers.core import sittings
from helpers.core.paths import SITTING
from helpers.core.records import read_records
from helpers.models import loading
from helpers.models.endings import Ending
from helpers.recipes.online import as_rows, fit_ppo
from helpers.rewards.payment import Payment
from helpers.runs import jobs
from helpers.trainers import datasets, iterative_dpo, resumable, training
from helpers.trainers.online_settings import Online
from helpers.trainers.rloo_grpo import fit_grouped
from tests.conformance.conftest import FIT, LENGTH, PAIRS
from tests.conformance.test_splits import KINDS as OF_PAIRS

MANY = pd.concat([PAIRS.assign(prompt=PAIRS["prompt"] + " " * n) for n in range(4)])
# three passes of seven steps, logged at every second step
LONG = replace(FIT, batch_size=3, epochs=3.0, learning_rate=1e-3)
ONLINE = Online(
    rollouts=4,
    episodes=8,
    epochs=2,
    minibatches=2,
    learning_rate=1e-3,
    critic_learning_rate=1e-3,
    kl_coef=0.05,
    max_prompt_length=48,
    max_new_tokens=6,
    missing_eos_penalty=0.5,
    rounds=2,
)
ONLINE_METHODS = ["ppo", "ppo_head", "ppo_lora", "rloo", "grpo", "dpo_iter"]
ON_PAIRS = ["sft", "rm", "rm_budget", "codepmp", "codepmp_tied"]
ON_PAIRS += ["dpo", "dpo_lora", "tis_dpo"]


def of_pairs(method: str, folder, out) -> tuple:
    """The model that is trained by a method on pairs, and what its log says."""
    tokenizer = loading.load_tokenizer(folder)
    load = loading.load_scorer if method[:2] in ("rm", "co") else loading.load_policy
    model, fit = load(folder).cpu(), LONG
    pairs = datasets.pair_dataset(MANY, tokenizer, LENGTH)
    if method == "rm_budget":
        fit = replace(fit, token_budget=400)
        log = training.fit_reward_model(model, tokenizer, pairs, fit, out)
    elif method == "codepmp_tied":
        model.config.tie_word_embeddings = True
        head = loading.load_policy(folder).cpu().get_output_embeddings()
        given = (model, head, tokenizer, pairs, fit, out)
        log = training.fit_preference_model(*given, rm_coef=1.0, lm_coef=1.0)
    elif method == "dpo_lora":
        given = (model, tokenizer, pairs, fit, out, 0.1)
        log = training.fit_dpo(*given, adapters=True)
    else:
        log = OF_PAIRS[method](model, tokenizer, pairs, out, fit)
    return model, log


def online(method: str, folder, out) -> tuple:
    """As `of_pairs`, for the methods that sample."""
    tokenizer, policy = loading.load_tokenizer(folder), loading.load_policy(folder)

    def counting(letter: str):
        def score(prompts, replies):
            return np.array([float(reply.count(letter)) for reply in replies])

        return SimpleNamespace(name=letter, score=score)

    paid = Payment(counting("a"), counting("e"), Ending(tokenizer, policy), 0.5)
    settings = replace(ONLINE, adapters=method.endswith("lora"))
    given = (tokenizer, paid, PAIRS["prompt"].tolist(), settings, out)
    if method.startswith("ppo"):
        critic = loading.load_scorer(folder) if method == "ppo" else None
        log = fit_ppo(policy, critic, *given)
    elif method == "dpo_iter":
        log = iterative_dpo.fit_iterative(policy, *given)
    else:
        log = fit_grouped(method, policy, *given)
    return policy, as_rows(log, paid.seen, settings.rollouts * settings.episodes)


def work(out, *, method: str, folder) -> list[dict]:
    """The job: a training, whose model is saved."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = online if method in ONLINE_METHODS else of_pairs
    model, rows = run(method, folder, out)
    loading.save(model, loading.load_tokenizer(folder), out)
    return rows


class Killed(BaseException):
    """In place of a signal."""


class Killer(TrainerCallback):
    """Ends the process's work after so many steps of all trainings."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


@pytest.fixture
def job(folders, tmp_path, monkeypatch):
    """Runs the job of a method in a folder, up to a number of steps; how many it took."""
    monkeypatch.setattr(sittings, "EVERY", 0.0)
    train = resumable.train

    def run(name: str, method: str, steps: int = 10**6, key: str = "k") -> int:
        killer = Killer(steps)

        def killed(trainer) -> None:
            trainer.add_callback(killer)
            train(trainer)

        monkeypatch.setattr(resumable, "train", killed)
        grid = [{"method": method}]
        shared = {"folder": folders["smollm2"]}
        given = {"stage": "a", "key": key, "workers": 1, "shared": shared}
        try:
            jobs.run_grid(work, grid, tmp_path / name, **given)
        except Killed:
            pass
        return steps - killer.left

    return run


def results(folder) -> tuple[pd.DataFrame, dict]:
    """Records of a job but for what its machine took, and its model's weights."""
    rows = read_records(folder / "records.parquet")
    measured = ["seconds", "cpu_seconds", "peak_memory_mib", "memory_above_idle_mib"]
    rows = rows[~rows["metric"].isin(measured)].reset_index(drop=True)
    return rows, load_file(folder / "model.safetensors")


def assert_alike(found, expected) -> None:
    """Two jobs left the same records and weights."""
    (rows, weights), (stock, of_stock) = results(found), results(expected)
    pd.testing.assert_frame_equal(rows, stock)
    assert weights.keys() == of_stock.keys()
    for name, each in of_stock.items():
        assert torch.equal(weights[name], each), name


@pytest.mark.parametrize("method", [*ON_PAIRS, *ONLINE_METHODS])
def test_a_killed_training_goes_on(method, job, tmp_path) -> None:
    steps = job("whole", method)
    first = job("broken", method, steps=max(steps * 2 // 3, 2))
    half = tmp_path / "broken" / f".job-method={method}"
    assert json.loads((half / SITTING).read_text())["trainings"]
    assert first + job("broken", method) < 2 * steps  # not from the start
    place = f"method={method}"
    assert_alike(tmp_path / "broken" / place, tmp_path / "whole" / place)
    assert not half.exists()
    left = {each.name for each in (tmp_path / "broken" / place).iterdir()}
    assert left == {each.name for each in (tmp_path / "whole" / place).iterdir()}


@pytest.mark.parametrize("method", ["rm", "dpo_lora", "ppo_lora"])
def test_what_follows_a_training_finds_it_done(
    method, job, tmp_path, monkeypatch
) -> None:
    steps = job("whole", method)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "save", killed)
        assert job("broken", method) == steps
    assert job("broken", method) == 0
    place = f"method={method}"
    assert_alike(tmp_path / "broken" / place, tmp_path / "whole" / place)


def killed(*_, **__) -> None:
    raise Killed


def test_a_checkpoint_that_was_being_written_is_none(
    job, tmp_path, monkeypatch
) -> None:
    steps = job("whole", "rm")
    job("broken", "rm", steps=8)
    with monkeypatch.context() as patch:  # the next one, after its weights
        patch.setattr(Trainer, "_save_rng_state", killed)
        job("broken", "rm")
    assert job("broken", "rm") == steps - 8
    assert_alike(tmp_path / "broken" / "method=rm", tmp_path / "whole" / "method=rm")


def test_a_job_goes_on_only_from_what_is_its_own(job, tmp_path) -> None:
    steps = job("a", "rm", steps=8) and job("whole", "rm")
    assert job("a", "rm", key="of other settings") == steps
    job("b", "rm", steps=8)
    half = tmp_path / "b" / ".job-method=rm"
    (state,) = half.glob(f"training-1/*/{resumable.STATE}")
    damaged = bytearray(state.read_bytes())
    damaged[-1] ^= 1
    state.write_bytes(damaged)
    assert job("b", "rm") == steps
    assert_alike(tmp_path / "b" / "method=rm", tmp_path / "whole" / "method=rm")


def test_short_trainings_and_full_disks_leave_none(job, tmp_path, monkeypatch) -> None:
    about = tmp_path / "a" / ".job-method=rm" / SITTING
    monkeypatch.setattr(sittings, "EVERY", 3600.0)
    job("a", "rm", steps=8)
    assert about.parent.exists() and not about.exists()
    monkeypatch.setattr(sittings, "EVERY", 0.0)
    with monkeypatch.context() as patch:
        full = SimpleNamespace(free=1000)
        patch.setattr(resumable.shutil, "disk_usage", lambda _: full)
        job("a", "rm", steps=8)
    assert not about.exists()
    job("a", "rm", steps=8)
    assert about.exists()
