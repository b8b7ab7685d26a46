"""One example by hand: what notebooks compute in the open is what the trainers say."""

import json
from math import log
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import logsigmoid

from helpers.core.paths import PROJECT
from helpers.losses.policy_gradient import ppo_policy_loss
from helpers.models import loading
from helpers.recipes import by_hand
from helpers.trainers import datasets, training
from helpers.trainers.ppo.advantages import assign_credit
from helpers.trainers.ppo.config import PPOConfig
from helpers.trainers.rollouts import MEASURES, Episode, stack
from tests.unit.trainers.test_training import PAIRS

PAIR, LENGTH = PAIRS.iloc[[0]], 96


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = PAIRS["prompt"] + PAIRS["chosen"] + PAIRS["rejected"]
    tokenizer = loading.build_tokenizer(texts.tolist(), 300)
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": LENGTH}
    out = tmp_path_factory.mktemp("base")
    loading.save(loading.build_opt(tokenizer, **shape, seed=0).eval(), tokenizer, out)
    return out


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """A model a little away from where it was."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return model


def test_dpo_by_hand(base: Path) -> None:
    reference, tokenizer = by_hand.loaded(base)
    policy = moved(by_hand.loaded(base)[0])
    own, theirs = (
        [side.sum() for side in by_hand.token_logprobs(model, tokenizer, PAIR, LENGTH)]
        for model in (policy, reference)
    )
    margin = (own[0] - theirs[0]) - (own[1] - theirs[1])
    said = by_hand.dpo_loss(policy, reference, tokenizer, PAIR, 0.1, LENGTH)
    assert said == pytest.approx(float(-logsigmoid(0.1 * margin)), abs=1e-5)
    still = by_hand.dpo_loss(reference, reference, tokenizer, PAIR, 0.1, LENGTH)
    assert still == pytest.approx(log(2), abs=1e-6) != pytest.approx(said, abs=1e-4)


def test_sft_by_hand(base: Path) -> None:
    policy, tokenizer = by_hand.loaded(base)
    chosen, rejected = by_hand.token_logprobs(moved(policy), tokenizer, PAIR, LENGTH)
    said = by_hand.sft_loss(policy, tokenizer, PAIR, LENGTH)
    assert said == pytest.approx(float(-chosen.mean()), abs=1e-5)
    assert said != pytest.approx(float(-rejected.mean()), abs=1e-4)
    # where the prompt is cut, the longer reply decides how far, for both
    cut = PAIR.assign(prompt=PAIR["prompt"] * 3, rejected=PAIR["rejected"] * 2)
    chosen, _ = by_hand.token_logprobs(policy, tokenizer, cut, LENGTH)
    said = by_hand.sft_loss(policy, tokenizer, cut, LENGTH)
    assert said == pytest.approx(float(-chosen.mean()), abs=1e-5)


def test_the_pieces_of_a_reply_are_its_tokens_in_words(base: Path) -> None:
    policy, tokenizer = by_hand.loaded(base)
    pieces = by_hand.pieces(tokenizer, PAIR, LENGTH)
    scored = by_hand.token_logprobs(policy, tokenizer, PAIR, LENGTH)
    assert list(map(len, pieces)) == list(map(len, scored))
    for side, found in zip(("chosen", "rejected"), pieces):
        assert "".join(found) == PAIR[side].iloc[0] + tokenizer.eos_token


def rewards(scorer: torch.nn.Module, tokenizer) -> torch.Tensor:
    states = by_hand.last_states(scorer, tokenizer, PAIR, LENGTH)
    return torch.stack(states) @ scorer.score.weight[0]


def test_a_reward_by_hand(base: Path) -> None:
    scorer, tokenizer = moved(loading.load_scorer(base, 0)), by_hand.loaded(base)[1]
    chosen, rejected = rewards(scorer, tokenizer)
    said = by_hand.reward_loss(scorer, tokenizer, PAIR, LENGTH)
    assert said == pytest.approx(float(-logsigmoid(chosen - rejected)), abs=1e-5)
    assert said != pytest.approx(float(-logsigmoid(rejected - chosen)), abs=1e-4)


def test_codepmp_by_hand(base: Path) -> None:
    policy, tokenizer = by_hand.loaded(base)
    scorer = loading.load_scorer(base, 0)
    chosen, rejected = rewards(scorer, tokenizer)
    written = by_hand.token_logprobs(policy, tokenizer, PAIR, LENGTH)[0]
    said = by_hand.codepmp_loss(scorer, policy, tokenizer, PAIR, LENGTH)
    hand = -logsigmoid(chosen - rejected) - written.mean()
    assert said == pytest.approx(float(hand), abs=1e-5)


def test_the_first_pair_that_stays_whole_is_shown(base: Path) -> None:
    tokenizer = by_hand.loaded(base)[1]
    same = PAIRS.iloc[[0]].assign(rejected=PAIRS["chosen"].iloc[0])
    long = PAIRS.iloc[[0]].assign(rejected=" word" * 200)
    pairs = pd.concat([same, long, PAIRS.iloc[[2]]])
    shown = by_hand.first_whole(pairs, tokenizer, LENGTH)
    assert shown["chosen"].tolist() == [" Wait."]
    cut = by_hand.first_whole(pairs.iloc[:2], tokenizer, LENGTH)
    assert cut["rejected"].tolist() == long["rejected"].tolist()
    with pytest.raises(ValueError, match="no pair's replies differ"):
        by_hand.first_whole(pairs.iloc[:1], tokenizer, LENGTH)


@pytest.mark.parametrize("kind", ["reward", "codepmp", "dpo"])
def test_sharing_prompts_can_be_switched_off(base: Path, tmp_path, kind: str) -> None:
    """Off, the model reads a copy of the prompt per reply, and says the same."""
    found, read = {}, {}
    for share in (True, False):
        policy, tokenizer = by_hand.loaded(base)
        scorer = loading.load_scorer(base, 0)
        data = datasets.pair_dataset(PAIRS, tokenizer, LENGTH)
        fit = training.Fit(1e-6, 4, max_length=LENGTH, share_prompts=share)
        model = policy if kind == "dpo" else scorer
        if kind == "dpo":
            moved(policy)
            reference = by_hand.loaded(base)[0]
            given = (policy, tokenizer, data, fit, tmp_path, 0.1)
            trainer = training.dpo_trainer(*given, reference=reference)
        elif kind == "codepmp":
            head, coefs = policy.get_output_embeddings(), {"rm_coef": 1, "lm_coef": 1}
            given = (scorer, head, tokenizer, data, fit, tmp_path)
            trainer = training.preference_trainer(*given, **coefs)
        else:
            trainer = training.reward_trainer(scorer, tokenizer, data, fit, tmp_path)
        tokens: list[int] = []
        model.base_model.decoder.layers[0].fc1.register_forward_hook(
            lambda layer, inputs, output, seen=tokens: seen.append(output.numel())
        )
        found[share], read[share] = training.loss_of(trainer), sum(tokens)
    assert np.isclose(found[True], found[False], atol=1e-5)
    assert read[True] < read[False]


# --- PPO's cells in chapter 07 ---------------------------------------------------------


def episode(length: int, ended: bool, score: float) -> Episode:
    generator = torch.Generator().manual_seed(length)
    measured = {
        name: torch.randn(length, generator=generator) - 1.0 for name in MEASURES
    }
    return Episode(
        prompt=[1, 2], reply=[3] * length, score=score, ended=ended, **measured
    )


@pytest.mark.parametrize("lengths", [(3, 7), (7, 3), (5, 5), (1, 4)])
@pytest.mark.parametrize(("ended", "score"), [(True, 0.7), (False, 0.7), (True, 99.0)])
def test_a_reply_of_any_length_by_hand(lengths, ended, score, monkeypatch) -> None:
    """The chapter looks at the first reply of a rollout, which others may outlast."""
    episodes = [episode(lengths[0], ended, score), episode(lengths[1], True, -0.2)]
    rollout, args = stack(episodes), PPOConfig(output_dir="", use_cpu=True)
    scores = rollout.scores - args.missing_eos_penalty * ~rollout.ended
    credit = assign_credit(rollout, scores, args, 0.1)
    words = SimpleNamespace(decode=str)
    trainer = SimpleNamespace(
        rollout=rollout, credit=credit, args=args, processing_class=words
    )
    tables = []
    told = {
        "by_hand": SimpleNamespace(ppo_rollout=lambda *_: trainer),
        "grid": [{"method": "ppo", "strength": 0.1}],
        "stage": SimpleNamespace(
            job=lambda *_, **__: None, run=None, params=SimpleNamespace()
        ),
        "report": SimpleNamespace(
            table=lambda *it: tables.append(it), say=lambda *_, **__: None
        ),
        "display": lambda it: None,
        "torch": torch,
        "pd": pd,
        "ppo_policy_loss": ppo_policy_loss,
    }
    ran = 0
    for cell in read_cells(PROJECT.notebook("07_ppo")):
        if "if job:" in cell or "def gae(" in cell:
            exec(compile(cell, "07_ppo", "exec"), told)  # noqa: S102  our own cells
            ran += 1
    assert ran == 7 and len(tables[0][0]) == lengths[0]


def read_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(each["source"]) for each in cells if each["cell_type"] == "code"]
