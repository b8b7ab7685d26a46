"""Trainers of replies and pairs: one batch, held against dialogues read alone."""

from copy import deepcopy
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from helpers.losses import preference, token_level
from helpers.models import loading
from helpers.trainers import datasets, reference, tis_weights, training
from tests.conformance.conftest import (
    FIT,
    LENGTH,
    PAIRS,
    assert_same,
    gradients,
    logprobs_alone,
)


def policy_of(kind):
    """A policy and its tokenizer; dropout is off, which SFT leaves to the model."""
    policy = loading.load_policy(kind).cpu()
    loading.disable_dropout(policy)
    return policy, loading.load_tokenizer(kind)


def wandered(policy):
    """A copy that has moved away from where it started."""
    moved, random = deepcopy(policy), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.add_(torch.randn(weight.shape, generator=random), alpha=0.05)
    return moved


def said(tokenizer, prompt: list[int], ids: list[int]) -> str:
    """What ids say after those of a prompt, special tokens spelled out."""
    before = tokenizer.decode(prompt)
    return tokenizer.decode([*prompt, *ids])[len(before) :]


# --- SFT -----------------------------------------------------------------------------


def test_sft_learns_the_reply_and_its_end_and_nothing_else(kind, taken, tmp_path):
    policy, tokenizer = policy_of(kind)
    naive = deepcopy(policy)
    replies = PAIRS["chosen"].tolist()
    data = datasets.reply_dataset(PAIRS["prompt"].tolist(), replies, tokenizer, LENGTH)
    driver = training.fit_language_model
    found = taken(driver, policy, tokenizer, data, FIT, tmp_path)
    spelled, rows, names = [], [], ("input_ids", "labels", "attention_mask")
    for ids, labels, mask in zip(*(found.batch[name] for name in names)):
        ids, labels = ids[mask.bool()].tolist(), labels[mask.bool()].tolist()
        start = next(at for at, label in enumerate(labels) if label != -100)
        assert labels[start:] == ids[start:]  # once begun, to the end
        spelled.append(said(tokenizer, ids[:start], ids[start:]))
        rows.append((ids[:start], ids[start:]))
    assert sorted(spelled) == sorted(text + tokenizer.eos_token for text in replies)
    total = -torch.cat([logprobs_alone(naive, *row) for row in rows]).mean()
    assert found.loss == pytest.approx(total.item(), rel=1e-5)
    total.backward()
    assert_same(found.gradients, gradients(naive))


def test_a_base_model_learns_every_token(kind, taken, tmp_path):
    policy, tokenizer = policy_of(kind)
    texts = PAIRS["prompt"].tolist(), PAIRS["chosen"].tolist()
    data = datasets.reply_dataset(*texts, tokenizer, LENGTH, whole=True)
    driver = training.fit_language_model
    batch = taken(driver, policy, tokenizer, data, FIT, tmp_path).batch
    real = batch["attention_mask"].bool()
    assert torch.equal(batch["labels"][real], batch["input_ids"][real])
    assert (batch["labels"][~real] == -100).all()


# --- pairs ---------------------------------------------------------------------------


def pairs_of(tokenizer, batch) -> list[tuple[list[int], list[int], list[int]]]:
    """(prompt, chosen, rejected) ids of a batch of pairs, checked against the texts."""
    rows = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"])
    ]
    half, found = len(rows) // 2, []
    asked = {
        (pair.chosen, pair.rejected): len(
            datasets.encode(tokenizer, pair.prompt, pair.chosen, LENGTH)[0]
        )
        for pair in PAIRS.itertuples()
    }
    for chosen, rejected in zip(rows[:half], rows[half:]):
        for texts, length in asked.items():
            parts = [row[length:] for row in (chosen, rejected)]
            prompt = chosen[:length]
            spelled = [said(tokenizer, prompt, ids) for ids in parts]
            if spelled == [text + tokenizer.eos_token for text in texts]:
                assert rejected[:length] == prompt
                found.append((prompt, *parts))
    assert len(found) == len(PAIRS)
    return found


def reward_alone(scorer, prompt: list[int], reply: list[int]):
    """The score at the last token of a dialogue that is read alone."""
    ids = torch.tensor([[*prompt, *reply]])
    hidden = scorer.base_model(input_ids=ids).last_hidden_state
    return scorer.score(hidden[0, -1]).squeeze()


def test_a_reward_model_is_trained_at_the_end_that_is_scored(kind, taken, tmp_path):
    tokenizer = loading.load_tokenizer(kind)
    scorer = loading.load_scorer(kind, seed=1).cpu()
    naive = deepcopy(scorer).eval()
    data = datasets.pair_dataset(PAIRS, tokenizer, LENGTH)
    driver = training.fit_reward_model
    found = taken(driver, scorer, tokenizer, data, FIT, tmp_path)
    rows = pairs_of(tokenizer, found.batch)
    chosen, rejected = (
        torch.stack([reward_alone(naive, row[0], row[side]) for row in rows])
        for side in (1, 2)
    )
    expected = preference.bradley_terry(chosen, rejected)
    assert found.loss == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    assert_same(found.gradients, gradients(naive))


def test_what_is_saved_is_read_at_the_same_token_by_the_stock_forward(kind, tmp_path):
    tokenizer = loading.load_tokenizer(kind)
    scorer = loading.load_scorer(kind, seed=1).cpu()
    loading.save(scorer, tokenizer, tmp_path)
    stock = loading.load_scorer(tmp_path).cpu()
    again = loading.load_tokenizer(tmp_path)
    rows = [
        datasets.encode(again, pair.prompt, pair.chosen, LENGTH)
        for pair in PAIRS.itertuples()
    ]
    again.padding_side = "right"  # GPT-2 counts positions from the first column
    batch = again.pad({"input_ids": [p + r for p, r in rows]}, return_tensors="pt")
    with torch.no_grad():
        found = stock(**batch).logits[:, 0]
        expected = torch.stack([reward_alone(stock, *row) for row in rows])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_codepmp_reads_rewards_and_words_where_they_are(kind, taken, tmp_path):
    policy, tokenizer = policy_of(kind)
    scorer = loading.load_scorer(kind, seed=1).cpu()
    naive, head = deepcopy(scorer).eval(), deepcopy(policy.get_output_embeddings())
    if naive.config.tie_word_embeddings:
        head.weight = naive.get_input_embeddings().weight
    data = datasets.pair_dataset(PAIRS, tokenizer, LENGTH)
    given = (scorer, policy.get_output_embeddings(), tokenizer, data, FIT, tmp_path)
    driver = partial(training.fit_preference_model, rm_coef=1.0, lm_coef=1.0)
    found = taken(driver, *given)
    rows, words = pairs_of(tokenizer, found.batch), []
    for prompt, chosen, _ in rows:
        hidden = naive.base_model(input_ids=torch.tensor([[*prompt, *chosen]]))
        states = hidden.last_hidden_state[0, len(prompt) - 1 : -1]
        words.append(token_level.token_logprobs(head(states), torch.tensor(chosen)))
    rewards = [
        torch.stack([reward_alone(naive, row[0], row[side]) for row in rows])
        for side in (1, 2)
    ]
    expected = preference.bradley_terry(*rewards) - torch.cat(words).mean()
    assert found.loss == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    assert_same(found.gradients, gradients(naive))


# --- the DPO family --------------------------------------------------------------------


def dpo(margin, lengths):
    return -F.logsigmoid(0.3 * (margin[0] - margin[1]))


def ipo(margin, lengths):
    means = margin / lengths
    return (means[0] - means[1] - 1 / 0.6) ** 2


def normalised(margin, lengths):
    means = margin / lengths
    return -F.logsigmoid(0.3 * (means[0] - means[1]))


def robust(margin, lengths):
    gap = 0.3 * (margin[0] - margin[1])
    return (-0.9 * F.logsigmoid(gap) + 0.1 * F.logsigmoid(-gap)) / 0.8


FAMILY = {
    "sigmoid": dpo,
    "ipo": ipo,
    "sigmoid_norm": normalised,
    "robust": robust,
}


@pytest.mark.parametrize("loss_type", FAMILY)
def test_the_dpo_family_reads_both_replies_alone(kind, loss_type, taken, tmp_path):
    frozen, tokenizer = loading.load_policy(kind).cpu(), loading.load_tokenizer(kind)
    policy, naive = wandered(frozen), wandered(frozen).eval()
    data = datasets.pair_dataset(PAIRS, tokenizer, LENGTH)
    more = {"label_smoothing": 0.1} if loss_type == "robust" else {}
    found = taken(
        training.fit_dpo,
        *(policy, tokenizer, data, FIT, tmp_path),
        **{"beta": 0.3, "loss": loss_type, "reference": frozen, **more},
    )
    parts = []
    for prompt, *sides in pairs_of(tokenizer, found.batch):
        ratios = []
        for reply in sides:
            with torch.no_grad():
                before = logprobs_alone(frozen, prompt, reply)
            ratios.append((logprobs_alone(naive, prompt, reply) - before).sum())
        lengths = torch.tensor([float(len(reply)) for reply in sides])
        parts.append(FAMILY[loss_type](torch.stack(ratios), lengths))
    expected = torch.stack(parts).mean()
    assert found.loss == pytest.approx(expected.item(), rel=1e-4)
    expected.backward()
    assert_same(found.gradients, gradients(naive))


def test_tis_dpo_weighs_the_tokens_of_the_replies(kind, taken, tmp_path):
    frozen, tokenizer = loading.load_policy(kind).cpu(), loading.load_tokenizer(kind)
    policy, naive = wandered(frozen), wandered(frozen).eval()
    data = datasets.pair_dataset(PAIRS, tokenizer, LENGTH)
    data = tis_weights.contrastive_weights(wandered(frozen), frozen, data)
    found = taken(
        training.fit_dpo,
        *(policy, tokenizer, data, FIT, tmp_path),
        beta=0.3,
        reference=frozen,
    )
    parts = []
    for row in data:
        sums = []
        for side in reference.SIDES:
            ids, weights = row[f"{side}_ids"], torch.tensor(row[f"{side}_weights"])
            with torch.no_grad():
                before = logprobs_alone(frozen, row["prompt_ids"], ids)
            now = logprobs_alone(naive, row["prompt_ids"], ids)
            sums.append((weights * (now - before)).sum())
        parts.append(-F.logsigmoid(0.3 * (sums[0] - sums[1])))
    expected = torch.stack(parts).mean()
    assert found.loss == pytest.approx(expected.item(), rel=1e-4)
    expected.backward()
    assert_same(found.gradients, gradients(naive))
