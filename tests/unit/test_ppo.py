"""PPO: exact at the first step, solves a bandit, held back by its KL penalty."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from helpers import models
from helpers.ppo import PPOConfig, PPOTrainer, RunningMoments
from helpers.rollouts import Rollout

PROMPTS = [
    "\n\nHuman: Name a herb.\n\nAssistant:",
    "\n\nHuman: What shall I cook on a rainy day for six?\n\nAssistant:",
    "\n\nHuman: Hello!\n\nAssistant:",
]
TOKENIZER = models.build_tokenizer(PROMPTS, 270)
QUICK = PPOConfig(
    steps=2,
    batch_size=8,
    minibatches=2,
    epochs=2,
    micro_batch_size=3,
    max_prompt_tokens=24,
    max_new_tokens=6,
    lr=1e-3,
    critic_lr=1e-3,
    missing_end_penalty=0.0,
)


def count_a(prompts: list[str], replies: list[str]) -> Tensor:
    """The bandit: one arm pays, the letter a. Its optimum is an a at every token."""
    return torch.tensor([float(reply.count("a")) for reply in replies])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("tiny")
    tiny = models.build_opt(
        TOKENIZER, hidden=32, layers=1, heads=2, max_positions=64, seed=0
    )
    models.save(tiny, TOKENIZER, out)
    return out


@pytest.fixture
def trainer(folder):
    def build(config: PPOConfig = QUICK, reward=count_a, **changes) -> PPOTrainer:
        torch.set_num_threads(1)
        policy = models.load_policy(folder).cpu()
        reference = copy.deepcopy(policy)
        critic = models.load_scorer(folder).cpu()
        config = replace(config, **changes)
        return PPOTrainer(policy, reference, critic, reward, TOKENIZER, PROMPTS, config)

    return build


# --- exact ---------------------------------------------------------------------------


def test_the_first_update_starts_at_ratio_one_and_no_divergence(trainer) -> None:
    (record,) = trainer(steps=1, epochs=1, minibatches=1).train()
    assert record["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert record["clip_fraction"] == 0.0
    assert record["kl"] == pytest.approx(0.0, abs=1e-5)
    assert record["kl_k3"] == pytest.approx(0.0, abs=1e-5)
    assert record["policy_loss"] == pytest.approx(0.0, abs=1e-5)  # whitened advantages


def test_logprobs_are_those_of_the_distribution_sampled_from(trainer) -> None:
    ppo = trainer(temperature=0.5)
    rollout = ppo.roll_out()
    prompt, reply = rollout.episodes[0]
    with torch.no_grad():
        logits = ppo.policy(torch.tensor([prompt + reply])).logits[0]
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


def test_micro_batches_do_not_change_the_gradient(trainer) -> None:
    gradients = []
    for size in (1, 3, 8):
        ppo = trainer(micro_batch_size=size)
        rollout = ragged(ppo.roll_out())
        ppo.backward(rollout, *ppo.assign_credit(rollout), list(range(8)))
        parts = [p.grad for m in (ppo.policy, ppo.critic) for p in m.parameters()]
        gradients.append(torch.cat([p.flatten() for p in parts if p is not None]))
    assert gradients[0].norm() > 0.01
    for other in gradients[1:]:
        assert torch.allclose(gradients[0], other, atol=1e-6)


def test_a_reward_is_the_score_at_the_end_minus_the_divergence(trainer) -> None:
    ppo = trainer(gamma=1.0, lam=1.0, kl_coef=0.5, whiten_advantages=False)
    rollout = ppo.roll_out()
    reference = rollout.logprobs - 0.1 * rollout.mask
    rollout = replace(rollout, reference_logprobs=reference)
    _, returns = ppo.assign_credit(rollout)
    lengths = rollout.mask.sum(1)
    # undiscounted, the return of the first token is everything that is still to come
    expected = rollout.scores - 0.5 * 0.1 * lengths
    assert torch.allclose(returns[:, 0], expected, atol=1e-5)
    last = returns.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
    assert torch.allclose(last, rollout.scores - 0.5 * 0.1, atol=1e-5)


def test_missing_ends_are_penalised_and_rewards_clipped(trainer) -> None:
    settings = {"kl_coef": 0.0, "lam": 1.0, "whiten_advantages": False}
    ppo = trainer(missing_end_penalty=1.5, reward_clip=2.0, **settings)
    scores = torch.tensor([0.0, 0.0, 9.0, -9.0] * 2)
    ended = torch.tensor([True, False, True, True] * 2)
    _, returns = ppo.assign_credit(replace(ppo.roll_out(), scores=scores, ended=ended))
    assert returns[:4, 0].tolist() == pytest.approx([0.0, -1.5, 2.0, -2.0])


def test_whitening_is_a_switch(trainer) -> None:
    spreads = []
    for switch in (True, False):
        ppo = trainer(whiten_advantages=switch)
        rollout = ppo.roll_out()
        advantages, _ = ppo.assign_credit(rollout)
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
        ppo = trainer(ref_ema=share, steps=1)
        before = copy.deepcopy(ppo.reference.state_dict())
        ppo.train()
        policy, name = ppo.policy.state_dict(), "model.decoder.layers.0.fc1.weight"
        step = ppo.reference.state_dict()[name] - before[name]
        return step.norm().item(), (policy[name] - before[name]).norm().item()

    assert moved(0.0)[0] == 0.0
    reference, policy = moved(0.25)
    assert reference == pytest.approx(0.25 * policy, rel=1e-3)


# --- learning ------------------------------------------------------------------------


def test_a_bandit_is_solved(trainer) -> None:
    ppo = trainer(
        steps=30, batch_size=32, micro_batch_size=32, lr=1e-2, critic_lr=1e-2,
        kl_coef=0.0,
    )  # fmt: skip
    records = ppo.train()
    assert records[0]["reward"] < 0.3
    assert records[-1]["reward"] > 0.9 * QUICK.max_new_tokens
    assert records[-1]["entropy"] < records[0]["entropy"] / 2


def test_the_penalty_keeps_the_policy_near_the_reference(trainer) -> None:
    settings = {"steps": 12, "batch_size": 16, "micro_batch_size": 16, "lr": 1e-2}
    free = trainer(kl_coef=0.0, **settings).train()[-1]
    held = trainer(kl_coef=1.0, **settings).train()[-1]
    assert held["kl_k3"] < free["kl_k3"] / 2


def test_the_same_seed_gives_the_same_records(trainer) -> None:
    def records(seed: int) -> list[dict]:
        return trainer(seed=seed, normalise_rewards=True).train()

    assert records(1) == records(1)
    assert records(1) != records(2)


def test_a_policy_that_runs_away_ends_its_batch_early(trainer) -> None:
    ppo = trainer(steps=1, max_ratio=1e-3)
    before = copy.deepcopy(ppo.policy.state_dict())
    (record,) = ppo.train()
    assert record["updates"] == 1
    for name, weight in ppo.policy.state_dict().items():
        assert torch.equal(weight, before[name])


# --- surroundings --------------------------------------------------------------------


def test_records_reach_the_callback_and_hold_every_metric(trainer) -> None:
    seen: list[dict] = []
    records = trainer().train(on_step=seen.append)
    assert seen == records and [record["step"] for record in records] == [1, 2]
    assert set(records[0]) == {
        "step", "reward", "kl", "kl_k3", "entropy", "reply_length", "ended",
        "explained_variance", "tokens", "updates", "policy_loss", "value_loss", "ratio",
        "clip_fraction",
    }  # fmt: skip


def test_the_reward_sees_every_prompt_before_any_comes_again(trainer) -> None:
    seen: list[str] = []

    def reward(prompts: list[str], replies: list[str]) -> Tensor:
        seen.extend(prompts)
        return count_a(prompts, replies)

    trainer(reward=reward, batch_size=6).step()
    assert set(seen[:3]) == set(seen[3:]) == set(PROMPTS)


@pytest.mark.parametrize("scores", [torch.zeros(3), torch.full((8,), torch.nan)])
def test_a_wrong_reward_is_refused(trainer, scores: Tensor) -> None:
    with pytest.raises(ValueError, match="expected 8 finite scores"):
        trainer(reward=lambda prompts, replies: scores).step()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 9}, "multiple of minibatches"),
        ({"epochs": 0}, "epochs = 0: expected at least 1"),
        ({"temperature": 0.0}, "PPO must explore"),
        ({"kl_estimator": "k4"}, "expected k1, k2 or k3"),
    ],
)
def test_settings_that_cannot_train_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(QUICK, **change)


def test_no_prompts_are_refused(trainer) -> None:
    ppo = trainer()
    with pytest.raises(ValueError, match="no prompts"):
        PPOTrainer(ppo.policy, ppo.reference, ppo.critic, count_a, TOKENIZER, [], QUICK)


def test_the_values_come_from_the_score_head_of_the_critic(trainer) -> None:
    ppo = trainer()
    with torch.no_grad():
        ppo.critic.score.weight.zero_()
    assert (ppo.roll_out().values == 0).all()
