"""PPO: exact at the first update, solves a bandit, resumes to the same records."""

import copy
import dataclasses
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from transformers import TrainerCallback

from helpers.core.paths import ROOT
from helpers.models import loading
from helpers.models.encoding import as_text, encode
from helpers.models.states import reply_states
from helpers.runs.launch import CLI, config_of
from helpers.trainers import rollouts
from helpers.trainers.ppo.advantages import adapted, assign_credit
from helpers.trainers.ppo.config import PPOConfig
from helpers.trainers.ppo.moments import RunningMoments
from helpers.trainers.ppo.trainer import PPOTrainer
from helpers.trainers.resumable import STATE
from helpers.trainers.rollouts import Rollout, prompt_rows
from tests.unit.runs import launched_ppo

PROMPTS = [
    "\n\nHuman: Name a herb.\n\nAssistant:",
    "\n\nHuman: What shall I cook on a rainy day for six?\n\nAssistant:",
    "\n\nHuman: Hello!\n\nAssistant:",
]
TOKENIZER = loading.build_tokenizer(PROMPTS, 270)
QUICK = dict(
    rollouts=2,
    episodes=8,
    num_mini_batches=2,
    num_ppo_epochs=2,
    per_device_train_batch_size=3,
    max_prompt_length=24,
    max_completion_length=6,
    learning_rate=1e-3,
    critic_learning_rate=1e-3,
    missing_eos_penalty=0.0,
    use_cpu=True,
    disable_tqdm=True,
    save_strategy="no",
)


def count_a(prompts: list[str], completions: list[str]) -> Tensor:
    """The bandit: one arm pays, the letter a. Its optimum is an a at every token."""
    return torch.tensor([float(reply.count("a")) for reply in completions])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("tiny")
    tiny = loading.build_opt(
        TOKENIZER, hidden=32, layers=1, heads=2, max_positions=64, seed=0
    )
    loading.save(tiny, TOKENIZER, out)
    return out


@pytest.fixture
def trainer(folder, tmp_path):
    def build(reward=count_a, shared=False, peft=None, **changes) -> PPOTrainer:
        torch.set_num_threads(1)
        settings = {"output_dir": str(tmp_path), **QUICK, **changes}
        return PPOTrainer(
            loading.load_policy(folder).cpu(),
            reward,
            PPOConfig(**settings),
            PROMPTS,
            TOKENIZER,
            value_model=None if shared else loading.load_scorer(folder).cpu(),
            peft_config=peft,
        )

    return build


def trained(ppo: PPOTrainer, **resume) -> list[dict]:
    """The records of a run, one for each rollout."""
    ppo.train(**resume)
    return [entry for entry in ppo.state.log_history if "rollout" in entry]


def credit_of(ppo: PPOTrainer, rollout: Rollout):
    return assign_credit(rollout, rollout.scores, ppo.args, ppo.args.kl_coef)


# --- exact ---------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_the_first_update_starts_at_ratio_one_and_no_divergence(trainer, shared):
    once = {"rollouts": 1, "num_ppo_epochs": 1, "num_mini_batches": 1}
    (record,) = trained(trainer(shared=shared, **once))
    assert record["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert record["clip_fraction"] == 0.0
    assert record["kl"] == pytest.approx(0.0, abs=1e-5)
    assert record["kl_k3"] == pytest.approx(0.0, abs=1e-5)
    assert record["policy_loss"] == pytest.approx(0.0, abs=1e-5)  # whitened advantages


@pytest.mark.parametrize("shared", [False, True])
def test_states_of_sampling_are_not_read_again(trainer, shared, monkeypatch) -> None:
    """They measure what a new reading measures; in half precision it is read anew."""
    ppo = trainer(shared=shared)
    monkeypatch.setattr(rollouts, "computes_exactly", lambda model: False)
    anew = ppo.roll_out(0)
    monkeypatch.undo()
    read = []

    def watched(model, *batch):
        read.append(model)
        return reply_states(model, *batch)

    monkeypatch.setattr(rollouts, "reply_states", watched)
    kept = ppo.roll_out(0)
    assert read == [ppo.model.critic] * 3 * (not shared)  # 8 episodes, 3 at a time
    for name in rollouts.MEASURES:
        assert torch.allclose(getattr(kept, name), getattr(anew, name), atol=1e-5)
    half = trainer(shared=shared, bf16=True)
    half.roll_out(0)
    assert read.count(half.model.policy) == 3


def test_logprobs_are_those_of_the_distribution_sampled_from(trainer) -> None:
    ppo = trainer(temperature=0.5)
    rollout = ppo.roll_out(0)
    prompt, reply = rollout.episodes[0]
    with torch.no_grad():
        logits = ppo.model.policy(torch.tensor([prompt + reply])).logits[0]
    distributions = (logits / 0.5).log_softmax(-1)[len(prompt) - 1 : -1]
    expected = distributions[range(len(reply)), reply]
    assert torch.allclose(rollout.logprobs[0, : len(reply)], expected, atol=1e-5)
    entropy = -(distributions.exp() * distributions).sum(-1)
    assert torch.allclose(rollout.entropy[0, : len(reply)], entropy, atol=1e-5)


def ragged(rollout: Rollout) -> Rollout:
    """The same episodes with replies cut to 1, 2, ... tokens."""
    episodes = [(p, r[: 1 + i % len(r)]) for i, (p, r) in enumerate(rollout.episodes)]
    lengths = torch.tensor([len(reply) for _, reply in episodes]).unsqueeze(1)
    mask = rollout.mask & (torch.arange(rollout.mask.shape[1]) < lengths)
    names = ("logprobs", "reference_logprobs", "entropy", "values")
    cut = {name: getattr(rollout, name) * mask for name in names}
    return replace(rollout, episodes=episodes, mask=mask, **cut)


@pytest.mark.parametrize("shared", [False, True])
def test_micro_batches_do_not_change_the_gradient(trainer, shared) -> None:
    gradients = []
    for size in (1, 3, 8):
        ppo = trainer(shared=shared, per_device_train_batch_size=size)
        ppo.rollout = ragged(ppo.roll_out(0))
        ppo.credit = credit_of(ppo, ppo.rollout)
        ppo.backward(ppo.model, list(range(8)))
        parts = [p.grad for p in ppo.model.parameters() if p.grad is not None]
        gradients.append(torch.cat([p.flatten() for p in parts]))
    assert gradients[0].norm() > 0.01
    for other in gradients[1:]:
        assert torch.allclose(gradients[0], other, atol=1e-6)


def test_a_reward_is_the_score_at_the_end_minus_the_divergence(trainer) -> None:
    ppo = trainer(gamma=1.0, lam=1.0, kl_coef=0.5, whiten_advantages=False)
    rollout = ppo.roll_out(0)
    reference = rollout.logprobs - 0.1 * rollout.mask
    rollout = replace(rollout, reference_logprobs=reference)
    credit = credit_of(ppo, rollout)
    lengths = rollout.mask.sum(1)
    # undiscounted, the return of the first token is everything that is still to come
    expected = rollout.scores - 0.5 * 0.1 * lengths
    assert torch.allclose(credit.returns[:, 0], expected, atol=1e-5)
    assert torch.allclose(credit.rewards.sum(1), expected, atol=1e-5)
    last = credit.returns.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
    assert torch.allclose(last, rollout.scores - 0.5 * 0.1, atol=1e-5)


def test_missing_ends_are_penalised_and_rewards_clipped(trainer, monkeypatch) -> None:
    settings = {"kl_coef": 0.0, "lam": 1.0, "whiten_advantages": False}
    ppo = trainer(missing_eos_penalty=1.5, reward_clip=2.0, **settings)
    scores = torch.tensor([0.0, 0.0, 9.0, -9.0] * 2)
    ended = torch.tensor([True, False, True, True] * 2)
    rollout = replace(ppo.roll_out(0), scores=scores, ended=ended)
    monkeypatch.setattr(ppo, "roll_out", lambda number: rollout)
    ppo.begin(0)
    expected = pytest.approx([0.0, -1.5, 2.0, -2.0], abs=1e-6)  # values come and go
    assert ppo.credit.returns[:4, 0].tolist() == expected


def test_whitening_is_a_switch(trainer) -> None:
    spreads = []
    for switch in (True, False):
        ppo = trainer(whiten_advantages=switch)
        rollout = ppo.roll_out(0)
        advantages = credit_of(ppo, rollout).advantages
        spreads.append(advantages[rollout.mask].var(correction=0).item())
    assert spreads[0] == pytest.approx(1.0, abs=1e-4)
    assert abs(spreads[1] - 1.0) > 0.01


def test_running_moments_equal_those_of_all_values() -> None:
    values, moments = torch.randn(30) * 3 + 5, RunningMoments()
    for part in values.split([4, 1, 25]):
        moments.update(part)
    expected = (values - values.mean()) / values.std(correction=0)
    assert torch.allclose(moments.normalise(values), expected, atol=1e-5)


def test_the_reference_stays_unless_it_follows_the_policy(trainer) -> None:
    def moved(share: float) -> tuple[float, float]:
        ppo = trainer(ref_ema=share, rollouts=1)
        before = copy.deepcopy(ppo.ref_model.state_dict())
        ppo.train()
        policy, name = (
            ppo.model.policy.state_dict(),
            "model.decoder.layers.0.fc1.weight",
        )
        step = ppo.ref_model.state_dict()[name] - before[name]
        return step.norm().item(), (policy[name] - before[name]).norm().item()

    assert moved(0.0)[0] == 0.0
    reference, policy = moved(0.25)
    assert reference == pytest.approx(0.25 * policy, rel=1e-3)


def test_the_coefficient_seeks_its_target(trainer) -> None:
    args = trainer(target_kl=6.0, kl_horizon=100).args
    # Ziegler et al.: the error is clipped to a fifth, and counts by episodes / horizon
    assert adapted(0.1, 6.6, 10, args) == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    assert adapted(0.1, 60.0, 10, args) == pytest.approx(0.1 * (1 + 0.2 * 0.1))
    assert adapted(0.1, 0.0, 10, args) == pytest.approx(0.1 * (1 - 0.2 * 0.1))
    assert adapted(0.1, 60.0, 10, trainer().args) == 0.1
    records = trained(trainer(target_kl=1e-3, kl_horizon=16, rollouts=4))
    coefs = [record["kl_coef"] for record in records]
    assert coefs[0] == pytest.approx(0.1) and coefs[-1] != coefs[0]


# --- learning ------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_a_bandit_is_solved(trainer, shared) -> None:
    quick = {"rollouts": 30, "episodes": 32, "per_device_train_batch_size": 32}
    rates = {"learning_rate": 1e-2, "critic_learning_rate": 1e-2, "kl_coef": 0.0}
    records = trained(trainer(shared=shared, **quick, **rates))
    assert records[0]["reward"] < 0.3
    assert records[-1]["reward"] > 0.9 * QUICK["max_completion_length"]
    assert records[-1]["entropy"] < records[0]["entropy"] / 2


def test_the_penalty_keeps_the_policy_near_the_reference(trainer) -> None:
    quick = {"rollouts": 12, "episodes": 16, "learning_rate": 1e-2}
    free = trained(trainer(kl_coef=0.0, **quick))[-1]
    held = trained(trainer(kl_coef=1.0, **quick))[-1]
    assert held["kl_k3"] < free["kl_k3"] / 2


def test_the_same_seed_gives_the_same_records(trainer) -> None:
    def records(seed: int) -> list[dict]:
        return trained(trainer(seed=seed, normalise_rewards=True))

    assert records(1) == records(1)
    assert records(1) != records(2)


def test_a_policy_that_runs_away_ends_its_rollout_early(trainer) -> None:
    ppo = trainer(rollouts=1, max_ratio=1e-3)
    before = copy.deepcopy(ppo.model.state_dict())
    (record,) = trained(ppo)
    assert record["updates"] == 1
    for name, weight in ppo.model.state_dict().items():
        assert torch.equal(weight, before[name])


def scaled(ppo: PPOTrainer, scale: float = 2.0**16) -> PPOTrainer:
    """The trainer in float16 with loss scaling, which Accelerate has for GPUs only."""
    ppo.accelerator.native_amp = True
    ppo.accelerator.state._mixed_precision = "fp16"
    ppo.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return ppo


@pytest.fixture
def as_before():
    """Accelerate's state is shared by all trainers of a process: put it back."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_float16_with_loss_scaling_learns_the_same(trainer, as_before) -> None:
    """Gradients are clipped at their own size, so the policy moves as in float32."""
    exact, half = trainer(rollouts=1), scaled(trainer(rollouts=1))
    start = exact.model.policy.get_input_embeddings().weight.clone()
    (expected,), (found,) = trained(exact), trained(half)
    assert found["ratio"] == pytest.approx(expected["ratio"], abs=0.01)
    assert found["policy_loss"] == pytest.approx(expected["policy_loss"], abs=0.01)
    moves = [
        each.model.policy.get_input_embeddings().weight - start
        for each in (exact, half)
    ]
    together = torch.cosine_similarity(*(move.flatten() for move in moves), dim=0)
    assert together > 0.95


def test_what_float16_cannot_hold_is_left_out(trainer, as_before) -> None:
    ppo = scaled(trainer(rollouts=1), scale=2.0**120)
    before = copy.deepcopy(ppo.model.state_dict())
    trained(ppo)
    assert ppo.accelerator.scaler.get_scale() < 2.0**120
    for name, weight in ppo.model.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_scaled_run_ends_a_rollout_early_too(trainer, as_before) -> None:
    ppo = scaled(trainer(rollouts=2, max_ratio=1e-3))
    records = trained(ppo)
    assert [record["updates"] for record in records] == [1, 1]


# --- as a trainer --------------------------------------------------------------------

EVERYTHING = dict(
    ref_ema=0.1, normalise_rewards=True, normalise_values=True, target_kl=0.01,
    kl_horizon=64, lr_scheduler_type="linear", save_strategy="steps", rollouts=4,
)  # fmt: skip


@pytest.mark.parametrize("shared", [False, True])
def test_a_resumed_run_gives_the_same_records(trainer, shared, tmp_path) -> None:
    # a checkpoint is asked for after update 5 of 4 a rollout: it comes after update 8
    settings = {**EVERYTHING, "save_steps": 5, "shared": shared}
    whole = trainer(**settings)
    records = trained(whole)
    assert (tmp_path / "checkpoint-8").exists()
    resumed = trainer(**settings)
    again = trained(resumed, resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert again == records and len(records) == 4
    for name, weight in whole.changing().items():
        assert torch.equal(weight, resumed.changing()[name]), name


def test_a_checkpoint_is_a_policy_that_loads(trainer, tmp_path) -> None:
    ppo = trainer(save_strategy="steps", save_steps=4)
    ppo.train()
    loaded = loading.load_policy(tmp_path / "checkpoint-8").state_dict()
    for name, weight in ppo.model.policy.state_dict().items():
        assert torch.equal(weight, loaded[name])


def test_a_checkpoint_of_something_else_is_refused(trainer, tmp_path) -> None:
    trainer(save_strategy="steps", save_steps=4).train()
    with pytest.raises(ValueError, match="another run's, it differs in"):
        trained(
            trainer(shared=True), resume_from_checkpoint=str(tmp_path / "checkpoint-8")
        )
    (tmp_path / "checkpoint-8" / STATE).unlink()
    with pytest.raises(ValueError, match="no checkpoint of ours"):
        trained(trainer(), resume_from_checkpoint=str(tmp_path / "checkpoint-8"))


def test_records_reach_callbacks_and_hold_every_metric(trainer) -> None:
    seen: list[dict] = []

    class Watch(TrainerCallback):
        def on_log(self, args, state, control, logs, **kwargs) -> None:
            seen.append(dict(logs))

    ppo = trainer()
    ppo.add_callback(Watch())
    records = trained(ppo)
    assert [record["rollout"] for record in records] == [1, 2]
    assert [{**logs, "step": 4 * at} for at, logs in enumerate(seen[:2], 1)] == records
    assert set(records[0]) == {
        "rollout", "reward", "kl", "kl_k3", "kl_coef", "entropy", "reply_length",
        "ended", "explained_variance", "tokens", "updates", "policy_loss", "value_loss",
        "ratio", "clip_fraction", "value_clip_fraction", "step", "epoch",
    }  # fmt: skip


def test_adapters_are_trained_and_the_reference_is_the_policy_without(trainer) -> None:
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    ppo = trainer(peft=lora, learning_rate=1e-2)
    assert ppo.ref_model is None
    trained_names = [
        n for n, p in ppo.model.policy.named_parameters() if p.requires_grad
    ]
    assert trained_names and all("lora" in name for name in trained_names)
    first, second = trained(ppo)
    assert first["kl"] == pytest.approx(0.0, abs=1e-5) and abs(second["kl"]) > 1e-4
    with pytest.raises(ValueError, match="reference of its own"):
        trainer(peft=lora, ref_ema=0.1)


def test_a_reward_model_serves_as_the_reward(trainer, folder) -> None:
    scorer = loading.load_scorer(folder, seed=3).cpu()
    reward = trainer(reward=scorer).reward
    prompt, reply = encode(TOKENIZER, PROMPTS[0], " a herb", 30)
    with torch.no_grad():
        expected = scorer(torch.tensor([prompt + reply])).logits.item()
    scores = reward(prompts=PROMPTS[:1], completions=[" a herb"])
    assert scores == pytest.approx([expected], abs=1e-5)


def test_conversations_become_text_by_the_template() -> None:
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    asked = [{"role": "user", "content": "Hi"}]
    assert as_text(asked, tokenizer) == "<user>Hi<assistant>"
    assert as_text(PROMPTS[0], tokenizer) == PROMPTS[0]


def test_every_prompt_comes_before_any_comes_again() -> None:
    rows = [row for number in range(5) for row in prompt_rows(number, 6, 10, seed=3)]
    for start in (0, 10, 20):
        assert sorted(rows[start : start + 10]) == list(range(10))
    assert rows[:10] != rows[10:20]
    assert prompt_rows(1, 6, 10, seed=3) == rows[6:12]


@pytest.mark.parametrize("scores", [torch.zeros(3), torch.full((8,), torch.nan)])
def test_a_wrong_reward_is_refused(trainer, scores: Tensor) -> None:
    with pytest.raises(ValueError, match="expected 8 finite scores"):
        trainer(reward=lambda prompts, completions: scores).roll_out(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes": 9}, "episodes = 9: expected a multiple of 2"),
        ({"num_ppo_epochs": 0}, "num_ppo_epochs = 0: expected at least 1"),
        ({"temperature": 0.0}, "PPO must explore"),
        ({"kl_estimator": "k4"}, "'k4': expected k1, k2, k3"),
        ({"max_steps": 3}, "max_steps = 3: expected 8"),
        ({"gradient_accumulation_steps": 2}, "expected 1, mini-batches accumulate"),
        ({"target_kl": 0.0}, "target_kl = 0.0: expected above 0"),
        ({"ref_ema": 1.0}, "ref_ema = 1.0: expected in"),
    ],
)
def test_settings_that_cannot_train_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOConfig(**{**QUICK, **change})


def test_settings_survive_a_copy() -> None:
    args = PPOConfig(**QUICK)
    assert dataclasses.replace(args, seed=3).max_steps == args.max_steps == 8


def test_no_prompts_are_refused(trainer) -> None:
    ppo = trainer()
    with pytest.raises(ValueError, match="no prompts"):
        PPOTrainer(ppo.model.policy, count_a, ppo.args, [], TOKENIZER)


def test_the_values_come_from_the_score_head_of_the_critic(trainer) -> None:
    ppo = trainer()
    with torch.no_grad():
        ppo.model.critic.score.weight.zero_()
    assert (ppo.roll_out(0).values == 0).all()


def test_two_processes_give_the_records_of_one(folder, tmp_path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    launched_ppo.main(str(folder), str(one))
    command = [sys.executable, "-m", CLI, "--config_file", str(config_of("ddp"))]
    command += ["--num_processes", "2", "--main_process_port", "0", "--module"]
    command += [launched_ppo.__name__, str(folder), str(two)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads(file.read_text("utf-8")) for file in (one, two))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert len(one["records"]) == len(two["records"]) == 3
    for single, shared in zip(one["records"], two["records"]):
        assert shared == pytest.approx(single, rel=1e-4, abs=1e-5)
