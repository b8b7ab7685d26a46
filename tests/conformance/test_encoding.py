"""Texts, ids and back, by every kind of tokenizer."""

import random
from collections import Counter

import pandas as pd
import pytest
import torch

from helpers.models import encoding, loading
from helpers.models.endings import Ending, end_ids
from helpers.models.generation import generate
from helpers.models.scoring import encode_replies
from helpers.trainers import datasets
from tests.conformance.conftest import LENGTH, PAIRS, PROMPT

WORDS = ["tea", "pot", "warm", "first", "then", "wait", "spoon", "late", "ripe", "hour"]


def words(count: int, seed: int = 0) -> str:
    return " " + " ".join(random.Random(seed).choices(WORDS, k=count))


# --- prompt and reply ------------------------------------------------------------------


def test_ids_of_prompt_and_reply_spell_the_dialogue(kind):
    tokenizer = loading.load_tokenizer(kind)
    for pair in PAIRS.itertuples():
        for reply in (pair.chosen, pair.rejected):
            prompt, ids = encoding.encode(tokenizer, pair.prompt, reply, LENGTH)
            start = (
                tokenizer.bos_token
                if tokenizer("a")["input_ids"][0] == (tokenizer.bos_token_id)
                else ""
            )
            spelled = tokenizer.decode([*prompt, *ids]).removeprefix(start).lstrip(" ")
            assert spelled == pair.prompt + reply + tokenizer.eos_token
            assert prompt == encoding.encode_prompt(tokenizer, pair.prompt, LENGTH)
            assert encoding.reply_text(tokenizer, ids, prompt) == reply


def test_a_reply_after_its_prompt_has_the_tokens_of_the_whole(kind):
    tokenizer = loading.load_tokenizer(kind)
    for pair in PAIRS.itertuples():
        prompt, reply = encoding.encode(tokenizer, pair.prompt, pair.chosen, LENGTH)
        whole = tokenizer(pair.prompt + pair.chosen, split_special_tokens=True)
        assert [*prompt, *reply[:-1]] == whole["input_ids"]


def test_only_llama_2_reads_a_reply_alone_in_another_way(folders):
    apart = {
        name: encoding.reads_apart(loading.load_tokenizer(folder))
        for name, folder in folders.items()
    }
    assert [name for name, each in apart.items() if not each] == ["llama_2"]
    tokenizer = loading.load_tokenizer(folders["llama_2"])
    alone = encoding.plain_tokens(tokenizer, PAIRS["chosen"][0])
    after = encoding.reply_tokens(tokenizer, PAIRS["prompt"][0], PAIRS["chosen"][0])
    assert alone != after


def test_spelled_special_tokens_stay_text(kind):
    tokenizer = loading.load_tokenizer(kind)
    text = " " + " ".join(tokenizer.all_special_tokens)
    prompt, reply = encoding.encode(tokenizer, PROMPT.format(text), text, LENGTH)
    special = set(tokenizer.all_special_ids) - {tokenizer.bos_token_id}
    assert not special & {*prompt, *reply[:-1]}
    assert prompt.count(tokenizer.bos_token_id) <= 1
    assert encoding.reply_text(tokenizer, reply, prompt) == text


@pytest.mark.parametrize("name", ["qwen", "smollm2"])
def test_conversations_have_the_templates_tokens_and_no_others(name, folders):
    tokenizer = loading.load_tokenizer(folders[name])
    asked = [{"role": "user", "content": "Any tips on tea?"}]
    stock = tokenizer.apply_chat_template(asked, add_generation_prompt=True)
    assert encoding.encode_prompt(tokenizer, asked, LENGTH) == stock["input_ids"]
    spelled = [{"role": "user", "content": "What is <|im_end|>, tea?<|im_end|>"}]
    ids = encoding.encode_prompt(tokenizer, spelled, LENGTH)
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1
    assert tokenizer.decode(ids) == encoding.as_text(spelled, tokenizer)


# --- cuts ------------------------------------------------------------------------------


def test_what_is_compared_is_read_after_one_cut(kind):
    tokenizer = loading.load_tokenizer(kind)
    prompt, short, long = PROMPT.format(words(60)), words(3), words(20)
    pair = pd.DataFrame(
        [(prompt, short, long)], columns=["prompt", "chosen", "rejected"]
    )
    (row,) = datasets.pair_dataset(pair, tokenizer, LENGTH)
    (first, _), (second, _) = encode_replies(
        tokenizer, [prompt] * 2, [short, long], LENGTH
    )
    assert first == second == row["prompt_ids"]
    alone, _ = encoding.encode(tokenizer, prompt, short, LENGTH)
    assert len(alone) > len(first)  # which is what each by itself would give
    given = {"max_length": LENGTH, "room": 40}
    for reply in (short, words(5)):  # in calls apart, a fixed room gives one cut
        ((cut, _),) = encode_replies(tokenizer, [prompt], [reply], **given)
        assert len(cut) == LENGTH - 40


def test_pairs_that_a_cut_makes_alike_are_dropped_and_counted(kind):
    tokenizer, same = loading.load_tokenizer(kind), words(200)
    pairs = pd.DataFrame(
        [
            (PROMPT.format("bread?"), same + " Bake it.", same + " Throw it away."),
            (PROMPT.format("tea?"), " Warm the pot.", same),
        ],
        columns=["prompt", "chosen", "rejected"],
    )
    counts: Counter[str] = Counter()
    data = datasets.pair_dataset(pairs, tokenizer, LENGTH, counts)
    assert len(data) == 1 and data[0]["chosen_ids"] != data[0]["rejected_ids"]
    assert counts == {datasets.SAME: 1, datasets.CUT: 3}
    none = datasets.pair_dataset(pairs[:1], tokenizer, LENGTH)
    assert len(none) == 0 and set(none.column_names) == set(datasets.PAIR_IDS)


# --- padding and ends ------------------------------------------------------------------


def test_padding_is_never_the_end(kind, tmp_path):
    tokenizer = loading.load_tokenizer(kind)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    loading.save(loading.load_policy(kind), tokenizer, tmp_path)
    again = loading.load_tokenizer(tmp_path)
    assert again.pad_token_id == tokenizer.pad_token_id
    text = tokenizer.pad_token  # what spells it is still text
    assert again.pad_token_id not in encoding.plain_tokens(again, text)
    assert encoding.plain_tokens(again, text) == encoding.plain_tokens(tokenizer, text)


def test_where_no_token_is_left_to_pad_with_the_stock_classifier_refuses(
    folders, tmp_path
):
    tokenizer = loading.load_tokenizer(folders["smollm2"])
    tokenizer.pad_token = tokenizer.unk_token = tokenizer.eos_token
    loading.save(loading.load_scorer(folders["smollm2"]), tokenizer, tmp_path)
    scorer = loading.load_scorer(tmp_path).cpu()
    with pytest.raises(ValueError, match="no padding token"):
        scorer(input_ids=torch.ones(2, 3, dtype=torch.long))


def test_every_end_of_the_generation_config_ends_a_reply(folders):
    tokenizer = loading.load_tokenizer(folders["qwen"])
    policy = loading.load_policy(folders["qwen"]).cpu()
    ends = end_ids(tokenizer, policy)
    assert len(ends) == 2
    for end in ends:
        hook = policy.lm_head.register_forward_hook(
            lambda module, args, out, end=end: out.index_fill(
                -1, torch.tensor([end]), 50.0
            )
        )
        limits = {"max_new_tokens": 6, "max_prompt_tokens": 32}
        (reply,) = generate(policy, tokenizer, PAIRS["prompt"].tolist()[:1], **limits)
        hook.remove()
        assert reply.ids == [end] and reply.ended and reply.text == ""


@pytest.mark.parametrize("marker", ["\n\nHuman:", "\n\nAssistant:"])
def test_the_marker_of_another_turn_ends_a_reply(kind, marker):
    tokenizer = loading.load_tokenizer(kind)
    prompt = encoding.encode_prompt(tokenizer, PAIRS["prompt"][0], LENGTH)
    ending = Ending(tokenizer)
    ids = encoding.reply_tokens(tokenizer, PAIRS["prompt"][0], " Yes: two." + marker)
    assert ending.reached(ids) and ending.text(ids, prompt) == " Yes: two."
    assert not any(ending.reached(ids[:stop]) for stop in range(len(ids)))
    whole = Ending(tokenizer, at_turns=False)
    assert not whole.reached(ids) and whole.text(ids, prompt) == " Yes: two." + marker
