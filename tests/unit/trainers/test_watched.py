"""A training stops where a number is none: at loss, gradient and weights, and keeps it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from helpers.core.failures import FAILED, keep_failed
from helpers.models import loading
from helpers.recipes.online import fit_ppo
from helpers.runs import jobs
from helpers.trainers import datasets, rloo_grpo, training, watched
from helpers.trainers.online_settings import Online
from helpers.trainers.training import Fit
from helpers.trainers.watched import NotFinite, Watched

PAIRS = pd.DataFrame(
    {
        "prompt": ["\n\nHuman: Any tips on tea?\n\nAssistant:"] * 4,
        "chosen": [" Warm the pot.", " Use fresh water.", " Wait.", " Two spoons."],
        "rejected": [" No.", " Who asks such a thing at this hour?", " Hm", " Tea tea"],
    }
)
TEXTS = (PAIRS["prompt"] + PAIRS["chosen"] + PAIRS["rejected"]).tolist()
TOKENIZER = loading.build_tokenizer(TEXTS, 300)
SHAPE = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 96}
PARTS = ("loss", "gradient", "weight")
FIT = Fit(1e-3, 2, epochs=2)


def policy() -> torch.nn.Module:
    return loading.build_opt(TOKENIZER, **SHAPE, seed=0)


def pairs():
    return datasets.pair_dataset(PAIRS, TOKENIZER, 96)


# --- trainings of every kind, each of at least four steps -------------------------------


def sft(model, out: Path) -> None:
    training.fit_chosen(model, TOKENIZER, pairs(), FIT, out)


def dpo(model, out: Path) -> None:
    training.fit_dpo(model, TOKENIZER, pairs(), FIT, out, beta=0.1)


def stored(out: Path) -> torch.nn.Module:
    loading.save(policy(), TOKENIZER, out / "base")
    return loading.load_policy(out / "base").cpu()


def scorer(out: Path) -> torch.nn.Module:
    stored(out)
    return loading.load_scorer(out / "base", seed=0).cpu()


def rm(model, out: Path) -> None:
    training.fit_reward_model(model, TOKENIZER, pairs(), FIT, out)


def pmp(model, out: Path) -> None:
    head, coefs = policy().get_output_embeddings(), {"rm_coef": 1.0, "lm_coef": 1.0}
    training.fit_preference_model(model, head, TOKENIZER, pairs(), FIT, out, **coefs)


def paid(prompts: list, completions: list, **_: object) -> list[float]:
    """A reward that tells replies apart."""
    return [float(sum(map(ord, reply)) % 7) for reply in completions]


def online(method: str):
    def fit(model, out: Path) -> None:
        settings = Online(
            rollouts=2, episodes=8, epochs=1, minibatches=2, learning_rate=1e-3,
            critic_learning_rate=1e-3, kl_coef=0.1, max_prompt_length=24,
            max_new_tokens=6, rounds=2, dpo_learning_rate=1e-3,
            rloo_learning_rate=1e-3, grpo_learning_rate=1e-3,
        )  # fmt: skip
        prompts = [f"\n\nHuman: {name}?\n\nAssistant:" for name in ("Tea", "Pot")]
        given = (TOKENIZER, paid, prompts, settings, out)
        if method == "ppo":
            fit_ppo(model, None, *given)
        else:
            rloo_grpo.fit_grouped(method, model, *given)

    return fit


KINDS = {
    "sft": (sft, lambda out: policy()),
    "dpo": (dpo, lambda out: policy()),
    "rm": (rm, scorer),
    "pmp": (pmp, scorer),
    "ppo": (online("ppo"), lambda out: policy()),
    "rloo": (online("rloo"), stored),
    "grpo": (online("grpo"), stored),
}


class Spoilt:
    """Makes a training go wrong at a step: in its loss, its gradient, or a weight."""

    def __init__(self, part: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.part, self.step, self.monkeypatch = part, step, monkeypatch

    def spoil(self, model) -> None:
        """Watch a training of `model`."""
        weight = model.get_input_embeddings().weight
        before = watched.Watched._get_grad_norm
        steps = []

        def spoilt_norm(trainer, given, grad_norm=None):
            """The library computes the norm of what stands in `.grad`; so it is inf."""
            steps.append(trainer.state.global_step)
            if self.part == "gradient" and trainer.state.global_step + 1 == self.step:
                grad_norm = torch.tensor(float("inf"))
            return before(trainer, given, grad_norm)

        self.monkeypatch.setattr(watched.Watched, "_get_grad_norm", spoilt_norm)
        if self.part == "loss":
            # a nan in the states makes a nan of every loss
            def hook(module, given, output):
                return output * float("nan") if len(steps) + 1 == self.step else output

            model.get_input_embeddings().register_forward_hook(hook)
        if self.part == "weight":

            def check(trainer) -> None:
                weight.data[0, 0] = float("nan")
                stock(trainer)

            stock = watched.Watched.check_weights
            self.monkeypatch.setattr(watched.Watched, "check_weights", check)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_training_stops_with_its_step(kind, part, tmp_path, monkeypatch) -> None:
    if kind in ("ppo", "rloo", "grpo") and part == "loss":
        step = 1  # later a nan would be sampled from
    else:
        step = 2
    fit, make = KINDS[kind]
    model = make(tmp_path)
    Spoilt(part, step, monkeypatch).spoil(model)
    out = tmp_path / "out"
    with pytest.raises(NotFinite) as error:
        fit(model, out)
    said = str(error.value)
    total = int(said.rpartition(" ")[2])
    assert f"at step {total if part == 'weight' else step} of {total}" in said
    assert {"loss": "loss is nan", "gradient": "gradient is inf"}.get(
        part, "weight "
    ) in said
    about = json.loads((out / FAILED / "about.json").read_text())
    assert about["error"] in said and about["steps"] == total
    batch = load_file(out / FAILED / "batch.safetensors")
    assert {name: list(each.shape) for name, each in batch.items()} == about["batch"]
    ids = batch.get("input_ids", batch.get("prompt_ids"))
    text = TOKENIZER.decode(ids[0])
    assert "Human:" in text and "Human" not in said + json.dumps(about)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_training_is_not_stopped(kind, tmp_path) -> None:
    fit, make = KINDS[kind]
    fit(make(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out" / FAILED).exists()


class Stock:
    """Stands for the library's trainer, at its first step."""

    state = SimpleNamespace(global_step=0, max_steps=99)

    def __init__(self, scaler: object = None, fp16: bool = False) -> None:
        self.accelerator = SimpleNamespace(scaler=scaler, is_main_process=False)
        self.args = SimpleNamespace(fp16=fp16)

    def _get_grad_norm(self, model, grad_norm=None):
        return grad_norm


class Bare(Watched, Stock):
    """The mix-in on it."""


@pytest.mark.parametrize("given", [{"scaler": object()}, {"fp16": True}])
def test_what_loss_scaling_leaves_out_is_no_failure(given: dict) -> None:
    """In float16 a gradient may be infinite now and then, but not for ever."""
    trainer, infinite = Bare(**given), torch.tensor(float("inf"))
    for _ in range(watched.SKIPS):
        trainer._get_grad_norm(None, infinite)
    trainer._get_grad_norm(None, torch.tensor(1.0))
    for _ in range(watched.SKIPS):
        trainer._get_grad_norm(None, infinite)
    with pytest.raises(NotFinite, match="gradient is inf at step 1 of 99"):
        trainer._get_grad_norm(None, infinite)


def test_several_processes_stop_together(monkeypatch) -> None:
    """At the gradient, which all of them have; one's loss is not the others'."""
    nan, trainer = torch.tensor(float("nan")), Bare()
    monkeypatch.setattr(watched, "processes", lambda: 2)
    assert trainer.finite_loss(nan) is nan
    with pytest.raises(NotFinite, match="gradient is nan"):
        trainer._get_grad_norm(None, nan)
    assert trainer._get_grad_norm(None) is None  # DeepSpeed may have none to tell
    monkeypatch.setattr(watched, "processes", lambda: 1)
    with pytest.raises(NotFinite, match="loss is nan at step 1 of 99"):
        trainer.finite_loss(nan)


# --- where a job's batch is kept ------------------------------------------------------


def goes_wrong(out: Path, *, seed: int) -> list[dict]:
    tensors = {"input_ids": torch.tensor([[seed]])}
    watched.keep(tensors, {"error": "the loss is nan"}, out / FAILED)
    raise NotFinite("Trainer: the loss is nan at step 3 of 4")


def test_the_batch_of_a_failed_job_is_kept_beside_the_jobs(tmp_path: Path) -> None:
    folder = tmp_path / "05_sft" / "jobs"
    for seed in (7, 7):  # the second time in place of the first
        with pytest.raises(jobs.JobError) as error:
            jobs.run_grid(goes_wrong, [{"seed": seed}], folder, stage="05_sft")
    said = str(error.value)
    assert "05_sft: job seed=7 failed: NotFinite: Trainer: the loss is nan" in said
    assert "kept in 05_sft/failed/seed=7" in said
    kept = tmp_path / "05_sft" / "failed" / "seed=7"
    assert load_file(kept / "batch.safetensors")["input_ids"].item() == 7
    assert list(folder.iterdir()) == []  # nothing half done


def test_a_job_that_kept_nothing_leaves_nothing(tmp_path: Path) -> None:
    aside = tmp_path / "a" / "jobs" / ".job-x"
    aside.mkdir(parents=True)
    assert keep_failed(aside, aside.parent / "seed=0") == ""
    assert not (tmp_path / "a" / FAILED).exists()
