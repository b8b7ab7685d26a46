"""Scores of frozen models: as read alone, kept on disk, and turned into weights."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from helpers.losses import preference
from helpers.models import loading
from helpers.models.scoring import exact_kl, token_scores
from helpers.trainers import reference, tis_weights
from helpers.trainers.reference import SIDES, cached_scores, pair_scores
from helpers.trainers.tis_weights import (
    contrastive_weights,
    permuted_weights,
    weight_rows,
)

ROWS = [
    ([3, 4, 5, 6], [7, 8], [9]),
    ([3], [4, 5, 6, 7, 8, 9], [4, 5]),
    ([9, 8, 7, 6, 5, 4, 3], [3], [3, 4, 5, 6]),
]
NAMES = ("prompt_ids", "chosen_ids", "rejected_ids")


@pytest.fixture
def pairs() -> Dataset:
    return Dataset.from_dict(dict(zip(NAMES, map(list, zip(*ROWS)))))


def small(seed: int):
    tokenizer = loading.build_tokenizer(["tea"], 260)
    shape = {"hidden": 16, "layers": 2, "heads": 2, "max_positions": 32}
    return loading.build_opt(tokenizer, **shape, seed=seed)


def test_scores_are_those_of_replies_read_alone(pairs):
    model = small(0).train()
    found = pair_scores(model, pairs)
    assert model.training  # left as it was found
    for side in SIDES:
        for row, scores in enumerate(found[side]):
            one = pairs["prompt_ids"][row], pairs[f"{side}_ids"][row]
            np.testing.assert_allclose(scores, token_scores(model, [one])[0], atol=1e-5)


def test_scores_are_computed_once_for_a_model_and_its_pairs(
    pairs, tmp_path, monkeypatch
):
    model, folder = small(0), tmp_path / "cache"
    first = cached_scores(model, pairs, folder)
    assert [path.suffix for path in folder.iterdir()] == [".parquet"]
    with monkeypatch.context() as patch:
        patch.setattr(reference, "pair_scores", None)  # would fail
        again = cached_scores(model, pairs, folder)
    for side in SIDES:
        for one, other in zip(first[side], again[side], strict=True):
            np.testing.assert_array_equal(one, other)
    cached_scores(small(1), pairs, folder)
    cached_scores(model, pairs.select([0, 1]), folder)
    with torch.no_grad():
        model.get_input_embeddings().weight[5] += 1
    cached_scores(model, pairs, folder)
    assert len(list(folder.iterdir())) == 4


def test_without_a_folder_nothing_is_kept(pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(cached_scores(small(0), pairs, None)) == 3
    assert not list(tmp_path.iterdir())


def test_weights_of_tokens_are_equation_nineteen(pairs):
    better, worse = small(0), small(1)
    weighted = contrastive_weights(better, worse, pairs)
    ours, theirs = pair_scores(better, pairs), pair_scores(worse, pairs)
    for side, mu in (("chosen", 1), ("rejected", -1)):
        for row, weights in enumerate(weighted[f"{side}_weights"]):
            ratio = np.clip(ours[side][row] - theirs[side][row], -0.5, 1.5)
            np.testing.assert_allclose(weights, np.exp(mu * ratio), rtol=1e-5)


def test_a_control_deals_the_same_weights_to_other_tokens(pairs):
    weighted = contrastive_weights(small(0), small(1), pairs)
    first, again, other = (permuted_weights(weighted, seed) for seed in (0, 0, 1))
    for side in SIDES:
        name, ids = f"{side}_weights", f"{side}_ids"
        assert list(map(len, first[name])) == list(map(len, pairs[ids]))
        had, has = (np.concatenate(list(data[name])) for data in (weighted, first))
        np.testing.assert_array_equal(np.sort(had), np.sort(has))
        assert (had != has).any()
        assert list(first[name]) == list(again[name]) != list(other[name])


def test_equal_weights_are_one(pairs):
    equal = tis_weights.equal_weights(pairs)
    assert list(equal["rejected_weights"]) == [[1.0] * len(row[2]) for row in ROWS]


def test_it_is_told_how_weights_are_spread(pairs):
    low, high = np.exp(np.float32(preference.TIS_RANGE)).tolist()  # of chosen replies
    chosen = [[1.0, low], [1.0, 1.0, 1.0, high, 1.2, 0.8], [1.0]]
    rejected = [[1 / high], [1.0, 1.5], [1.0] * 4]
    weighted = pairs.add_column("chosen_weights", chosen)
    weighted = weighted.add_column("rejected_weights", rejected)
    found = {row["metric"]: row["value"] for row in weight_rows(weighted)}
    flat = np.concatenate(chosen)
    assert found["weight_mean_chosen"] == pytest.approx(np.mean(flat))
    assert found["weight_sd_chosen"] == pytest.approx(np.std(flat))
    assert found["weight_q50_chosen"] == 1.0
    assert found["weight_q95_chosen"] == pytest.approx(np.quantile(flat, 0.95))
    assert found["weight_clamped_chosen"] == pytest.approx(2 / 9)
    assert found["weight_clamped_rejected"] == pytest.approx(1 / 7)
    assert len(found) == 2 * (2 + 5 + 1)


# --- KL along replies -----------------------------------------------------------------


def test_exact_kl_is_the_mean_log_ratio_of_all_replies():
    """Two-token replies are few enough to count them all: chain rule of the KL."""
    policy, other = small(0), small(1)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(3)  # models far apart, so that the number is not near zero
    prompt, tokens = [3, 4, 5], range(policy.config.vocab_size)
    first = [
        model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1).detach().double()
        for model in (policy, other)
    ]
    expected = (first[0].exp() * (first[0] - first[1])).sum()
    replies = [(prompt, [token, 7]) for token in tokens]
    second = exact_kl(policy, other, replies, batch_size=64) - expected.item()
    # second holds, for each first token, the KL of what follows it
    assert (second > -1e-5).all()
    total = expected + (first[0].exp() * torch.from_numpy(second)).sum()
    ratios = torch.stack([pair_logprobs(model, prompt) for model in (policy, other)])
    by_hand = (ratios[0].exp() * (ratios[0] - ratios[1])).sum()
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-4)
    assert by_hand > 0.01


def pair_logprobs(model, prompt: list[int]) -> torch.Tensor:
    """Log-probability of every two tokens after the prompt, (V, V)."""
    size = model.config.vocab_size
    ids = torch.tensor([[*prompt, token] for token in range(size)])
    with torch.no_grad():
        logits = model(ids).logits[:, -2:].double().log_softmax(-1)
    return logits[:, 0].diagonal().unsqueeze(1) + logits[:, 1]


def test_a_policy_is_at_no_distance_from_itself():
    model = small(0)
    found = exact_kl(model, model, [([3, 4], [5, 6, 7]), ([8], [9])])
    np.testing.assert_allclose(found, 0, atol=1e-6)
