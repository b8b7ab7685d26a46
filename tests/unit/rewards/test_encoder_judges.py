"""Judges that start from an encoder: one reading in training and in judging."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import logsigmoid
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from helpers.models import loading, scoring
from helpers.recipes import by_hand, reward_models
from helpers.rewards.judges import RewardModelJudge, reward_scores
from helpers.runs import store
from helpers.trainers.training import Fit

WORDS = [
    "human",
    "assistant",
    "any",
    "tips",
    "on",
    "tea",
    "warm",
    "the",
    "pot",
    "please",
    "no",
    "who",
    "asks",
    "wait",
    "two",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
LENGTH = 40


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT without a head, in the hub's layout: as MiniLM comes."""
    pieces = [*SPECIAL, *WORDS, *":.?!"]
    backend = Tokenizer(models.WordPiece({p: at for at, p in enumerate(pieces)}))
    backend.model.unk_token = "[UNK]"
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
        pad_token_id=0,
    )
    out = tmp_path_factory.mktemp("encoder")
    BertModel(config).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def pairs(count: int) -> pd.DataFrame:
    """Pairs in which the polite reply is chosen."""
    random = np.random.default_rng(0)
    rows = []
    for at in range(count):
        words = " ".join(random.choice(WORDS[3:], 3))
        prompt = f"\n\nHuman: {words}?\n\nAssistant:"
        good, bad = f" Please {words}.", f" No {words}."
        rows.append((f"p{at}", "helpful", prompt, good, bad))
    columns = ["id", "subset", "prompt", "chosen", "rejected"]
    return pd.DataFrame(rows, columns=columns).assign(split="judge")


def test_prompt_and_reply_are_one_sequence_between_the_encoders_marks(start) -> None:
    tokenizer = loading.load_tokenizer(start)
    assert tokenizer.eos_token == "[SEP]" and tokenizer.pad_token == "[PAD]"
    ((prompt, reply),) = scoring.encode_replies(
        tokenizer, ["\n\nHuman: tea?\n\nAssistant:"], [" Warm the pot."], LENGTH
    )
    read = tokenizer.convert_ids_to_tokens([*prompt, *reply])
    assert " ".join(read) == ("[CLS] human : tea ? assistant : warm the pot . [SEP]")


def test_a_score_depends_on_no_batch_and_on_the_prompt(start) -> None:
    scorer, tokenizer = loading.load_scorer(start, 0), loading.load_tokenizer(start)
    assert scoring.reads_both_ways(scorer)
    data = pairs(7)
    given = (scorer, tokenizer, data["prompt"].tolist(), data["chosen"].tolist())
    alone = [
        reward_scores(*given[:2], [p], [r], max_length=LENGTH)[0]
        for p, r in zip(given[2], given[3])
    ]
    together = reward_scores(*given, max_length=LENGTH, batch_size=3)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    other = reward_scores(*given[:2], given[2][::-1], given[3], max_length=LENGTH)
    assert not np.allclose(together, other, atol=1e-4)
    stock = tokenizer(given[2][0] + given[3][0], return_tensors="pt")
    stock.pop("token_type_ids", None)
    assert scorer(**stock).logits.item() == pytest.approx(together[0], abs=1e-5)


def test_the_trainer_learns_from_what_is_judged(start) -> None:
    scorer, tokenizer = loading.load_scorer(start, 0), loading.load_tokenizer(start)
    pair = pairs(1)
    both = [*pair["chosen"], *pair["rejected"]]
    prompts = [*pair["prompt"]] * 2
    chosen, rejected = reward_scores(
        scorer, tokenizer, prompts, both, max_length=LENGTH
    )
    said = by_hand.reward_loss(scorer, tokenizer, pair, LENGTH)
    margin = torch.tensor(chosen - rejected)
    assert said == pytest.approx(float(-logsigmoid(margin)), abs=1e-5)


def test_a_judge_learns_from_its_fold_and_is_loaded_again(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pairs(96)
    monkeypatch.setattr(store, "read_pairs", lambda run, *splits: data)
    fit = Fit(3e-3, 8, 6.0, max_length=LENGTH)
    job = {"run": tmp_path, "method": "judge", "pairs": 64, "starts": [str(start)]}
    rows = pd.DataFrame(reward_models.judge(tmp_path, **job, seed=0, fit=fit))
    margins = rows[rows["metric"] == "margin"]["value"]
    assert (margins > 0).mean() > 0.95
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    judge = RewardModelJudge(tmp_path, max_length=LENGTH, name="judge 0")
    prompts = data["prompt"].tolist()
    again = judge.score(prompts, data["chosen"].tolist())
    again = again - judge.score(prompts, data["rejected"].tolist())
    np.testing.assert_allclose(again, margins, atol=1e-4)
