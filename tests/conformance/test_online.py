"""Online trainers: what they read, are paid for and learn, held against replies alone."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.losses import policy_gradient
from helpers.models import generation, loading
from helpers.models.encoding import encode_prompt, reply_tokens
from helpers.models.endings import Ending, end_ids
from helpers.recipes import online
from helpers.rewards.payment import Payment
from helpers.trainers import iterative_dpo, rloo_grpo
from helpers.trainers.online_settings import Online
from tests.conformance.conftest import (
    PAIRS,
    assert_same,
    gradients,
    logprobs_alone,
)

PROMPTS = PAIRS["prompt"].tolist()[:4]
METHODS = ("ppo", "rloo", "grpo", "dpo_iter")
SETTINGS = Online(
    rollouts=2,
    episodes=16,
    epochs=2,
    minibatches=2,
    learning_rate=0.0,
    critic_learning_rate=0.0,
    dpo_learning_rate=0.0,
    kl_coef=0.1,
    max_prompt_length=64,
    max_new_tokens=6,
    rounds=2,
)


class Letters:
    """A reward: letters in a reply. It keeps what it was given."""

    name = "letters"

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.texts: list[str] = []

    def score(self, prompts, replies) -> np.ndarray:
        self.prompts += prompts
        self.texts += replies
        return np.array([float(sum(map(str.isalpha, text))) for text in replies])


def paid_by(reward, policy, tokenizer) -> Payment:
    quiet = SimpleNamespace(score=lambda prompts, replies: np.zeros(len(replies)))
    return Payment(reward, quiet, Ending(tokenizer, policy), penalty=1.0)


def fitted(method: str, kind, out, settings=SETTINGS, reward=None) -> list[dict]:
    """The log of one method on the model of a kind, dropout as its configuration says."""
    policy, tokenizer = loading.load_policy(kind).cpu(), loading.load_tokenizer(kind)
    payment = paid_by(reward or Letters(), policy, tokenizer)
    common = (tokenizer, payment, PROMPTS, settings, out)
    if method == "ppo":
        critic = None if settings.adapters else loading.load_scorer(kind, 1).cpu()
        log = online.fit_ppo(policy, critic, *common)
    elif method == "dpo_iter":
        log = iterative_dpo.fit_iterative(policy, *common)
    else:
        log = rloo_grpo.fit_grouped(method, policy, *common)
    seen = payment.seen_by_all()
    return [entry | told for entry, told in zip(log, seen, strict=True)]


# --- at rest -------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gpt2", "opt", "qwen"])  # two with dropout 0.1
def test_at_rate_0_ratios_are_1_and_kl_is_0(method, name, folders, tmp_path, watched):
    for entry in fitted(method, folders[name], tmp_path):
        assert entry["kl"] == pytest.approx(0, abs=1e-4)
        if method == "ppo":
            assert entry["ratio"] == pytest.approx(1, abs=1e-5)
            assert entry["clip_fraction"] == 0
    assert len(watched) == {"rloo": 4, "grpo": 8}.get(method, 0)
    assert all(clipped == 0 for clipped in watched)


@pytest.mark.parametrize("method", ["ppo", "rloo", "grpo"])
def test_adapters_rest_too(method, folders, tmp_path, watched):
    settings = replace(SETTINGS, adapters=True, rollouts=1)
    for entry in fitted(method, folders["qwen"], tmp_path, settings):
        assert entry["kl"] == pytest.approx(0, abs=1e-4)
        assert entry.get("ratio", 1.0) == pytest.approx(1, abs=1e-5)
    assert all(clipped == 0 for clipped in watched)


@pytest.fixture
def watched(monkeypatch) -> list[float]:
    """The share of replies whose ratio was clipped, of every update of TRL's trainers."""
    shares: list[float] = []
    for trainer in (rloo_grpo.Rloo, rloo_grpo.Grpo):
        stock = trainer._compute_loss

        def watch(self, model, inputs, stock=stock):
            loss = stock(self, model, inputs)
            shares.append(self._metrics["train"]["clip_ratio/region_mean"][-1])
            return loss

        monkeypatch.setattr(trainer, "_compute_loss", watch)
    return shares


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_a_kl_weight_of_0_is_measured_and_costs_nothing(method, folders, tmp_path):
    settings = replace(SETTINGS, kl_coef=0.0, learning_rate=1e-3)
    log = fitted(method, folders["built_in"], tmp_path, settings)
    assert log[-1]["kl"] != 0


# --- what is read and paid -------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_one_rule_of_where_a_reply_ends_and_what_is_paid(
    method, kind, tmp_path, monkeypatch
):
    """Replies that end in the two ways there are, at a marker, and not at all."""
    tokenizer, policy = loading.load_tokenizer(kind), loading.load_policy(kind)
    ends = sorted(end_ids(tokenizer, policy))

    def ids(text: str) -> list[int]:
        return reply_tokens(tokenizer, PROMPTS[0], text)

    script = [
        [*ids(" Yes."), ends[0]],
        [*ids(" Yes, two."), ends[-1]],
        ids(" Yes, a third.\n\nHuman:"),
        ids(" Yes and so on and"),
    ]
    texts = [" Yes.", " Yes, two.", " Yes, a third.", " Yes and so on and"]

    def scripted(model, prompts, *_):
        return [list(script[at % 4]) for at in range(len(prompts))], None

    monkeypatch.setattr(generation, "decode", scripted)
    reward, paid = Letters(), []
    stock = Payment.__call__

    def pay(self, *args, **settings):
        paid.append(stock(self, *args, **settings))
        return paid[-1]

    monkeypatch.setattr(Payment, "__call__", pay)
    settings = replace(SETTINGS, max_new_tokens=32, max_prompt_length=90, rollouts=1)
    entry = fitted(method, kind, tmp_path, replace(settings, rounds=1), reward)[0]
    assert sorted(reward.texts) == sorted(texts * 4)
    assert set(reward.prompts) <= set(PROMPTS)
    assert entry["ended"] == pytest.approx(0.75)
    letters = Letters().score(PROMPTS, texts)
    fined = letters if method == "ppo" else letters - [0, 0, 0, 1]  # PPO fines itself
    assert sorted(paid[0]) == pytest.approx(sorted([*fined] * 4))


@pytest.mark.parametrize("method", ["rloo", "grpo", "ppo"])
def test_all_methods_read_the_same_ids(method, kind, tmp_path, monkeypatch):
    tokenizer, read = loading.load_tokenizer(kind), []
    stock = generation.decode

    def watch(model, prompts, *rest):
        read.extend(map(tuple, prompts))
        return stock(model, prompts, *rest)

    monkeypatch.setattr(generation, "decode", watch)
    settings = replace(SETTINGS, max_prompt_length=12, rollouts=1, epochs=1)
    fitted(method, kind, tmp_path, settings)
    known = {tuple(encode_prompt(tokenizer, prompt, 12)) for prompt in PROMPTS}
    assert len(set(read)) > 1 and set(read) <= known


# --- gradients -------------------------------------------------------------------------


def started(method: str, kind, out, monkeypatch, settings):
    """A trainer of TRL's that is ready to take a step, and a copy of its policy."""
    found, policy = [], loading.load_policy(kind).cpu()
    naive, tokenizer = deepcopy(policy).eval(), loading.load_tokenizer(kind)
    for module in (online, rloo_grpo):
        monkeypatch.setattr(
            module, "log_of", lambda trainer, _: found.append(trainer) or []
        )
    payment = paid_by(Letters(), policy, tokenizer)
    common = (tokenizer, payment, PROMPTS, settings, out)
    if method == "ppo":
        online.fit_ppo(policy, None, *common)
    else:
        rloo_grpo.fit_grouped(method, policy, *common)
    return found[0], naive


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_gradients_of_groups_are_those_of_replies_alone(
    method, kind, tmp_path, monkeypatch
):
    trainer, naive = started(method, kind, tmp_path, monkeypatch, SETTINGS)
    seen, stock = [], trainer._compute_loss
    monkeypatch.setattr(
        trainer,
        "_compute_loss",
        lambda model, inputs: seen.append(inputs) or stock(model, inputs),
    )
    trainer.current_gradient_accumulation_steps = 1
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.training_step(trainer.model, batch, None)
    (inputs,), parts = seen, []
    for row, advantage in enumerate(inputs["advantages"]):
        prompt, reply = (
            inputs[f"{part}_ids"][row][inputs[f"{part}_mask"][row].bool()].tolist()
            for part in ("prompt", "completion")
        )
        now = logprobs_alone(naive, prompt, reply)
        if method == "rloo":  # the ratio is that of the whole reply
            parts.append(-(now.sum() - now.sum().detach()).exp() * advantage)
        else:
            kl = policy_gradient.kl_estimate(now, now.detach(), "k3")
            parts.append((-(now - now.detach()).exp() * advantage + 0.1 * kl).mean())
    torch.stack(parts).mean().backward()
    assert_same(gradients(trainer.model), gradients(naive))


def test_gradients_of_ppo_are_those_of_replies_alone(kind, tmp_path, monkeypatch):
    settings = replace(SETTINGS, epochs=1, minibatches=1)
    trainer, naive = started("ppo", kind, tmp_path, monkeypatch, settings)
    trainer.begin(0)
    model, rollout = trainer.model, trainer.rollout
    model.zero_grad()
    trainer.backward(model, list(range(settings.episodes)))
    logprobs = [logprobs_alone(naive, *episode) for episode in rollout.episodes]
    now = torch.nn.utils.rnn.pad_sequence(logprobs, batch_first=True)
    torch.testing.assert_close(now, rollout.logprobs, rtol=1e-4, atol=1e-5)
    # the value head starts at zero, and so does what it sends into the trunk
    policy_gradient.ppo_policy_loss(
        now, rollout.logprobs, trainer.credit.advantages, rollout.mask, 0.2
    ).backward()
    assert_same(gradients(model.policy), gradients(naive))


# --- once more -------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_same_run_twice_gives_the_same_records(method, folders, tmp_path):
    rates = dict.fromkeys(("learning_rate", "critic_learning_rate"), 1e-3)
    settings = replace(SETTINGS, **rates, dpo_learning_rate=1e-3)
    runs = []
    for history in (1, 2):
        torch.manual_seed(history)  # whatever else was drawn before
        runs.append(fitted(method, folders["smollm2"], tmp_path, settings))
    assert str(runs[0]) == str(runs[1])
