"""Online methods: one call, one set of records, and each of them learns."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.models import loading
from helpers.models.endings import Ending
from helpers.recipes.online import as_rows, fit_ppo
from helpers.rewards.payment import Payment, over_all
from helpers.trainers import iterative_dpo, training
from helpers.trainers.online_settings import VARIANTS, Online
from helpers.trainers.rloo_grpo import fit_grouped

PROMPTS = [f"\n\nHuman: Name {what}.\n\nAssistant:" for what in ("a herb", "an oil")]
TOKENIZER = loading.build_tokenizer(PROMPTS, 270)
SETTINGS = Online(
    rollouts=12,
    episodes=32,
    epochs=2,
    minibatches=2,
    learning_rate=1e-2,
    critic_learning_rate=1e-2,
    kl_coef=0.01,
    max_prompt_length=24,
    max_new_tokens=6,
    missing_eos_penalty=0.0,
)


def score(name: str, letter: str):
    """A judge that counts a letter."""

    def counts(prompts: list[str], replies: list[str]) -> np.ndarray:
        return np.array([float(reply.count(letter)) for reply in replies])

    return SimpleNamespace(name=name, score=counts)


def payment(penalty: float = 0.0) -> Payment:
    ending = Ending(TOKENIZER)
    return Payment(score("reward", "a"), score("judge", "b"), ending, penalty)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("tiny")
    tiny = loading.build_opt(
        TOKENIZER, hidden=32, layers=1, heads=2, max_positions=64, seed=0
    )
    loading.save(tiny, TOKENIZER, out)
    return out


def fitted(method: str, folder, out, settings: Online = SETTINGS) -> list[dict]:
    """The records of a run; the policy starts from the folder's model."""
    torch.set_num_threads(1)
    paid, policy = payment(), loading.load_policy(folder).cpu()
    if method == "ppo":
        critic = loading.load_scorer(folder).cpu()
        log = fit_ppo(policy, critic, TOKENIZER, paid, PROMPTS, settings, out)
    else:
        log = fit_grouped(method, policy, TOKENIZER, paid, PROMPTS, settings, out)
    return as_rows(log, paid.seen, settings.rollouts * settings.episodes)


@pytest.mark.parametrize("method", ["ppo", "rloo", "grpo", "dpo_iter"])
def test_adapters_are_trained_in_place_and_merged(method, folder, tmp_path):
    policy, start = (loading.load_policy(folder).cpu() for _ in range(2))
    settings = replace(SETTINGS, rollouts=2, rounds=2, adapters=True)
    common = (TOKENIZER, payment(), PROMPTS, settings, tmp_path)
    if method == "ppo":
        log = fit_ppo(policy, None, *common)
    elif method == "dpo_iter":
        log = iterative_dpo.fit_iterative(policy, *common)
    else:
        log = fit_grouped(method, policy, *common)
    assert len(log) == 2
    loading.save(policy, TOKENIZER, tmp_path / "out")
    loaded = loading.load_policy(tmp_path / "out").cpu().state_dict()
    before = start.state_dict()
    assert loaded.keys() == before.keys()
    moved = {name for name in before if not torch.equal(before[name], loaded[name])}
    assert moved
    assert all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in moved)


def curve(rows: list[dict], metric: str) -> list[float]:
    return [row["value"] for row in rows if row["metric"] == metric]


@pytest.mark.parametrize("method", ["ppo", "rloo", "grpo"])
def test_every_method_learns_and_leaves_the_same_records(method, folder, tmp_path):
    rows = fitted(method, folder, tmp_path)
    reward = curve(rows, "reward")
    assert len(reward) == SETTINGS.rollouts and reward[-1] > reward[0] + 1
    steps = [row["step"] for row in rows if row["metric"] == "kl"]
    assert steps == list(range(32, 12 * 32 + 1, 32))
    shared = {"reward", "judged", "kl", "entropy", "reply_length", "ended", "tokens"}
    assert shared <= {row["metric"] for row in rows}
    if method != "grpo":  # measured there while the policy moves
        assert curve(rows, "kl")[0] == pytest.approx(0.0, abs=1e-4)
    lengths = np.array(curve(rows, "tokens")) / SETTINGS.episodes
    assert (lengths > np.array(curve(rows, "reply_length"))).all()  # prompts count too


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_the_same_seed_gives_the_same_records(method, folder, tmp_path) -> None:
    short = replace(SETTINGS, rollouts=2)
    assert fitted(method, folder, tmp_path, short) == fitted(
        method, folder, tmp_path, short
    )


def test_payment_remembers_both_scores_and_asks_for_an_end() -> None:
    paid, end = payment(penalty=1.5), TOKENIZER.eos_token_id
    scores = paid(
        prompts=PROMPTS, completions=["aab", "b"], completion_ids=[[5, 6], [7, end]]
    )
    assert scores == [2.0 - 1.5, 0.0]
    assert paid(prompts=PROMPTS, completions=["aab", "b"]) == [2.0, 0.0]
    seen = {"reward": 1.0, "judged": 1.0, "reward_spread": 1.0, "empty": 0.0}
    assert paid.seen == [{**seen, "ended": 0.5}, seen]


def test_the_spread_of_shares_is_that_of_all_replies() -> None:
    scores = np.array([[1.0, 2.0, 4.0], [0.0, 7.0, 7.0]])
    shares = [{"reward": x.mean(), "reward_spread": x.std()} for x in scores]
    found = over_all(shares)
    assert found["reward"] == pytest.approx(scores.mean())
    assert found["reward_spread"] == pytest.approx(scores.std())
    assert over_all([{"reward": 5.0, "reward_spread": 0.0}] * 2)["reward_spread"] == 0


def test_variants_change_what_they_say_and_no_more() -> None:
    changed = {name: replace(SETTINGS, **VARIANTS[name](SETTINGS)) for name in VARIANTS}
    assert changed.pop("ppo") == SETTINGS
    assert all(each != SETTINGS for each in changed.values())
    small = changed["ppo_small_batch"]
    assert small.episodes * small.rollouts == SETTINGS.episodes * SETTINGS.rollouts
    batches = [each.episodes // each.minibatches for each in (small, SETTINGS)]
    assert batches == [16, 16] and small.episodes < SETTINGS.episodes
    updates = [
        each.rollouts * each.epochs * each.minibatches for each in (small, SETTINGS)
    ]
    assert updates == [48, 48]
    for name, changes in (
        ("ppo_normalised_rewards", {"normalise_rewards": True}),
        ("ppo_normalised_values", {"normalise_values": True}),
    ):
        assert changed[name] == replace(SETTINGS, **changes)


# --- iterative DPO -------------------------------------------------------------------


def test_pairs_are_the_best_and_the_worst_of_each_prompt() -> None:
    encoded = [([1], [each]) for each in range(4)] + [
        ([2, 3], [each, 9]) for each in range(4)
    ]
    scores = np.array([0.0, 3.0, -1.0, 1.0, 5.0, 5.0, 5.0, 5.0])
    pairs = iterative_dpo.best_and_worst(encoded, scores, copies=4)
    assert pairs.to_list() == [
        {"prompt_ids": [1], "chosen_ids": [1], "rejected_ids": [2], "length": 3}
    ]  # the second prompt's replies are paid alike
    assert len(iterative_dpo.best_and_worst(encoded, np.zeros(8), copies=4)) == 0


def rounds(folder, out, settings) -> tuple[list[dict], object]:
    torch.set_num_threads(1)
    policy = loading.load_policy(folder).cpu()
    paid = payment()
    log = iterative_dpo.fit_iterative(policy, TOKENIZER, paid, PROMPTS, settings, out)
    return [entry | seen for entry, seen in zip(log, paid.seen, strict=True)], policy


def test_it_learns_what_is_paid_round_by_round(folder, tmp_path) -> None:
    settings = replace(SETTINGS, rounds=12, kl_coef=0.1, dpo_learning_rate=1e-2)
    log, _ = rounds(folder, tmp_path, settings)
    assert len(log) == 12
    assert log[0]["kl"] == pytest.approx(0, abs=1e-5)  # still the reference
    assert log[-1]["kl"] > 0.01
    assert log[-1]["reward"] > log[0]["reward"] + 1


def test_every_update_of_every_round_has_the_whole_rate(folder, tmp_path, monkeypatch):
    stock, rates = training.train, []

    def run(trainer):
        rows = stock(trainer)
        log = trainer.state.log_history
        rates.extend(e["learning_rate"] for e in log if "learning_rate" in e)
        return rows

    monkeypatch.setattr(training, "train", run)
    rounds(folder, tmp_path, replace(SETTINGS, rounds=2, rollouts=2))
    assert len(rates) >= 2 and set(rates) == {SETTINGS.dpo_learning_rate}


def test_the_same_seed_gives_the_same_rounds(folder, tmp_path) -> None:
    settings = replace(SETTINGS, rounds=2, rollouts=2)
    first, one = rounds(folder, tmp_path, settings)
    again, other = rounds(folder, tmp_path, settings)
    assert first == again
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_too_few_episodes_for_a_round_are_refused(folder, tmp_path) -> None:
    settings = replace(SETTINGS, rounds=400)
    with pytest.raises(ValueError, match="expected at least 1600 episodes"):
        rounds(folder, tmp_path, settings)
