"""PPO's parts by themselves: seed, decay, distances, scales, what must not move."""

import copy
from dataclasses import replace
from itertools import combinations, pairwise

import pandas as pd
import pytest
import torch

from helpers.config.schema import read_schema
from helpers.core.paths import PROJECT
from helpers.methods import BY_NAME, PARTS, POLICIES
from helpers.models import loading
from helpers.recipes import evaluate
from helpers.recipes.online import fit_ppo
from helpers.trainers.online_settings import VARIANTS, Online
from helpers.trainers.ppo.advantages import adapted, assign_credit
from helpers.trainers.ppo.config import PPOConfig
from helpers.trainers.ppo.moments import AveragedMoments
from helpers.trainers.ppo.trainer import PPOTrainer
from tests.unit.trainers.test_ppo import PROMPTS, QUICK, TOKENIZER, count_a, trained

peft = pytest.importorskip("peft")
TARGETS = ["q_proj", "v_proj"]


def tiny(**changes):
    """A policy of one layer, the same each time; changes of its configuration."""
    policy = loading.build_opt(
        TOKENIZER, hidden=32, layers=1, heads=2, max_positions=64, seed=0
    )
    config = type(policy.config)(**{**policy.config.to_dict(), **changes})
    changed = type(policy)(config)
    changed.load_state_dict(policy.state_dict())
    return changed


@pytest.fixture
def build(tmp_path):
    """A trainer on the letter a; `parts` are its models, the rest its settings."""
    loading.save(tiny(), TOKENIZER, tmp_path / "tiny")

    def built(policy=None, reward=count_a, parts=None, **changes) -> PPOTrainer:
        torch.set_num_threads(1)
        args = PPOConfig(**{"output_dir": str(tmp_path), **QUICK, **changes})
        critic = loading.load_scorer(tmp_path / "tiny").cpu()
        given = {"value_model": critic, **(parts or {})}
        policy = policy or tiny()
        return PPOTrainer(policy, reward, args, PROMPTS, TOKENIZER, **given)

    return built


# --- the seed ------------------------------------------------------------------------


def test_adapters_follow_the_seed_whatever_was_drawn_before(build) -> None:
    lora = peft.LoraConfig(r=2, target_modules=TARGETS)

    def weights(drawn: int, seed: int) -> torch.Tensor:
        torch.manual_seed(drawn)
        ppo = build(parts={"peft_config": lora}, seed=seed)
        named = ppo.model.policy.named_parameters()
        return torch.cat([p.flatten() for n, p in named if "lora_A" in n])

    assert torch.equal(weights(1, seed=3), weights(2, seed=3))
    assert not torch.equal(weights(1, seed=3), weights(1, seed=4))


# --- weight decay --------------------------------------------------------------------


def shrunk(ppo: PPOTrainer) -> dict[str, float]:
    """What a step without gradients leaves of each weight, all of them 1 before."""
    with torch.no_grad():
        for parameter in ppo.model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    ppo.create_optimizer().step()
    return {name: p.mean().item() for name, p in ppo.model.named_parameters()}


def test_nothing_decays_unless_it_is_asked_for(build) -> None:
    assert set(shrunk(build()).values()) == {1.0}


def test_weights_decay_but_neither_norms_nor_biases(build) -> None:
    ppo = build(weight_decay=0.5, learning_rate=0.1, critic_learning_rate=0.2)
    left = shrunk(ppo)
    decayed = {name for name, value in left.items() if value != 1.0}
    assert decayed == left.keys() & set(ppo.get_decay_parameter_names(ppo.model))
    assert not any("norm" in name or "bias" in name for name in decayed)
    assert any("embed" in name for name in decayed)  # as for every Trainer
    for name in decayed:
        rate = 0.1 if name.startswith("policy.") else 0.2
        assert left[name] == pytest.approx(1 - rate * 0.5), name
    rates = [group["lr"] for group in ppo.optimizer.param_groups]
    assert rates == [0.1, 0.1, 0.2, 0.2]


# --- distances -----------------------------------------------------------------------


def test_the_divergence_is_from_the_start_when_the_reference_moves(build) -> None:
    """Without a penalty the reference plays no part, so nothing else may change."""
    settings = {"kl_coef": 0.0, "learning_rate": 1e-2, "rollouts": 4}
    still = trained(build(**settings))
    moving = trained(build(**settings, ref_ema=0.5))
    distances = [record.pop("kl_reference") for record in moving]
    assert moving == still
    assert still[-1]["kl_k3"] > 1e-3
    assert distances[0] == still[0]["kl"]
    assert abs(distances[-1]) < abs(still[-1]["kl"])


def test_the_penalty_is_from_the_reference_where_it_has_moved(build) -> None:
    ppo = build(ref_ema=0.5, kl_coef=0.5)
    rollout = ppo.roll_out(0)
    assert torch.equal(rollout.start_logprobs, rollout.reference_logprobs)
    reference = rollout.logprobs - 0.1 * rollout.mask
    rollout = replace(rollout, reference_logprobs=reference)
    credit = assign_credit(rollout, rollout.scores, ppo.args, 0.5)
    expected = rollout.scores - 0.5 * 0.1 * rollout.mask.sum(1)
    assert torch.allclose(credit.rewards.sum(1), expected, atol=1e-5)


def test_the_coefficient_seeks_the_divergence_that_it_weighs(build) -> None:
    settings = {"target_kl": 1.0, "kl_horizon": 16, "learning_rate": 1e-2}
    ppo = build(**settings, ref_ema=0.5, rollouts=4)
    records = trained(ppo)
    for before, after in pairwise(records):
        expected = adapted(before["kl_coef"], before["kl_reference"], 8, ppo.args)
        assert after["kl_coef"] == pytest.approx(expected)
    assert before["kl_reference"] < 0.8 and before["kl"] > 1.2  # they part on the way


@pytest.mark.parametrize("adapters", [False, True])
def test_a_rate_of_zero_leaves_all_ratios_at_one(build, adapters: bool) -> None:
    """Nothing moves, so dropout is all that could part policies: it stays off."""
    policy = tiny(dropout=0.3, attention_dropout=0.3).train()
    if adapters:  # drawn, since new ones are zero, and so would be their dropout
        lora = peft.LoraConfig(
            r=2, target_modules=TARGETS, lora_dropout=0.05, init_lora_weights=False
        )
        policy = peft.get_peft_model(policy, lora)
    parts = {"ref_model": copy.deepcopy(policy)}
    rates = {"learning_rate": 0.0, "critic_learning_rate": 0.0, "cliprange": 1e-5}
    for record in trained(build(policy, parts=parts, **rates)):
        assert record["ratio"] == pytest.approx(1.0, abs=1e-6)
        assert record["clip_fraction"] == 0.0  # not one is off by 1e-5
        assert record["kl"] == pytest.approx(0.0, abs=1e-5)
        assert record["kl_k3"] == pytest.approx(0.0, abs=1e-6)


# --- scales --------------------------------------------------------------------------


def near(*values):
    """The numbers, nearly."""
    return pytest.approx([float(value) for value in values], rel=1e-4)


def test_averaged_moments_weigh_batches_by_their_age() -> None:
    moments, first, second = AveragedMoments(0.5), torch.randn(9), torch.randn(5) * 9
    assert moments.scale() == (0.0, 1.0)
    moments.update(first)
    assert list(moments.scale()) == near(first.mean(), first.std(correction=0))
    moments.update(second)
    mean = (first.mean() + 2 * second.mean()) / 3  # 1/4 and 1/2, of 3/4
    square = (first.square().mean() + 2 * second.square().mean()) / 3
    spread = (square - mean**2).sqrt()
    assert list(moments.scale()) == near(mean, spread)
    values = torch.tensor([[-1.0, 2.0]])
    assert torch.allclose(moments.normalise(values), (values - mean) / spread)
    assert torch.allclose(moments.restore(moments.normalise(values)), values)
    assert moments.normalise(mean + 99 * spread) == 5.0
    same = AveragedMoments()
    same.update(torch.full((4,), 7.0))
    assert list(same.scale()) == near(7.0, 0.1)


def test_a_critic_of_normalised_values_is_read_and_taught_on_its_scale(build) -> None:
    ppo = build(lam=0.5, whiten_advantages=False, kl_coef=0.0)
    rollout, scale, plain = ppo.roll_out(0), AveragedMoments(), AveragedMoments()
    for moments in (scale, plain):
        moments.update(torch.tensor([2.0, 6.0]))  # mean 4, spread 2
    restored = (rollout.values * 2 + 4) * rollout.mask
    expected = assign_credit(
        replace(rollout, values=restored), rollout.scores, ppo.args, 0.0
    )
    found = assign_credit(rollout, rollout.scores, ppo.args, 0.0, scale)
    for name in ("rewards", "advantages", "returns", "values"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-5)
    plain.update(expected.returns[rollout.mask])
    targets = plain.normalise(expected.returns) * rollout.mask
    assert torch.allclose(found.targets, targets, atol=1e-5)
    assert torch.equal(expected.targets, expected.returns)


def test_with_normalised_values_the_scale_of_rewards_is_nothing_to_the_critic(build):
    def large(prompts, completions):
        return 30 + 20 * count_a(prompts, completions)

    def losses(**changes) -> list[float]:
        records = trained(build(reward=large, reward_clip=1e3, **changes))
        return [record["value_loss"] for record in records]

    plain, normalised = losses(), losses(normalise_values=True)
    assert plain[0] > 400.0  # half the square of their mean
    assert max(normalised) < 1.0


# --- the variants of 07 --------------------------------------------------------------

SMALL = Online(
    rollouts=2,
    episodes=8,
    epochs=1,
    minibatches=2,
    learning_rate=1e-2,
    critic_learning_rate=1e-2,
    kl_coef=0.1,
    max_prompt_length=24,
    max_new_tokens=6,
)


def test_every_variant_trains_otherwise_than_ppo(build, tmp_path) -> None:
    def losses(name: str) -> list[tuple]:
        settings = replace(SMALL, **VARIANTS[name](SMALL))
        critic = loading.load_scorer(tmp_path / "tiny").cpu()
        log = fit_ppo(tiny(), critic, TOKENIZER, count_a, PROMPTS, settings, tmp_path)
        assert len(log) == settings.rollouts
        return [(each["policy_loss"], each["value_loss"], each["kl"]) for each in log]

    build()  # saves the critic
    torch.set_num_threads(1)
    found = [losses(name) for name in ("ppo", *PARTS)]
    assert all(one != other for one, other in combinations(found, 2))


def test_every_variant_of_07_is_examined_but_not_compared() -> None:
    schema = read_schema(PROJECT.notebook("07_ppo"))
    assert tuple(f"ppo_{name}" for name in schema["variants"].choices) == PARTS
    assert set(PARTS) < set(POLICIES)
    assert set(PARTS) == set(VARIANTS) - {"ppo", "ppo_huge_rate"}
    assert {BY_NAME[name].stage for name in PARTS} == {"07_ppo"}
    records = pd.DataFrame({"method": ["sft", "ppo", *PARTS]})
    assert list(evaluate.without_parts(records)["method"]) == ["sft", "ppo"]
    assert not set(PARTS) & set(evaluate.REFERENCE_OF)
