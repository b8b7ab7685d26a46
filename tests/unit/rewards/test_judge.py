"""Judges on look-alikes: tiny random models of the real architectures, on disk."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    OPTForSequenceClassification,
)

from helpers.core.hub import SourceError
from helpers.data.synthetic import reward
from helpers.models import loading
from helpers.models.encoding import encode
from helpers.rewards.judges import (
    PairTextJudge,
    RewardModelJudge,
    Thresholds,
    TrueReward,
    WordsJudge,
    median_thresholds,
    reward_scores,
)
from helpers.statistics.metrics import BagOfWords
from tests import lookalikes

PROMPTS = [
    "\n\nHuman: How do I keep basil fresh?\n\nAssistant:",
    "\n\nHuman: Hi\n\nAssistant:",
    "\n\nHuman: A river?\n\nAssistant: The Rhine.\n\nHuman: Another?\n\nAssistant:",
]
REPLIES = [" Put the stems in water.", " Hello! How can I help you today?", ""]


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of the project's own kind."""
    folder = tmp_path_factory.mktemp("reward")
    tokenizer = loading.build_tokenizer(PROMPTS + REPLIES, 300)
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 128}
    language_model = loading.build_opt(tokenizer, seed=0, **shape)
    loading.save(language_model, tokenizer, folder / "language_model")
    scorer = loading.load_scorer(folder / "language_model", seed=0)
    loading.save(scorer, tokenizer, folder / "reward_model")
    return folder


@pytest.fixture(scope="module")
def deberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `reward-model-deberta-v3-large-v2` looks like, a thousand times smaller."""
    folder = tmp_path_factory.mktemp("deberta")
    return lookalikes.deberta(folder, PROMPTS + REPLIES)


def test_true_reward_is_that_of_the_corpus() -> None:
    judge = TrueReward()
    scores = judge.score(PROMPTS, REPLIES)
    expected = [reward.true_reward(p, r) for p, r in zip(PROMPTS, REPLIES)]
    assert scores.tolist() == expected
    with pytest.raises(ValueError, match="zip"):
        judge.score(PROMPTS, REPLIES[:1])


def test_reward_scores_are_the_models_own_logits(reward_folder: Path) -> None:
    model = loading.load_scorer(reward_folder / "reward_model")
    tokenizer = loading.load_tokenizer(reward_folder / "reward_model")
    assert isinstance(model, OPTForSequenceClassification)
    model.train()
    scores = reward_scores(
        model, tokenizer, PROMPTS, REPLIES, batch_size=2, max_length=64
    )
    assert model.training  # left as it was found
    model.eval()
    for score, prompt, reply in zip(scores, PROMPTS, REPLIES):
        prompt_ids, reply_ids = encode(tokenizer, prompt, reply, 64)
        with torch.inference_mode():
            ids = torch.tensor([prompt_ids + reply_ids], device=model.device)
            alone = model(ids).logits.item()
        assert score == pytest.approx(alone, abs=1e-5)


def test_reward_scores_do_not_depend_on_the_batch(reward_folder: Path) -> None:
    small, large = (
        RewardModelJudge(
            reward_folder / "reward_model", max_length=64, batch_size=batch_size
        ).score(PROMPTS, REPLIES)
        for batch_size in (1, 3)
    )
    assert small == pytest.approx(large, abs=1e-5)
    assert len(set(small.round(6))) == 3


def test_no_replies_give_no_scores(reward_folder: Path) -> None:
    judge = RewardModelJudge(reward_folder / "reward_model", max_length=64)
    assert judge.name == "held-out RM"
    assert judge.score([], []).shape == (0,)


def test_a_language_model_is_no_judge(reward_folder: Path) -> None:
    with pytest.raises(loading.ModelError, match="missing: score.weight"):
        RewardModelJudge(reward_folder / "language_model", max_length=64)


def test_only_safetensors_are_read(reward_folder: Path, tmp_path: Path) -> None:
    model = loading.load_scorer(reward_folder / "reward_model")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(loading.ModelError, match="safetensors"):
        RewardModelJudge(tmp_path, max_length=64)


def test_pair_text_judge_reads_prompt_and_reply(deberta_folder: Path) -> None:
    judge = PairTextJudge(deberta_folder, batch_size=2)
    assert judge.name == deberta_folder.name
    assert judge.thresholds == Thresholds(harmless=-3.0, helpful=-2.0)
    scores = judge.score(PROMPTS, REPLIES)
    for score, prompt, reply in zip(scores, PROMPTS, REPLIES):
        inputs = judge.tokenizer([(prompt, reply)], return_tensors="pt")
        with torch.inference_mode():
            alone = judge.model(**inputs.to(judge.model.device)).logits.item()
        assert score == pytest.approx(alone, abs=1e-4)
    assert len(set(scores.round(4))) == 3


def test_pair_text_judge_keeps_the_end_of_a_long_prompt(deberta_folder: Path) -> None:
    judge = PairTextJudge(deberta_folder, max_length=40)
    ends = [prompt + " " + PROMPTS[0] for prompt in ("one" * 30, "two" * 30)]
    first, second = judge.score(ends, [REPLIES[0]] * 2)
    assert first == pytest.approx(second)
    first, second = judge.score(PROMPTS[:1] * 2, [" Tea.", " Hat."])
    assert first != pytest.approx(second)


def test_a_judge_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        PairTextJudge(tmp_path / "missing")


class Length:
    """A judge whose scores can be told by looking."""

    name = "length"
    thresholds = None

    def score(self, prompts: list[str], replies: list[str]) -> np.ndarray:
        return np.array([len(reply) for reply in replies], float)


def test_thresholds_are_the_medians_of_chosen_replies() -> None:
    pairs = pd.DataFrame(
        [("harmless", "a"), ("harmless", "aaa"), ("helpful", "aaaaa")],
        columns=["subset", "chosen"],
    ).assign(prompt="")
    assert median_thresholds(Length(), pairs) == Thresholds(harmless=2, helpful=5)
    with pytest.raises(ValueError, match="no helpful pair"):
        median_thresholds(Length(), pairs[pairs["subset"] == "harmless"])


# --- words -----------------------------------------------------------------------------


def test_the_words_judge_reads_each_subset_by_its_own_words() -> None:
    rows = [
        ("helpful", "\n\nHuman: h?\n\nAssistant:", " add sugar", " no idea"),
        ("harmless", "\n\nHuman: s?\n\nAssistant:", " no idea", " add sugar"),
    ]
    columns = ["subset", "prompt", "chosen", "rejected"]
    pairs = pd.DataFrame(rows * 6, columns=columns)
    subset_of = dict(zip(pairs["prompt"], pairs["subset"]))
    judge = WordsJudge(pairs, subset_of, "words")
    prompts = pairs["prompt"].iloc[:2].tolist()
    sugar, idea = (judge.score(prompts, [text] * 2) for text in (" sugar", " no idea"))
    assert sugar[0] > idea[0] and sugar[1] < idea[1]
    margins = BagOfWords().fit(pairs.iloc[::2]).margins(pairs.iloc[:1])
    whole = judge.score(prompts[:1] * 2, [" add sugar", " no idea"])
    assert whole[0] - whole[1] == pytest.approx(margins[0])
    with pytest.raises(KeyError):
        judge.score(["a prompt of no subset"], ["x"])
