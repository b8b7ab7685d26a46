"""Losses: fp64 gradients, closed forms, and masks that hide their padding."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from helpers.losses import policy_gradient, preference, token_level

B, T, V = 3, 5, 7
CLIP = 0.2


def doubles(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, dtype=torch.float64, generator=generator)


def ragged_mask(side: str = "right") -> Tensor:
    mask = torch.arange(T) < torch.tensor([[5], [2], [4]])
    return mask if side == "right" else mask.flip(1)


def check_gradient(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    assert gradcheck(function, tuple(x.clone().requires_grad_() for x in inputs))


# --- gradients in double precision ---------------------------------------------------


def test_gradients_of_preference_losses() -> None:
    chosen, rejected = doubles(B, seed=1), doubles(B, seed=2)
    logprobs, mask = doubles(B, T, seed=3), ragged_mask()
    check_gradient(preference.bradley_terry, chosen, rejected)
    check_gradient(
        lambda *x: preference.pmp(*x, mask, rm_coef=0.7, lm_coef=1.3),
        chosen,
        rejected,
        logprobs,
    )
    check_gradient(
        lambda *x: preference.dpo_implicit_reward(*x, beta=0.3).sum(), chosen, rejected
    )


def test_gradients_of_ipo_and_of_token_weighted_dpo() -> None:
    chosen, rejected = doubles(B, seed=1), doubles(B, seed=2)
    check_gradient(lambda *x: preference.ipo(*x, tau=0.3), chosen, rejected)
    logratios = doubles(B, T, seed=3), doubles(B, T, seed=4)
    weights = [preference.tis_weights(doubles(B, T, seed=seed), 1) for seed in (5, 6)]
    check_gradient(
        lambda *x: preference.tis_dpo(*x[:4], beta=0.3, eta=x[4]),
        *logratios,
        *weights,
        doubles(B, seed=7),
    )
    inside = doubles(B, T, seed=8, scale=0.1)
    check_gradient(lambda x: preference.tis_weights(x, -1), inside)


def test_gradients_of_normalised_and_of_robust_dpo() -> None:
    chosen, rejected = doubles(B, seed=1), doubles(B, seed=2)
    check_gradient(lambda *x: preference.dpo(*x, beta=2.0), chosen, rejected)
    check_gradient(
        lambda *x: preference.dpo_robust(*x, beta=0.3, noise=0.1), chosen, rejected
    )


def test_gradients_of_token_functions() -> None:
    logits, ids = doubles(B, T, V), torch.arange(B * T).view(B, T) % V
    check_gradient(lambda x: token_level.token_logprobs(x, ids), logits)
    check_gradient(token_level.token_entropy, logits)
    for function in (
        token_level.masked_mean,
        token_level.masked_variance,
        token_level.masked_whiten,
    ):
        check_gradient(lambda x, f=function: f(x, ragged_mask()), doubles(B, T))


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_gradients_of_kl_estimates(kind: str) -> None:
    reference = doubles(B, T, seed=2)
    check_gradient(
        lambda x: policy_gradient.kl_estimate(x, reference, kind), doubles(B, T)
    )


def test_gradients_of_clipped_losses() -> None:
    # spread wide enough that some tokens are inside and some outside the clip range
    old, mask = doubles(B, T, seed=4), ragged_mask()
    new, target = old + doubles(B, T, seed=5, scale=0.4), doubles(B, T, seed=6)
    outside = ((new - old).exp() - 1).abs()[mask] > CLIP
    assert outside.any() and not outside.all()
    check_gradient(
        lambda x: policy_gradient.ppo_policy_loss(x, old, target, mask, CLIP), new
    )
    check_gradient(
        lambda x: policy_gradient.value_loss(x, old, target, mask, CLIP), new
    )


# --- closed forms --------------------------------------------------------------------


def test_bradley_terry_is_minus_log_of_the_win_probability() -> None:
    chosen, rejected = torch.tensor([0.0, math.log(3)]), torch.zeros(2)
    expected = -(math.log(1 / 2) + math.log(3 / 4)) / 2
    assert preference.bradley_terry(chosen, rejected).item() == pytest.approx(expected)


def test_bradley_terry_is_finite_for_hopeless_pairs() -> None:
    loss = preference.bradley_terry(torch.tensor([-500.0]), torch.tensor([500.0]))
    assert loss.item() == pytest.approx(1000.0)


def test_pmp_adds_reward_and_reply_loss_with_their_weights() -> None:
    rewards = torch.zeros(2), torch.zeros(2)
    logprobs = torch.tensor([[-1.0, -3.0], [-5.0, -99.0]])
    mask = torch.tensor([[True, True], [True, False]])
    loss = preference.pmp(*rewards, logprobs, mask, rm_coef=2.0, lm_coef=10.0)
    assert loss.item() == pytest.approx(2 * math.log(2) + 10 * 3.0)


def test_dpo_implicit_reward_scales_the_log_ratio() -> None:
    reward = preference.dpo_implicit_reward(
        torch.tensor([-2.0]), torch.tensor([-5.0]), 0.1
    )
    assert reward.item() == pytest.approx(0.3)


def test_ipo_is_least_at_its_margin() -> None:
    chosen, rejected = torch.tensor([3.0, 1.0]), torch.tensor([-2.0, 1.0])
    assert preference.ipo(chosen, rejected, tau=0.1).item() == pytest.approx(
        (0 + 25) / 2
    )


def test_normalised_dpo_in_closed_form() -> None:
    lengths = torch.tensor([4.0, 2.0])
    chosen, rejected = torch.tensor([8.0, 1.0]) / lengths, torch.tensor([1.0, 0.5])
    loss = preference.dpo(chosen, rejected, beta=2.0).item()
    assert loss == pytest.approx((math.log(1 + math.exp(-2)) + math.log(2)) / 2)


def test_robust_dpo_is_unbiased_under_flipped_labels() -> None:
    chosen, rejected = torch.tensor([3.0]), torch.tensor([-2.0])
    noise, given = 0.1, {"beta": 0.3}
    right = preference.dpo_robust(chosen, rejected, noise=noise, **given)
    wrong = preference.dpo_robust(rejected, chosen, noise=noise, **given)
    expected = math.log(1 + math.exp(-0.3 * 5))  # of DPO on the true labels
    assert ((1 - noise) * right + noise * wrong).item() == pytest.approx(expected)
    by_hand = (0.9 * expected - 0.1 * math.log(1 + math.exp(0.3 * 5))) / 0.8
    assert right.item() == pytest.approx(by_hand)
    without = preference.dpo_robust(chosen, rejected, noise=0.0, **given)
    assert without.item() == pytest.approx(expected)


def test_labels_that_are_half_noise_are_refused() -> None:
    with pytest.raises(ValueError, match="0.5"):
        preference.dpo_robust(torch.zeros(1), torch.zeros(1), beta=0.3, noise=0.5)


def test_weights_of_tokens_stay_in_the_papers_range() -> None:
    ratios = torch.tensor([-9.0, 0.0, 0.5, 9.0])
    chosen = [math.exp(-0.5), 1.0, math.exp(0.5), math.exp(1.5)]
    assert preference.tis_weights(ratios, 1).tolist() == pytest.approx(chosen)
    rejected = [1 / each for each in chosen]
    assert preference.tis_weights(ratios, -1).tolist() == pytest.approx(rejected)


def test_token_weighted_dpo_in_closed_form() -> None:
    ratios = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 9.0]])
    weights = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 0.0]])  # 0: padding
    loss = preference.tis_dpo(*ratios, *weights, beta=0.5, eta=torch.tensor([1.0]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-(0.5 * (7 - 1) - 1))))


def test_token_logprobs_and_entropy_of_known_distributions() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]).log() + 7.0
    logprobs = token_level.token_logprobs(logits, torch.tensor([1, 2]))
    assert logprobs.tolist() == pytest.approx([math.log(0.25), math.log(1 / 3)])
    entropies = token_level.token_entropy(logits).tolist()
    assert entropies == pytest.approx([1.5 * math.log(2), math.log(3)])


def test_policy_loss_stops_paying_beyond_the_clip_range() -> None:
    ratio = torch.tensor([[0.5, 1.0, 2.0]])
    mask, old = torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3)
    good = policy_gradient.ppo_policy_loss(
        ratio.log(), old, torch.ones(1, 3), mask, CLIP
    )
    bad = policy_gradient.ppo_policy_loss(
        ratio.log(), old, -torch.ones(1, 3), mask, CLIP
    )
    assert good.item() == pytest.approx(-(0.5 + 1.0 + 1.2) / 3)
    assert bad.item() == pytest.approx((0.8 + 1.0 + 2.0) / 3)


def test_value_loss_takes_the_worse_of_plain_and_clipped() -> None:
    values, old = torch.tensor([[1.0, 0.1]]), torch.zeros(1, 2)
    returns, mask = torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool)
    loss = policy_gradient.value_loss(values, old, returns, mask, CLIP)
    assert loss.item() == pytest.approx((0.8**2 + 0.9**2) / 2 / 2)
    plain = policy_gradient.value_loss(values, old, returns, mask, math.inf)
    assert plain.item() == pytest.approx((0.0 + 0.9**2) / 2 / 2)


def test_explained_variance_of_perfect_constant_and_unvarying() -> None:
    returns, mask = doubles(B, T), ragged_mask()
    perfect = policy_gradient.explained_variance(returns, returns + 3, mask)
    constant = policy_gradient.explained_variance(
        returns, torch.full_like(returns, 9.0), mask
    )
    nothing = policy_gradient.explained_variance(
        torch.ones_like(returns), returns, mask
    )
    assert perfect.item() == pytest.approx(1.0)
    assert constant.item() == pytest.approx(0.0)
    assert nothing.isnan()


# --- padding -------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_statistics_ignore_padding_on_either_side(side: str) -> None:
    mask, values = ragged_mask(side), doubles(B, T)
    kept = values[mask]
    padded = torch.where(mask, values, torch.nan)
    assert torch.allclose(token_level.masked_mean(padded, mask), kept.mean())
    variance = token_level.masked_variance(padded, mask)
    assert torch.allclose(variance, kept.var(correction=0))
    white = token_level.masked_whiten(padded, mask)
    assert abs(white[mask].mean()) < 1e-12
    assert white[mask].var(correction=0).item() == pytest.approx(1.0)
    assert (white[~mask] == 0).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_losses_ignore_padding_on_either_side(side: str) -> None:
    mask = ragged_mask(side)
    inputs = [doubles(B, T, seed=seed, scale=0.3) for seed in range(3)]
    spoiled = [torch.where(mask, x, torch.nan) for x in inputs]
    for loss in (policy_gradient.ppo_policy_loss, policy_gradient.value_loss):
        flat = [x[mask].unsqueeze(0) for x in inputs]
        everything = torch.ones_like(flat[0], dtype=torch.bool)
        expected = loss(*flat, everything, CLIP)
        assert torch.allclose(loss(*spoiled, mask, CLIP), expected)


def test_padding_gets_no_gradient() -> None:
    mask = ragged_mask()
    inputs = [doubles(B, T, seed=seed) for seed in range(3)]
    inputs[0].requires_grad_()
    policy_gradient.ppo_policy_loss(*inputs, mask, CLIP).backward()
    assert (inputs[0].grad[~mask] == 0).all()
    assert (inputs[0].grad[mask] != 0).any()


# --- advantages ----------------------------------------------------------------------


def naive_gae(rewards: list, values: list, gamma: float, lam: float) -> list[float]:
    """Eq. 16 of Schulman et al. 2016 as its double sum, one episode, no padding."""
    ahead = [*values[1:], 0.0]
    deltas = [r + gamma * v for r, v in zip(rewards, ahead)]
    deltas = [d - v for d, v in zip(deltas, values)]
    return [
        sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, len(deltas)))
        for t in range(len(deltas))
    ]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
    left=st.booleans(),
    seed=st.integers(0, 999),
)
def test_gae_equals_the_double_sum(
    lengths: list[int], gamma: float, lam: float, left: bool, seed: int
) -> None:
    width = max(lengths) + 1
    mask = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    mask = mask.flip(1) if left else mask
    rewards, values = doubles(2, len(lengths), width, seed=seed)
    spoiled = [torch.where(mask, x, torch.nan) for x in (rewards, values)]
    advantages, returns = policy_gradient.gae(*spoiled, mask, gamma, lam)
    for row, kept in enumerate(mask):
        episode = rewards[row, kept].tolist(), values[row, kept].tolist()
        expected = torch.tensor(naive_gae(*episode, gamma, lam), dtype=torch.float64)
        assert torch.allclose(advantages[row, kept], expected)
        assert torch.allclose(returns[row, kept], expected + values[row, kept])
    assert (advantages[~mask] == 0).all()


def test_gae_without_discount_is_reward_to_go_minus_value() -> None:
    rewards, values, mask = doubles(B, T), doubles(B, T, seed=1), ragged_mask()
    rewards = rewards * mask
    advantages, returns = policy_gradient.gae(rewards, values, mask, gamma=1.0, lam=1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    assert torch.allclose(advantages[mask], (to_go - values)[mask])
    assert torch.allclose(returns[mask], to_go[mask])


# --- divergence ----------------------------------------------------------------------


def test_kl_estimates_in_expectation_over_the_policy() -> None:
    policy = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    reference = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    exact = (policy * (policy / reference).log()).sum().item()

    def expected(kind: str) -> Tensor:
        estimate = policy_gradient.kl_estimate(policy.log(), reference.log(), kind)
        return (policy * estimate).sum().item()

    assert expected("k1") == pytest.approx(exact)
    assert expected("k3") == pytest.approx(exact)
    assert expected("k2") != pytest.approx(exact, rel=0.01)


def test_k2_and_k3_are_never_negative_where_k1_is() -> None:
    policy, reference = torch.tensor([-3.0, -1.0]), torch.tensor([-1.0, -3.0])
    assert policy_gradient.kl_estimate(policy, reference, "k1").tolist() == [-2.0, 2.0]
    for kind in ("k2", "k3"):
        assert (policy_gradient.kl_estimate(policy, reference, kind) > 0).all()


def test_unknown_kl_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match="k4.*expected k1, k2 or k3"):
        policy_gradient.kl_estimate(torch.zeros(1), torch.zeros(1), "k4")


def test_token_kl_is_that_of_the_distributions() -> None:
    logits, other = torch.randn(2, 3, 7, 11, dtype=torch.float64)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Categorical(logits=other),
    )
    torch.testing.assert_close(token_level.token_kl(logits, other), expected)
    assert (token_level.token_kl(logits, logits + 3).abs() < 1e-12).all()
