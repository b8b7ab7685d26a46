"""An instruct model asked in its own form: golden strings, and what trainers consume."""

from pathlib import Path

import pandas as pd
import pytest

from helpers.core import hub
from helpers.data.dialogues import conversation
from helpers.models import encoding, loading
from helpers.models.endings import Ending
from helpers.models.scoring import encode_replies
from helpers.recipes import language_models
from helpers.trainers import datasets

# ChatML, as SmolLM2, Qwen and others write it, without a system turn
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DIALOGUE = "\n\nHuman: Hi there.\n\nAssistant: Hello!\n\nHuman: How do I brew tea?\n\nAssistant:"
GOLDEN = (
    "<|im_start|>user\nHi there.<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
    "<|im_start|>user\nHow do I brew tea?<|im_end|>\n<|im_start|>assistant\n"
)
REPLY = " Warm the pot."


@pytest.fixture
def tokenizer():
    found = loading.build_tokenizer([DIALOGUE, GOLDEN, REPLY] * 20, 400)
    marks = {"additional_special_tokens": ["<|im_start|>"], "eos_token": "<|im_end|>"}
    found.add_special_tokens(marks)
    found.chat_template = TEMPLATE
    encoding.speak_chat(found)
    return found


def test_a_dialogue_is_put_by_the_template(tokenizer) -> None:
    prompt, reply = encoding.encode(tokenizer, DIALOGUE, REPLY, 300)
    assert tokenizer.decode(prompt) == GOLDEN
    assert tokenizer.decode(reply) == "Warm the pot.<|im_end|>"
    assert encoding.as_text(DIALOGUE, tokenizer) == GOLDEN
    # as a text it is the data's again, which judges read
    assert encoding.reply_text(tokenizer, reply[:-1], prompt) == REPLY


def test_what_is_too_long_loses_whole_turns(tokenizer) -> None:
    last = "<|im_start|>user\nHow do I brew tea?<|im_end|>\n<|im_start|>assistant\n"
    whole = len(encoding.encode_prompt(tokenizer, DIALOGUE, 300))
    short = encoding.encode_prompt(tokenizer, DIALOGUE, whole - 1)
    assert tokenizer.decode(short) == last
    cut = encoding.encode_prompt(tokenizer, DIALOGUE, len(short) - 3)
    assert last.endswith(tokenizer.decode(cut)) and len(cut) == len(short) - 3
    assert len(encoding.encode_prompt(tokenizer, DIALOGUE, whole)) == whole


def test_replies_to_one_prompt_see_the_same_turns(tokenizer) -> None:
    replies = [REPLY, " word" * 30]
    limit = len(encoding.encode_prompt(tokenizer, DIALOGUE, 300)) + 12
    prompt, _ = encoding.encode_together(tokenizer, DIALOGUE, replies, limit)
    both = encode_replies(tokenizer, [DIALOGUE] * 2, replies, limit)
    assert all(each == prompt for each, _ in both)
    assert tokenizer.decode(prompt).startswith("<|im_start|>user\nHow")


def test_the_form_is_kept_with_the_tokenizer(tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = loading.load_tokenizer(tmp_path)
    assert encoding.speaks_chat(again)
    assert again.decode(encoding.encode_prompt(again, DIALOGUE, 300)) == GOLDEN
    plain = loading.build_tokenizer([DIALOGUE] * 20, 300)
    assert not encoding.speaks_chat(plain)
    with pytest.raises(ValueError, match="no chat template"):
        encoding.speak_chat(plain)


def test_what_trainers_consume_is_the_golden_text(tokenizer) -> None:
    row = datasets.reply_dataset([DIALOGUE], [REPLY], tokenizer, 300)[0]
    learned = [i for i, m in zip(row["input_ids"], row["completion_mask"]) if m]
    assert tokenizer.decode(row["input_ids"]) == GOLDEN + "Warm the pot.<|im_end|>"
    assert tokenizer.decode(learned) == "Warm the pot.<|im_end|>"
    pair = pd.DataFrame({"prompt": [DIALOGUE], "chosen": [REPLY], "rejected": [" No."]})
    ids = datasets.pair_dataset(pair, tokenizer, 300)[0]
    assert tokenizer.decode(ids["prompt_ids"]) == GOLDEN
    assert tokenizer.decode(ids["rejected_ids"]) == "No.<|im_end|>"


def test_turns_become_messages() -> None:
    roles = [(each["role"], each["content"]) for each in conversation(DIALOGUE)]
    assert roles == [
        ("user", "Hi there."),
        ("assistant", "Hello!"),
        ("user", "How do I brew tea?"),
    ]
    twice = "\n\nHuman: One.\n\nHuman: Two.\n\nAssistant:"
    assert conversation(twice) == [{"role": "user", "content": "One.\n\nTwo."}]
    assert conversation("def f(x):\n") == [{"role": "user", "content": "def f(x):"}]


def test_a_base_model_is_told_its_form(tokenizer, tmp_path: Path) -> None:
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 64}
    model = loading.build_opt(tokenizer, **shape, seed=0)
    tokenizer.init_kwargs.pop(encoding.FORM)
    loading.save(model, tokenizer, tmp_path / "start")
    given = {"source": str(tmp_path / "start"), "seed": 0}
    for form in ("data", "chat"):
        language_models.pretrained_model(tmp_path / form, **given, prompt_form=form)
        loaded = loading.load_tokenizer(tmp_path / form)
        assert encoding.speaks_chat(loaded) == (form == "chat")


SMOL = hub.ROOT / "weights" / "smollm2-135m-instruct"


@pytest.mark.skipif(not SMOL.is_dir(), reason="`prefbook weights` has no SmolLM2 here")
def test_smollm2_is_asked_as_its_makers_do() -> None:
    tokenizer = loading.load_tokenizer(SMOL)
    encoding.speak_chat(tokenizer)
    prompt, reply = encoding.encode(tokenizer, DIALOGUE, REPLY, 300)
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    asked = tokenizer.decode(prompt)
    assert asked == f"<|im_start|>system\n{system}<|im_end|>\n{GOLDEN}"
    assert tokenizer.decode(reply) == "Warm the pot.<|im_end|>"
    model = loading.load_policy(SMOL)
    assert Ending(tokenizer, model).reached(reply)
