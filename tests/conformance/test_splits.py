"""One step is one step, however its batch is split; and stock TRL takes the same one."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from datasets import Dataset
from trl import (
    DPOConfig,
    DPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

from helpers.models import loading
from helpers.trainers import datasets, reference, training, trl_trainers
from tests.conformance.conftest import FIT, LENGTH, PAIRS

# rows a micro-batch and how many of them: all five pairs, or parts of which one is ragged
SPLITS = {(5, 1), (1, 5), (4, 2), (2, 3)}


def sft(model, tokenizer, pairs, out, fit=FIT):
    texts = PAIRS["prompt"].tolist(), PAIRS["chosen"].tolist()
    data = datasets.reply_dataset(*texts, tokenizer, LENGTH)
    return training.fit_language_model(model, tokenizer, data, fit, out)


def rm(model, tokenizer, pairs, out, fit=FIT):
    return training.fit_reward_model(model, tokenizer, pairs, fit, out)


def codepmp(model, tokenizer, pairs, out, fit=FIT):
    head = torch.nn.Linear(model.score.in_features, len(tokenizer), bias=False)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    model.config.tie_word_embeddings = False
    given = (model, head, tokenizer, pairs, fit, out)
    return training.fit_preference_model(*given, rm_coef=1.0, lm_coef=1.0)


def dpo(model, tokenizer, pairs, out, fit=FIT, loss="sigmoid", **more):
    frozen = deepcopy(model)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1.1)  # away from its reference
    settings = {"beta": 0.3, "loss": loss, "reference": frozen, **more}
    return training.fit_dpo(model, tokenizer, pairs, fit, out, **settings)


def tis(model, tokenizer, pairs, out, fit=FIT):
    for side in reference.SIDES:
        weights = [
            [0.5 + at % 3 for at in range(len(ids))] for ids in pairs[f"{side}_ids"]
        ]
        pairs = pairs.add_column(f"{side}_weights", weights)
    return dpo(model, tokenizer, pairs, out, fit)


KINDS = {
    "sft": sft,
    "rm": rm,
    "codepmp": codepmp,
    "dpo": dpo,
    "ipo": partial(dpo, loss="ipo"),
    "dpo_norm": partial(dpo, loss="sigmoid_norm"),
    "dpo_robust": partial(dpo, loss="robust", label_smoothing=0.1),
    "tis_dpo": tis,
}


@pytest.mark.parametrize("name", KINDS)
def test_a_step_is_the_same_for_every_split_of_its_batch(
    name, folders, tmp_path, monkeypatch
):
    """Weights after one step of plain gradient descent, replies of unequal lengths."""
    tokenizer = loading.load_tokenizer(folders["smollm2"])
    pairs = datasets.pair_dataset(PAIRS, tokenizer, LENGTH)
    stock, found = training.arguments, {}
    monkeypatch.setattr(training, "train", lambda trainer: trainer.train() and [])
    for rows, parts in sorted(SPLITS):

        def split(*given, rows=rows, parts=parts):
            return stock(*given) | {
                "per_device_train_batch_size": rows,
                "gradient_accumulation_steps": parts,
                "optim": "sgd",
                "lr_scheduler_type": "constant",
                "warmup_steps": 0,
                "max_grad_norm": 0.0,
            }

        monkeypatch.setattr(training, "arguments", split)
        torch.manual_seed(0)
        load = loading.load_scorer if name in ("rm", "codepmp") else loading.load_policy
        model = load(folders["smollm2"]).cpu()
        before = deepcopy(model).state_dict()
        KINDS[name](model, tokenizer, pairs, tmp_path)
        found[rows, parts] = {
            weight: value - before[weight]
            for weight, value in model.state_dict().items()
            if weight in before
        }
    whole = found.pop((5, 1))
    assert max(each.abs().max() for each in whole.values()) > 1e-3
    for step in found.values():
        for weight, value in whole.items():
            assert (step[weight] - value).abs().max() < 1e-6, weight


# --- stock TRL ---------------------------------------------------------------------------


def settings_of(out) -> dict:
    """What a stock trainer is told: all rows in one batch, nothing cut."""
    return training.arguments(FIT, out, 1) | {"train_sampling_strategy": "random"}


def stepped(trainer, batch) -> tuple[float, dict]:
    """Loss and gradients of a trainer on a batch."""
    trainer.current_gradient_accumulation_steps = 1
    items = trainer._get_num_items_in_batch([batch], trainer.args.device)
    loss = trainer.training_step(trainer.model, batch, items).item()
    named = trainer.model.named_parameters()
    return loss, {name: p.grad for name, p in named if p.grad is not None}


def same_step(ours, theirs) -> None:
    """Both take all rows in one batch of their own and go the same way."""
    steps = []
    for trainer in (ours, theirs):
        loader = iter(trainer.get_train_dataloader())
        (batch,), _ = trainer.get_batch_samples(loader, 1, trainer.args.device)
        steps.append(stepped(trainer, batch))
    (loss, found), (expected, wanted) = steps
    assert loss == pytest.approx(expected, rel=1e-4)
    assert found.keys() == wanted.keys()
    for name, each in wanted.items():
        torch.testing.assert_close(found[name], each, rtol=1e-3, atol=1e-5, msg=name)


def test_sft_takes_the_step_of_stock_trl_on_the_same_ids(kind, tmp_path):
    """From prompt and completion, TRL's own labels; ours from ids and a mask."""
    policy, tokenizer = loading.load_policy(kind).cpu(), loading.load_tokenizer(kind)
    loading.disable_dropout(policy)
    texts = PAIRS["prompt"].tolist(), PAIRS["chosen"].tolist()
    data = datasets.reply_dataset(*texts, tokenizer, LENGTH)
    config = SFTConfig(**settings_of(tmp_path), completion_only_loss=True)
    common = {"args": config, "train_dataset": data, "processing_class": tokenizer}
    theirs = SFTTrainer(deepcopy(policy), **common)
    same_step(trl_trainers.ReplyTrainer(policy, **common), theirs)


def test_a_reward_model_takes_the_step_of_stock_trl(folders, tmp_path):
    folder = folders["built_in"]  # a token of its own pads, so stock TRL reads ends
    scorer, tokenizer = (
        loading.load_scorer(folder).cpu(),
        loading.load_tokenizer(folder),
    )
    data = datasets.as_sequences(datasets.pair_dataset(PAIRS, tokenizer, LENGTH))
    common = {
        "args": RewardConfig(**settings_of(tmp_path)),
        "train_dataset": data,
        "processing_class": tokenizer,
    }
    theirs = RewardTrainer(deepcopy(scorer), **common)
    same_step(trl_trainers.RewardModelTrainer(scorer, **common), theirs)


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "sigmoid_norm", "robust"])
def test_the_dpo_family_takes_the_step_of_stock_trl(loss, folders, tmp_path):
    """TRL tokenises the texts by itself, and reads the reference by itself."""
    folder = folders["built_in"]
    frozen, tokenizer = (
        loading.load_policy(folder).cpu(),
        loading.load_tokenizer(folder),
    )
    policy = deepcopy(frozen)
    with torch.no_grad():
        policy.get_input_embeddings().weight.mul_(1.1)
    config = DPOConfig(
        **settings_of(tmp_path),
        beta=0.3,
        loss_type=loss,
        label_smoothing=0.1 if loss == "robust" else 0.0,
        precompute_ref_log_probs=True,
    )
    plain = PAIRS[~PAIRS["prompt"].str.contains("<")]  # TRL reads specials in texts
    texts = Dataset.from_pandas(
        plain[["prompt", "chosen", "rejected"]].assign(length=1), preserve_index=False
    )
    theirs = DPOTrainer(
        deepcopy(policy),
        ref_model=deepcopy(frozen),
        args=config,
        train_dataset=texts,
        processing_class=tokenizer,
    )
    ours = trl_trainers.PreferenceTrainer(
        policy,
        reference=frozen,
        args=config,
        train_dataset=datasets.pair_dataset(plain, tokenizer, LENGTH),
        processing_class=tokenizer,
    )
    for side in reference.SIDES:
        column = f"ref_{side}_logps"
        found, expected = (each.train_dataset[column] for each in (ours, theirs))
        assert list(found) == pytest.approx(list(expected), rel=1e-4)
    same_step(ours, theirs)


def test_batches_hold_every_row_once_and_follow_the_seed_alone(folders, tmp_path):
    folder = folders["built_in"]
    tokenizer, orders = loading.load_tokenizer(folder), []
    rows = [([1, 2], list(range(3, 4 + n % 7))) for n in range(40)]
    data = datasets.masked_sequences(rows)
    for seed, history in ((0, 1), (0, 2), (1, 1)):
        fit = training.Fit(1e-3, 8, seed=seed)
        trainer = trl_trainers.ReplyTrainer(
            loading.load_policy(folder).cpu(),
            args=SFTConfig(**training.arguments(fit, tmp_path, 5)),
            train_dataset=data,
            processing_class=tokenizer,
        )
        torch.manual_seed(history)
        orders.append(list(trainer._get_train_sampler()))
        assert sorted(orders[-1]) == list(range(40))
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("name", KINDS)
def test_the_same_training_twice_gives_the_same_records(name, folders, tmp_path):
    tokenizer = loading.load_tokenizer(folders["gpt2"])  # with dropout
    load = loading.load_scorer if name in ("rm", "codepmp") else loading.load_policy
    runs, stock = [], training.train

    def kept(trainer):
        runs.append(stock(trainer))
        return runs[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", kept)
        for history in (1, 2):  # whatever else was drawn before
            pairs = datasets.pair_dataset(PAIRS, tokenizer, LENGTH)
            model = load(folders["gpt2"]).cpu()
            torch.manual_seed(history)
            KINDS[name](model, tokenizer, pairs, tmp_path)
    assert runs[0] == runs[1]
