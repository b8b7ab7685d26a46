"""The thin trainers: what is learned from, and that losses are the papers' losses."""

from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig
from torch.nn.utils.rnn import pad_sequence
from trl import DPOConfig, DPOTrainer, RewardTrainer

from helpers.losses import preference
from helpers.models import labelled_heads, loading
from helpers.models.scoring import token_scores
from helpers.trainers import (
    adapters,
    datasets,
    pair_batches,
    reference,
    training,
    trl_trainers,
)
from helpers.trainers.training import Fit

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
    return loading.build_tokenizer(texts.tolist(), 300)


@pytest.fixture
def policy(tokenizer):
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 96}
    return loading.build_opt(tokenizer, **shape, seed=0).eval()


@pytest.fixture
def scorer(policy, tokenizer, tmp_path):
    loading.save(policy, tokenizer, tmp_path / "base")
    return loading.load_scorer(tmp_path / "base", seed=1)


def test_both_replies_of_a_pair_see_the_same_prompt(tokenizer):
    data = datasets.pair_dataset(PAIRS, tokenizer, max_length=40)
    for row, pair in zip(data, PAIRS.itertuples()):
        assert tokenizer.decode(row["chosen_ids"]).startswith(pair.chosen[:2])
        longest = max(row["chosen_ids"], row["rejected_ids"], key=len)
        assert len(row["prompt_ids"] + longest) <= 40
        # cut from the left: the end of the prompt, where the reply follows, is kept
        assert tokenizer.decode(row["prompt_ids"]).endswith("Assistant:")


def test_the_mask_covers_the_reply_and_its_end_only(tokenizer):
    prompts, replies = PAIRS["prompt"].tolist(), PAIRS["chosen"].tolist()
    row = datasets.reply_dataset(prompts, replies, tokenizer, 96)[0]
    learned = [i for i, m in zip(row["input_ids"], row["completion_mask"]) if m]
    assert tokenizer.decode(learned) == " Warm the pot.</s>"
    whole = datasets.reply_dataset(prompts, replies, tokenizer, 96, whole=True)[0]
    assert all(whole["completion_mask"])


def test_scoring_labelled_positions_only_changes_no_number(policy, tokenizer):
    ids = torch.randint(3, len(tokenizer), (3, 20))
    labels = ids.masked_fill(torch.rand(3, 20) < 0.5, -100)
    plain = policy(input_ids=ids, labels=labels)
    logprobs = plain.logits[:, :-1].log_softmax(-1)
    known = logprobs.gather(-1, labels[:, 1:].clamp(min=0).unsqueeze(-1)).squeeze(-1)
    labelled_heads.score_labelled_positions(policy)
    ours = policy(input_ids=ids, labels=labels, fused_lm_head=True)
    torch.testing.assert_close(ours.loss, plain.loss)
    mask = labels[:, 1:] != -100
    torch.testing.assert_close(ours.log_probs[mask], known[mask])
    assert (ours.log_probs[~mask] == 0).all()
    torch.testing.assert_close(policy(input_ids=ids).logits, plain.logits)


def drawn_weights(pairs: Dataset, seed: int) -> Dataset:
    """Pairs whose tokens count by drawn weights."""
    random = np.random.default_rng(seed)
    for side in reference.SIDES:
        weights = [random.uniform(0.2, 3, len(ids)) for ids in pairs[f"{side}_ids"]]
        pairs = pairs.add_column(f"{side}_weights", [w.tolist() for w in weights])
    return pairs


METHODS = {
    "dpo": ("sigmoid", None),
    "ipo": ("ipo", None),
    "dpo_norm": ("sigmoid_norm", None),
    "dpo_robust": ("robust", None),
    "tis_dpo": ("sigmoid", drawn_weights),
}


def preference_trainer(method, policy, tokenizer, out, cache=None):
    """A trainer of the DPO family whose policy has moved away from its reference."""
    loss, weigh = METHODS[method]
    data = datasets.pair_dataset(PAIRS, tokenizer, 96)
    if weigh:
        data = weigh(data, seed=0)
    kind = (
        trl_trainers.TokenWeightedTrainer if weigh else trl_trainers.PreferenceTrainer
    )
    config = training.arguments(Fit(1e-3, 4), out, 1) | {"beta": 0.3, "loss_type": loss}
    config["label_smoothing"] = 0.1 if method == "dpo_robust" else 0.0
    trainer = kind(
        policy,
        args=DPOConfig(**config, precompute_ref_log_probs=True),
        train_dataset=data,
        processing_class=tokenizer,
        cache=cache,
    )
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(torch.randn(weight.shape, generator=random), alpha=0.2)
    return trainer


def formula(method, now: pd.DataFrame, before: pd.DataFrame, data: Dataset) -> float:
    """The paper's loss, from log-probabilities of tokens under policy and reference."""
    ratios = {side: [a - b for a, b in zip(now[side], before[side])] for side in now}
    if method == "tis_dpo":
        padded = [
            pad_sequence(list(map(torch.tensor, rows)), batch_first=True)
            for rows in (
                *ratios.values(),
                data["chosen_weights"],
                data["rejected_weights"],
            )
        ]
        return preference.tis_dpo(*padded, beta=0.3).item()
    means = [torch.tensor([r.mean() for r in rows]) for rows in ratios.values()]
    if method == "ipo":
        return preference.ipo(*means, tau=0.3).item()
    if method == "dpo_norm":
        return preference.dpo(*means, beta=0.3).item()
    sums = [torch.tensor([r.sum() for r in rows]) for rows in ratios.values()]
    if method == "dpo_robust":
        return preference.dpo_robust(*sums, beta=0.3, noise=0.1).item()
    return preference.bradley_terry(0.3 * sums[0], 0.3 * sums[1]).item()


@pytest.mark.parametrize("method", METHODS)
def test_losses_of_the_dpo_family_are_the_papers(method, policy, tokenizer, tmp_path):
    """TRL's trainer, our tokens, our reference pass, against the formulas themselves."""
    data = datasets.pair_dataset(PAIRS, tokenizer, 96)
    before = alone(policy, data)
    trainer = preference_trainer(method, policy, tokenizer, tmp_path)
    batch = trainer.data_collator(list(trainer.train_dataset))
    loss = trainer.compute_loss(policy, batch).item()
    after = alone(policy, data)
    expected = formula(method, after, before, trainer.train_dataset)
    assert loss == pytest.approx(expected, rel=1e-5)
    resting = formula(method, before, before, trainer.train_dataset)
    assert abs(loss - resting) > 1e-3


def alone(policy, data: Dataset) -> pd.DataFrame:
    """Log-probabilities of reply tokens, each reply read by itself."""
    return pd.DataFrame(
        {
            side: token_scores(
                policy, list(zip(data["prompt_ids"], data[f"{side}_ids"]))
            )
            for side in ("chosen", "rejected")
        }
    )


def gradients(loss: torch.Tensor, model) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat(
        [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    )


@pytest.mark.parametrize("method", METHODS)
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_shared_prompts_change_no_loss_of_the_dpo_family(
    rows, method, policy, tokenizer, tmp_path
):
    trainer = preference_trainer(method, policy, tokenizer, tmp_path)
    examples = [trainer.train_dataset[row] for row in rows]
    shared, plain = (
        compute(policy, trainer.data_collator(examples))
        for compute in (trainer.compute_loss, partial(DPOTrainer.compute_loss, trainer))
    )
    torch.testing.assert_close(shared, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        gradients(shared, policy), gradients(plain, policy), atol=1e-4, rtol=1e-4
    )


def test_shared_prompts_change_no_reward_loss(scorer, tokenizer, tmp_path):
    data = datasets.as_sequences(datasets.pair_dataset(PAIRS, tokenizer, 96))
    trainer = trl_trainers.RewardModelTrainer(
        scorer,
        args=training.RewardConfig(**training.arguments(Fit(1e-3, 4), tmp_path, 1)),
        train_dataset=data,
        processing_class=tokenizer,
    )
    shared, plain = (
        compute(scorer, trainer.data_collator(list(data)))
        for compute in (
            trainer.compute_loss,
            partial(RewardTrainer.compute_loss, trainer),
        )
    )
    torch.testing.assert_close(shared, plain)
    torch.testing.assert_close(gradients(shared, scorer), gradients(plain, scorer))


def test_reference_scores_are_kept_and_found(policy, tokenizer, tmp_path, monkeypatch):
    fresh = deepcopy(policy)
    first = preference_trainer("dpo", policy, tokenizer, tmp_path, tmp_path / "cache")
    monkeypatch.setattr(reference, "pair_scores", None)  # would fail
    again = preference_trainer("dpo", fresh, tokenizer, tmp_path, tmp_path / "cache")
    for name in ("ref_chosen_logps", "ref_rejected_logps"):
        assert first.train_dataset[name] == again.train_dataset[name]


def test_another_reference_can_be_given(policy, tokenizer, tmp_path):
    data = datasets.pair_dataset(PAIRS, tokenizer, 96)
    other = deepcopy(policy)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.5)
    config = training.arguments(Fit(1e-3, 4), tmp_path, 1) | {"beta": 0.3}
    trainer = trl_trainers.PreferenceTrainer(
        policy,
        args=DPOConfig(**config, precompute_ref_log_probs=True),
        train_dataset=data,
        processing_class=tokenizer,
        reference=other,
    )
    found = trainer.train_dataset["ref_chosen_logps"]
    expected = [scores.sum() for scores in reference.pair_scores(other, data)["chosen"]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_sft_on_pairs_learns_the_chosen_replies_only(policy, tokenizer, tmp_path):
    data = datasets.pair_dataset(PAIRS, tokenizer, 96)
    before = reference.pair_scores(policy, data)
    training.fit_chosen(policy, tokenizer, data, Fit(1e-2, 4, epochs=5), tmp_path)
    after = reference.pair_scores(policy, data)
    gained = {
        side: np.mean([a.mean() - b.mean() for a, b in zip(after[side], before[side])])
        for side in reference.SIDES
    }
    assert gained["chosen"] > 0.5 and gained["chosen"] > gained["rejected"] + 0.1


@pytest.mark.parametrize("ahead", [True, False])
def test_adapters_are_trained_the_same_way(ahead, policy, tokenizer, tmp_path):
    """TRL's own way with PEFT: the reference is the model with its adapter off."""
    adapter = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    settings = training.arguments(Fit(1e-3, 4), tmp_path, 1)
    trainer = trl_trainers.PreferenceTrainer(
        policy,
        args=DPOConfig(**settings, precompute_ref_log_probs=ahead),
        train_dataset=datasets.pair_dataset(PAIRS, tokenizer, 96),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    shared = trainer.compute_loss(trainer.model, batch)
    plain = DPOTrainer.compute_loss(trainer, trainer.model, batch)
    torch.testing.assert_close(shared, plain)
    assert abs(shared.item() - np.log(2)) > 1e-5


def test_an_adapter_is_merged_and_moves_queries_and_values_only(
    policy, tokenizer, tmp_path
):
    data = datasets.pair_dataset(PAIRS, tokenizer, 96)
    start = {name: each.clone() for name, each in policy.state_dict().items()}
    fit = Fit(1e-2, 2, epochs=3)
    settings = {"beta": 0.1, "adapters": True}
    rows = training.fit_dpo(policy, tokenizer, data, fit, tmp_path, **settings)
    losses_ = [row["value"] for row in rows if row["metric"] == "train_loss"]
    # the adapter begins as nothing: the first loss is that of the model it starts from
    assert losses_[0] == pytest.approx(np.log(2), abs=1e-5) and losses_[-1] < losses_[0]
    loading.save(policy, tokenizer, tmp_path / "out")
    loaded = loading.load_policy(tmp_path / "out").state_dict()
    assert loaded.keys() == start.keys()
    moved = {name for name in start if not torch.equal(start[name], loaded[name].cpu())}
    kinds = {name.rpartition("self_attn.")[2] for name in moved}
    assert kinds == {"q_proj.weight", "v_proj.weight"}


def test_trl_switches_the_dropout_of_adapters_off(policy, tokenizer, tmp_path):
    trainer = trl_trainers.PreferenceTrainer(
        policy,
        args=DPOConfig(**training.arguments(Fit(1e-3, 4), tmp_path, 1)),
        train_dataset=datasets.pair_dataset(PAIRS, tokenizer, 96),
        processing_class=tokenizer,
        peft_config=adapters.adapter(policy, True),
    )
    chances = {m.p for m in trainer.model.modules() if isinstance(m, torch.nn.Dropout)}
    assert chances == {0.0}


def test_trainings_log_elsewhere_if_asked(policy, tokenizer, tmp_path, monkeypatch):
    data = datasets.pair_dataset(PAIRS, tokenizer, 96)
    for target, files in (("none", 0), ("tensorboard", 1)):
        monkeypatch.setenv(training.REPORT_TO, target)
        out = tmp_path / target
        training.fit_dpo(policy, tokenizer, data, Fit(1e-3, 4), out, beta=0.1)
        assert len(list(out.rglob("events.out.tfevents.*"))) == files


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_batches_can_be_filled_by_tokens(loss, policy, tokenizer, tmp_path):
    data = datasets.pair_dataset(PAIRS, tokenizer, 96)
    longest = max(data["length"])
    fit = Fit(1e-3, 4, epochs=2, token_budget=2 * longest)
    training.fit_dpo(policy, tokenizer, data, fit, tmp_path, beta=0.1, loss=loss)
    sampler = pair_batches.BudgetSampler(data["length"], 2 * longest, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    assert sorted(map(sorted, first)) == sorted(map(sorted, sampler))
    assert len(first) == len(sampler) == 2


@pytest.mark.parametrize("coefs", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_codepmp_loss_is_the_sum_of_its_two_terms(coefs, scorer, policy, tokenizer):
    data = datasets.as_sequences(datasets.pair_dataset(PAIRS, tokenizer, 96))
    trainer = codepmp_trainer(scorer, policy, tokenizer, data, coefs)
    batch = trainer.data_collator(list(data))
    with torch.no_grad():
        loss = trainer.compute_loss(scorer, dict(batch)).item()
        rewards = scorer(batch["input_ids"], attention_mask=batch["attention_mask"])
        chosen, rejected = rewards.logits.squeeze(-1).chunk(2)
        language = policy(batch["input_ids"][:4], labels=batch["labels"]).loss.item()
    reward = preference.bradley_terry(chosen, rejected).item()
    assert loss == pytest.approx(coefs[0] * reward + coefs[1] * language, abs=1e-5)


def codepmp_trainer(scorer, policy, tokenizer, data, coefs):
    scorer.lm_head = policy.get_output_embeddings()
    return trl_trainers.PreferenceModelTrainer(
        scorer,
        args=training.RewardConfig(**training.arguments(Fit(1e-3, 4), "unused", 4)),
        train_dataset=data,
        processing_class=tokenizer,
        pad=tokenizer.pad_token_id,
        rm_coef=coefs[0],
        lm_coef=coefs[1],
    )


def test_language_labels_are_the_chosen_replies(tokenizer):
    data = datasets.as_sequences(datasets.pair_dataset(PAIRS, tokenizer, 96))
    labels = pair_batches.LabelledPairs(tokenizer.pad_token_id)(list(data))["labels"]
    texts = [tokenizer.decode(row[row >= 0]) for row in labels]
    assert texts == [f"{reply}</s>" for reply in PAIRS["chosen"]]


def test_the_language_head_is_not_saved_with_a_preference_model(
    scorer, policy, tokenizer, tmp_path
):
    data = datasets.pair_dataset(PAIRS, tokenizer, 96)
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
    loading.save(scorer, tokenizer, tmp_path / "out")
    again = loading.load_scorer(tmp_path / "out", seed=7)
    torch.testing.assert_close(again.score.weight, scorer.score.weight)
    assert not hasattr(again, "lm_head")


def test_the_same_seed_trains_the_same_model(tokenizer, tmp_path):
    runs = []
    for _ in range(2):
        shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 96}
        model = loading.build_opt(tokenizer, **shape, seed=3)
        prompts, replies = PAIRS["prompt"].tolist(), PAIRS["chosen"].tolist()
        data = datasets.reply_dataset(prompts, replies, tokenizer, 96)
        fit = Fit(1e-2, 2, epochs=2, seed=3)
        runs.append(training.fit_language_model(model, tokenizer, data, fit, tmp_path))
    assert runs[0] == runs[1]
    losses_ = [row["value"] for row in runs[0] if row["metric"] == "train_loss"]
    assert losses_[-1] < losses_[0]
