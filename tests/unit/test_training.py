"""The thin trainers: what is learned from, and that losses are the papers' losses."""

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from trl import DPOConfig

from helpers import losses, models, trainers, training
from helpers.generate import token_scores
from helpers.trainers import PreferenceTrainer
from helpers.training import Fit

PAIRS = pd.DataFrame(
    {
        "prompt": ["\n\nHuman: Any tips on tea?\n\nAssistant:"] * 4,
        "chosen": [" Warm the pot.", " Use fresh water.", " Wait.", " Two spoons."],
        "rejected": [" No.", " Who asks such a thing at this hour?", " Hm", " Tea tea"],
    }
)


@pytest.fixture(scope="module")
def tokenizer():
    texts = PAIRS["prompt"] + PAIRS["chosen"] + PAIRS["rejected"]
    return models.build_tokenizer(texts.tolist(), 300)


@pytest.fixture
def policy(tokenizer):
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 96}
    return models.build_opt(tokenizer, **shape, seed=0).eval()


@pytest.fixture
def scorer(policy, tokenizer, tmp_path):
    models.save(policy, tokenizer, tmp_path / "base")
    return models.load_scorer(tmp_path / "base", seed=1)


def test_both_replies_of_a_pair_see_the_same_prompt(tokenizer):
    data = training.pair_dataset(PAIRS, tokenizer, max_length=40)
    for row, pair in zip(data, PAIRS.itertuples()):
        assert tokenizer.decode(row["chosen_ids"]).startswith(pair.chosen[:2])
        longest = max(row["chosen_ids"], row["rejected_ids"], key=len)
        assert len(row["prompt_ids"] + longest) <= 40
        # cut from the left: the end of the prompt, where the reply follows, is kept
        assert tokenizer.decode(row["prompt_ids"]).endswith("Assistant:")


def test_the_mask_covers_the_reply_and_its_end_only(tokenizer):
    prompts, replies = PAIRS["prompt"].tolist(), PAIRS["chosen"].tolist()
    row = training.reply_dataset(prompts, replies, tokenizer, 96)[0]
    learned = [i for i, m in zip(row["input_ids"], row["completion_mask"]) if m]
    assert tokenizer.decode(learned) == " Warm the pot.</s>"
    whole = training.reply_dataset(prompts, replies, tokenizer, 96, whole=True)[0]
    assert all(whole["completion_mask"])


def test_scoring_labelled_positions_only_changes_no_number(policy, tokenizer):
    ids = torch.randint(3, len(tokenizer), (3, 20))
    labels = ids.masked_fill(torch.rand(3, 20) < 0.5, -100)
    plain = policy(input_ids=ids, labels=labels)
    logprobs = plain.logits[:, :-1].log_softmax(-1)
    known = logprobs.gather(-1, labels[:, 1:].clamp(min=0).unsqueeze(-1)).squeeze(-1)
    trainers.score_labelled_positions(policy)
    ours = policy(input_ids=ids, labels=labels, fused_lm_head=True)
    torch.testing.assert_close(ours.loss, plain.loss)
    mask = labels[:, 1:] != -100
    torch.testing.assert_close(ours.log_probs[mask], known[mask])
    assert (ours.log_probs[~mask] == 0).all()
    torch.testing.assert_close(policy(input_ids=ids).logits, plain.logits)


def test_dpo_loss_is_equation_seven(policy, tokenizer, tmp_path):
    """TRL's trainer, our tokens, our reference pass, against the formula itself."""
    data = training.pair_dataset(PAIRS, tokenizer, 96)
    settings = training.arguments(Fit(1e-3, 4), tmp_path, len(data))
    config = DPOConfig(**settings, beta=0.3, precompute_ref_log_probs=True)
    trainer = PreferenceTrainer(
        policy, args=config, train_dataset=data, processing_class=tokenizer
    )
    reference = {
        side: [
            token_scores(policy, [(row["prompt_ids"], row[f"{side}_ids"])])[0].sum()
            for row in data
        ]
        for side in ("chosen", "rejected")
    }
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():  # move away from the reference, so that the loss is not ln 2
        for weight in policy.parameters():
            weight.add_(torch.randn(weight.shape, generator=random), alpha=0.2)
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(4)])
    loss = trainer.compute_loss(policy, batch).item()
    margins = [
        losses.dpo_implicit_reward(own, ref, 0.3)
        for side in ("chosen", "rejected")
        for own, ref in zip(sums(policy, data, side), reference[side])
    ]
    chosen, rejected = np.split(np.array(margins), 2)
    expected = np.log1p(np.exp(-(chosen - rejected))).mean()
    assert loss == pytest.approx(expected, abs=1e-5)
    assert abs(loss - np.log(2)) > 1e-3


def sums(policy, data: Dataset, side: str) -> list[float]:
    pairs = list(zip(data["prompt_ids"], data[f"{side}_ids"]))
    return [each.sum() for each in token_scores(policy, pairs)]


@pytest.mark.parametrize("coefs", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_codepmp_loss_is_the_sum_of_its_two_terms(coefs, scorer, policy, tokenizer):
    data = training.as_sequences(training.pair_dataset(PAIRS, tokenizer, 96))
    trainer = preference_trainer(scorer, policy, tokenizer, data, coefs)
    batch = trainer.data_collator(list(data))
    with torch.no_grad():
        loss = trainer.compute_loss(scorer, dict(batch)).item()
        rewards = scorer(batch["input_ids"], attention_mask=batch["attention_mask"])
        chosen, rejected = rewards.logits.squeeze(-1).chunk(2)
        language = policy(batch["input_ids"][:4], labels=batch["labels"]).loss.item()
    reward = losses.bradley_terry(chosen, rejected).item()
    assert loss == pytest.approx(coefs[0] * reward + coefs[1] * language, abs=1e-5)


def preference_trainer(scorer, policy, tokenizer, data, coefs):
    scorer.lm_head = policy.get_output_embeddings()
    return trainers.PreferenceModelTrainer(
        scorer,
        args=training.RewardConfig(**training.arguments(Fit(1e-3, 4), "unused", 4)),
        train_dataset=data,
        processing_class=tokenizer,
        pad=tokenizer.pad_token_id,
        rm_coef=coefs[0],
        lm_coef=coefs[1],
    )


def test_language_labels_are_the_chosen_replies(tokenizer):
    data = training.as_sequences(training.pair_dataset(PAIRS, tokenizer, 96))
    labels = trainers.LabelledPairs(tokenizer.pad_token_id)(list(data))["labels"]
    texts = [tokenizer.decode(row[row >= 0]) for row in labels]
    assert texts == [f"{reply}</s>" for reply in PAIRS["chosen"]]


def test_the_language_head_is_not_saved_with_a_preference_model(
    scorer, policy, tokenizer, tmp_path
):
    data = training.pair_dataset(PAIRS, tokenizer, 96)
    training.fit_preference_model(
        scorer,
        policy.get_output_embeddings(),
        tokenizer,
        data,
        Fit(1e-3, 2),
        tmp_path,
        rm_coef=1.0,
        lm_coef=1.0,
    )
    models.save(scorer, tokenizer, tmp_path / "out")
    again = models.load_scorer(tmp_path / "out", seed=7)
    torch.testing.assert_close(again.score.weight, scorer.score.weight)
    assert not hasattr(again, "lm_head")


def test_the_same_seed_trains_the_same_model(tokenizer, tmp_path):
    runs = []
    for _ in range(2):
        shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 96}
        model = models.build_opt(tokenizer, **shape, seed=3)
        prompts, replies = PAIRS["prompt"].tolist(), PAIRS["chosen"].tolist()
        data = training.reply_dataset(prompts, replies, tokenizer, 96)
        fit = Fit(1e-2, 2, epochs=2, seed=3)
        runs.append(training.fit_language_model(model, tokenizer, data, fit, tmp_path))
    assert runs[0] == runs[1]
    losses_ = [row["value"] for row in runs[0] if row["metric"] == "train_loss"]
    assert losses_[-1] < losses_[0]
