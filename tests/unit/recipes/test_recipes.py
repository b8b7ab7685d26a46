"""What trainings learn from: of each pair only what their method is about."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.methods import OFFLINE
from helpers.models import loading
from helpers.models.scoring import sequence_logprobs
from helpers.recipes import dpo, language_models, reward_models
from helpers.runs import store
from helpers.trainers import datasets, training
from helpers.trainers.training import Fit
from tests.manifests import write_manifest

PAIRS = pd.DataFrame(
    {
        "id": [f"p{at}" for at in range(8)],
        "subset": ["helpful", "harmless"] * 4,
        "prompt": [f"\n\nHuman: what is {at}?\n\nAssistant:" for at in range(8)],
        "chosen": [f" it is {at}." for at in range(8)],
        "rejected": [f" no idea of {at}." for at in range(8)],
    }
)

CODE = {
    "train": PAIRS,
    "test": PAIRS.tail(3).assign(id=["t0", "t1", "t2"]).drop(columns="subset"),
}


@pytest.fixture
def base(tmp_path):
    """A base model on disk."""
    texts = [*(PAIRS["prompt"] + PAIRS["chosen"]), *PAIRS["rejected"]]
    tokenizer = loading.build_tokenizer(texts, 300)
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 64}
    folder = tmp_path / "base"
    loading.save(loading.build_opt(tokenizer, **shape, seed=0), tokenizer, folder)
    return folder


def test_sft_does_not_learn_from_the_rejected_replies(
    base, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(store, "base_folder", lambda run: base)
    other = {
        "as they are": PAIRS,
        "rejected": PAIRS.assign(rejected=" something else"),
        "chosen": PAIRS.assign(chosen=" something else"),
    }
    log = {}
    for name, pairs in other.items():
        monkeypatch.setattr(store, "read_pairs", lambda run, split, it=pairs: it)
        job = {"run": tmp_path, "method": "sft", "pairs": 8, "seed": 0}
        rows = language_models.sft(
            tmp_path / name, fit=Fit(1e-3, 4, max_length=48), **job
        )
        log[name] = [row["value"] for row in rows if row["metric"] == "train_loss"]
    assert log["as they are"] == log["rejected"] != log["chosen"]


def test_a_reward_model_of_one_subset_sees_no_pair_of_the_other(
    base, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(store, "start_folder", lambda run, init, seed: base)
    other = PAIRS["subset"] == "harmless"
    assert other.any() and not other.all()
    changed = PAIRS.assign(chosen=PAIRS["chosen"].mask(other, " something else"))
    log = {}
    for method in ("rm", "rm_helpful"):
        for name, pairs in {"as they are": PAIRS, "changed": changed}.items():
            monkeypatch.setattr(store, "read_pairs", lambda run, split, it=pairs: it)
            job = {"method": method, "init": "base", "pairs": 4, "seed": 0}
            rows = reward_models.reward_model(
                tmp_path / name, run=tmp_path, fit=Fit(1e-3, 4, max_length=48), **job
            )
            losses = [row["value"] for row in rows if row["metric"] == "train_loss"]
            log[method, name] = losses
    assert log["rm", "as they are"] != log["rm", "changed"]
    assert log["rm_helpful", "as they are"] == log["rm_helpful", "changed"] != []


def test_sft_says_how_held_out_replies_are_predicted(base, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "base_folder", lambda run: base)
    monkeypatch.setattr(store, "read_pairs", lambda run, split: PAIRS)
    job = {"run": tmp_path, "method": "sft", "pairs": 8, "seed": 0}
    fit = Fit(1e-2, 4, epochs=10, max_length=48)
    rows = language_models.sft(tmp_path / "out", fit=fit, **job)
    held = pd.DataFrame([row for row in rows if row["metric"].startswith("heldout")])
    assert sorted(held["step"].unique()) == [0, 20]
    table = held.pivot(index=["metric", "subset"], columns="step", values="value")
    assert len(table) == 4
    fallen = table[20] - table[0]  # learned were the chosen ones
    assert fallen["heldout_chosen"].max() < fallen["heldout_rejected"].min() < 0
    # the mean over tokens, not over replies
    model, tokenizer = loading.load_policy(base), loading.load_tokenizer(base)
    part = PAIRS[PAIRS["subset"] == "helpful"]
    texts = part["prompt"].tolist(), part["chosen"].tolist()
    scores = sequence_logprobs(model, tokenizer, *texts, max_length=48)
    expected = -np.concatenate(scores).mean()
    assert table.loc[("heldout_chosen", "helpful"), 0] == pytest.approx(expected)


# --- what trainers are given -----------------------------------------------------------

FIT = Fit(1e-2, 4, max_length=48)
FITS = dict.fromkeys((*OFFLINE, "contrast"), FIT)
FITS |= {"ipo": replace(FIT, learning_rate=1e-4), "dpo_norm": replace(FIT, epochs=2)}
REWARD = {"method": "rm", "init": "base", "pairs": 8, "fit": FIT}
POLICY = {"pairs": 8, "strength": 0.3, "fits": FITS, "label_noise": 0.2}


@pytest.fixture
def stages(base, monkeypatch):
    """Stands for finished stages: the base model everywhere, the same pairs."""
    monkeypatch.setattr(store, "base_folder", lambda run: base)
    monkeypatch.setattr(store, "reference_folder", lambda *_: base)
    monkeypatch.setattr(store, "read_pairs", lambda run, split: PAIRS)
    monkeypatch.setattr(store, "read_code_pairs", lambda run, split: CODE[split])


@pytest.fixture
def trainers(stages, monkeypatch) -> list:
    """Every trainer that is run from here on."""
    found, run = [], training.train
    monkeypatch.setattr(training, "train", lambda it: (found.append(it), run(it))[1])
    return found


@pytest.mark.parametrize(
    "recipe, job",
    [
        (language_models.sft, {"method": "sft", "pairs": 8, "fit": FIT}),
        (reward_models.preference_model, {"init": "codepmp", "fit": FIT}),
        (reward_models.reward_model, REWARD),
        (dpo.dpo, {"method": "sft_dpo_lora", **POLICY}),
        (dpo.dpo, {"method": "tis_dpo_s", **POLICY}),
    ],
)
def test_a_job_s_seed_is_that_of_its_trainers(recipe, job, trainers, tmp_path):
    recipe(tmp_path, run=tmp_path, seed=7, **job)
    assert len(trainers) == (3 if job.get("method") == "tis_dpo_s" else 1)
    assert {(it.args.seed, it.args.data_seed) for it in trainers} == {(7, 7)}


# --- judges ----------------------------------------------------------------------------


@pytest.fixture
def judged(base, stages, monkeypatch, tmp_path) -> dict[int, pd.DataFrame]:
    """Records of two judges, by seed; their models lie in folders of that name."""
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_length": 48}
    monkeypatch.setattr(store, "parameter", lambda run, stage, name: shape[name])
    job = {"run": tmp_path, "method": "judge", "pairs": 4, "starts": [], "fit": FIT}
    return {
        seed: pd.DataFrame(reward_models.judge(tmp_path / str(seed), seed=seed, **job))
        for seed in range(2)
    }


def test_judges_learn_from_folds_that_share_no_pair(stages, tmp_path) -> None:
    folds = [set(reward_models.fold(tmp_path, number, 4)["id"]) for number in range(2)]
    assert not folds[0] & folds[1] and folds[0] | folds[1] == set(PAIRS["id"])
    assert reward_models.fold(tmp_path, 2, 4).empty  # there is no third one


def test_a_judge_starts_from_nothing_that_is_compared(judged, base, tmp_path) -> None:
    """Not from the base model: where it starts is drawn from its seed."""
    tokenizer = loading.load_tokenizer(base)
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 48}
    first, again, other = (
        loading.new_scorer(tokenizer, shape, seed).model.decoder.embed_tokens.weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    policy = loading.load_policy(base).model.decoder.embed_tokens.weight
    assert not torch.allclose(first, policy, atol=1e-2)
    for seed, rows in judged.items():
        assert (rows["metric"] == "margin").sum() == len(PAIRS), seed
        assert loading.load_scorer(tmp_path / str(seed)).config.num_labels == 1


def test_a_judge_can_start_from_a_model_of_another_family(base, stages, tmp_path):
    tokenizer, shape = loading.load_tokenizer(base), {"hidden": 8, "layers": 1}
    other = loading.build_opt(tokenizer, seed=5, **shape, heads=2, max_positions=64)
    loading.save(other, tokenizer, tmp_path / "other")
    starts = [str(base), str(tmp_path / "other")]
    still = replace(FIT, learning_rate=1e-12)
    job = {"run": tmp_path, "method": "judge", "pairs": 2, "fit": still}
    for seed in range(3):  # they take turns
        out = tmp_path / str(seed)
        reward_models.judge(out, starts=starts, seed=seed, **job)
        own = loading.load_scorer(out).model.decoder.embed_tokens.weight
        start = loading.load_policy(starts[seed % 2]).model.decoder.embed_tokens.weight
        assert torch.allclose(own, start, atol=1e-5)


def test_a_seed_orders_the_pairs_of_codepmp(trainers, tmp_path):
    for seed in (0, 1, 0):
        job = {"init": "codepmp", "seed": seed, "fit": FIT}
        reward_models.preference_model(tmp_path / "out", run=tmp_path, **job)
    first, other, again = (
        [batch["input_ids"].tolist() for batch in it.get_train_dataloader()]
        for it in trainers
    )
    assert first == again != other


def test_codepmp_learns_from_training_pairs_and_scores_those_held_out(
    trainers, tmp_path, monkeypatch
):
    job = {"run": tmp_path, "init": "rm_only", "seed": 0, "fit": FIT}
    found = []
    for test in (CODE["test"], CODE["test"].assign(chosen=" something else")):
        given = {"train": PAIRS, "test": test}
        monkeypatch.setattr(store, "read_code_pairs", lambda _, it, of=given: of[it])
        rows = pd.DataFrame(reward_models.preference_model(tmp_path / "out", **job))
        margins = rows[rows["metric"] == "margin"]
        assert margins["example"].tolist() == ["t0", "t1", "t2"]
        assert set(margins["subset"]) == {"code"}
        found.append((rows[rows["metric"] == "train_loss"]["value"], margins["value"]))
    (losses, margins), (same, others) = found
    assert losses.tolist() == same.tolist() and margins.tolist() != others.tolist()
    assert all(len(it.train_dataset) == len(PAIRS) for it in trainers)
    swapped = CODE["test"].rename(columns={"chosen": "rejected", "rejected": "chosen"})
    monkeypatch.setattr(
        store,
        "read_code_pairs",
        lambda run, split: {"train": PAIRS, "test": swapped}[split],
    )
    rows = pd.DataFrame(reward_models.preference_model(tmp_path / "out", **job))
    turned = rows[rows["metric"] == "margin"]["value"]
    assert turned.tolist() == pytest.approx([-each for each in margins])


def test_code_pairs_are_read_by_split_and_01_says_what_it_read(
    base, tmp_path, monkeypatch
):
    monkeypatch.setattr(store, "base_folder", lambda run: base)
    assert store.code_read(tmp_path) == set()  # a model that is not trained here
    pd.DataFrame({"id": ["a", "b"]}).to_parquet(base / store.FUNCTIONS)
    assert store.code_read(tmp_path) == {"a", "b"}
    (tmp_path / "02_code_pairs").mkdir()
    pairs = PAIRS.assign(split=["train"] * 6 + ["test"] * 2)
    pairs.to_parquet(tmp_path / "02_code_pairs" / "pairs.parquet")
    assert store.read_code_pairs(tmp_path, "test")["id"].tolist() == ["p6", "p7"]
    assert len(store.read_code_pairs(tmp_path, "train", "test")) == 8


@pytest.mark.parametrize("method", ["dpo", "ipo", "dpo_norm", "dpo_robust"])
def test_a_method_of_dpo_has_its_loss_and_its_fit(method, trainers, tmp_path):
    dpo.dpo(tmp_path / "out", run=tmp_path, method=method, seed=0, **POLICY)
    (args,) = (trainer.args for trainer in trainers)
    name = {"ipo": "ipo", "dpo_norm": "sigmoid_norm", "dpo_robust": "robust"}
    assert args.loss_type == [name.get(method, "sigmoid")]
    assert args.label_smoothing == (0.2 if method == "dpo_robust" else 0.0)
    assert args.learning_rate == (1e-4 if method == "ipo" else 1e-2)
    assert args.num_train_epochs == (2 if method == "dpo_norm" else 1)


def test_the_control_of_tis_dpo_has_its_weights_elsewhere(trainers, tmp_path):
    found, weights = {}, {}
    for method in ("tis_dpo", "tis_random"):
        rows = dpo.dpo(tmp_path / "out", run=tmp_path, method=method, seed=0, **POLICY)
        found[method] = {row["metric"]: row["value"] for row in rows}
        data = trainers[-1].train_dataset
        weights[method] = np.concatenate(list(data["chosen_weights"]))
    assert len(trainers) == 6
    own, dealt = weights.values()
    np.testing.assert_allclose(np.sort(own), np.sort(dealt), rtol=1e-5)
    assert not np.allclose(own, dealt)
    for name in ("weight_sd_chosen", "weight_q95_rejected", "weight_clamped_chosen"):
        values = [each[name] for each in found.values()]
        assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert found["tis_dpo"]["weight_sd_chosen"] == pytest.approx(own.std())
    assert found["tis_dpo"]["weight_sd_chosen"] > 0


def test_it_is_told_what_the_cut_does_to_pairs(base, stages, monkeypatch, tmp_path):
    same = PAIRS.assign(chosen=PAIRS["chosen"].where(PAIRS.index > 1, "i"))
    same["rejected"] = same["rejected"].where(PAIRS.index > 1, "i")
    given = {"train": same, "test": PAIRS}
    monkeypatch.setattr(store, "read_pairs", lambda run, split: given[split])
    monkeypatch.setattr(store, "read_code_pairs", lambda run, split: given[split])
    short, tokenizer = replace(FIT, max_length=8), loading.load_tokenizer(base)
    train, test = Counter(), Counter()
    datasets.pair_dataset(same, tokenizer, 8, train)
    datasets.pair_dataset(PAIRS, tokenizer, 8, test)
    assert train["pairs_same_after_cut"] == 2
    assert 0 < train["replies_without_end"] < test["replies_without_end"]
    policy = POLICY | {"fits": dict.fromkeys(FITS, short)}
    call, fit = {"out": tmp_path / "out", "run": tmp_path, "seed": 0}, {"fit": short}
    for rows in (
        reward_models.preference_model(**call, init="codepmp", **fit),
        reward_models.reward_model(**call, **(REWARD | fit)),
        dpo.dpo(**call, method="dpo", **policy),
    ):
        found = {row["metric"]: row["value"] for row in rows}
        assert {name: found[name] for name in train} == dict(train)
        if "margin" in found:
            cut = found["test_replies_without_end"]
            assert cut == test["replies_without_end"]


def test_each_method_is_compared_at_its_own_strength(tmp_path):
    given = {
        "06_dpo": {"beta": 0.1, "tau": 0.5, "norm_beta": 2.0},
        "07_ppo": {"kl_coef": 0.2},
    }
    for stage, parameters in given.items():
        write_manifest(tmp_path, stage, parameters=parameters)
    found = store.strengths(tmp_path)
    assert found["dpo_robust"] == found["sft_dpo"] == 0.1
    assert (found["ipo"], found["dpo_norm"], found["ppo"]) == (0.5, 2.0, 0.2)
