"""What comes from the hub: pinned, safe, and readable in its true layout."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers.config.constraints import SOURCES, check_models
from helpers.config.parameters import ParameterError
from helpers.core import hub
from helpers.data.code import descriptions
from helpers.models import loading
from helpers.models.encoding import encode, encode_prompt
from helpers.models.generation import generate
from helpers.models.scoring import sequence_logprobs
from helpers.recipes import code_writers
from helpers.trainers import datasets, training
from tests import lookalikes

FUNCTION = {
    "name": "double",
    "code": "def double(x):\n    y = 2\n    return x * y",
    "docstring": "Twice the number.",
}
PROMPT, REPLY = "\n\nHuman: How?\n\nAssistant:", " Like this."
TEXTS = [PROMPT, REPLY, FUNCTION["code"], "### Instruction: user assistant"]
ASKED = (
    "Write one Python function, without a docstring, comments or explanations, that "
    "fits this description:\nTwice the number."
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("hub")
    makers = (lookalikes.opt_350m, lookalikes.qwen_coder, lookalikes.deepseek_coder)
    return {make.__name__: make(root / make.__name__, TEXTS) for make in makers}


# --- names and commits -----------------------------------------------------------------


def test_a_name_is_read_at_its_commit(tmp_path) -> None:
    name = "facebook/opt-350m"
    assert hub.located(name) == (name, hub.PINNED[name])
    assert hub.located("some/model@abc123") == ("some/model", "abc123")
    assert hub.located(tmp_path) == (str(tmp_path), "main")
    assert hub.plain_name("some/model@abc123") == "model"


def test_every_pin_is_a_whole_commit() -> None:
    assert all(
        len(each) == 40 and set(each) <= set("0123456789abcdef")
        for each in hub.PINNED.values()
    )


@pytest.mark.parametrize("name", SOURCES)
def test_a_name_without_a_commit_is_refused_before_anything_runs(name) -> None:
    with pytest.raises(ParameterError, match="name@commit"):
        check_models("stage", {name: "some/model"})
    for fine in ("", "some/model@abc", "facebook/opt-350m"):
        check_models("stage", {name: fine})


class Loader:
    """Stands for an Auto class: the pinned commit has no safetensors."""

    def __init__(self) -> None:
        self.calls: list[dict] = []

    def from_pretrained(self, name: str, **settings: object) -> str:
        self.calls.append(settings)
        if "revision" in settings:
            raise OSError(f"{name} cannot be loaded with `safetensors`")
        return "converted", {}


def test_the_hubs_conversion_is_taken_for_the_newest_commit_only(monkeypatch) -> None:
    name, newest = "facebook/opt-350m", hub.PINNED["facebook/opt-350m"]
    api = SimpleNamespace(model_info=lambda name: SimpleNamespace(sha=newest))
    monkeypatch.setattr(loading, "HfApi", lambda: api)
    monkeypatch.setattr(loading, "check_files", lambda name, commit: None)
    monkeypatch.setattr(loading, "check_whole", lambda *given: None)
    loader = Loader()
    assert loading.from_pretrained(loader, name) == "converted"
    assert loader.calls[0]["revision"] == newest
    assert all(each["use_safetensors"] for each in loader.calls)
    assert not any(each["trust_remote_code"] for each in loader.calls)
    newest = "0" * 40
    with pytest.raises(loading.ModelError, match="is not the newest"):
        loading.from_pretrained(Loader(), name)


def test_pickled_weights_are_refused(folders, tmp_path) -> None:
    loading.load_tokenizer(folders["opt_350m"]).save_pretrained(tmp_path)
    model = loading.load_policy(folders["opt_350m"])
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(loading.ModelError, match="safetensors only"):
        loading.from_pretrained(AutoModelForCausalLM, tmp_path)


# --- what they are ---------------------------------------------------------------------


def test_opt_350m_is_read_as_it_is(folders) -> None:
    tokenizer = loading.load_tokenizer(folders["opt_350m"])
    policy = loading.load_policy(folders["opt_350m"])
    assert policy.config.word_embed_proj_dim == 8 and policy.dtype == torch.float32
    assert not policy.config.do_layer_norm_before
    prompt, reply = encode(tokenizer, PROMPT, REPLY, 64)
    end = tokenizer.eos_token_id
    # OPT starts every text with its end token; ours ends every reply with it too
    assert prompt[0] == end and reply[-1] == end and prompt.count(end) == 1
    assert tokenizer.decode(prompt[1:] + reply[:-1]) == PROMPT + REPLY
    assert tokenizer.pad_token_id == 1


def test_replies_of_opt_350m_are_scored_as_it_scores_them(folders) -> None:
    tokenizer = loading.load_tokenizer(folders["opt_350m"])
    policy = loading.load_policy(folders["opt_350m"])
    (found,) = sequence_logprobs(policy, tokenizer, [PROMPT], [REPLY], max_length=64)
    prompt, reply = encode(tokenizer, PROMPT, REPLY, 64)
    ids = torch.tensor([prompt + reply])
    with torch.inference_mode():
        logprobs = policy(ids).logits.log_softmax(-1)[0, :-1]
    expected = logprobs.gather(1, ids[0, 1:, None])[len(prompt) - 1 :, 0]
    assert torch.allclose(torch.as_tensor(found), expected, atol=1e-5)


def test_a_reward_model_starts_from_opt_350m(folders, tmp_path) -> None:
    tokenizer = loading.load_tokenizer(folders["opt_350m"])
    scorer = loading.load_scorer(folders["opt_350m"], seed=0)
    pairs = pd.DataFrame(
        {"prompt": [PROMPT] * 8, "chosen": [REPLY] * 8, "rejected": [" No."] * 8}
    )
    data = datasets.pair_dataset(pairs, tokenizer, 64)
    fit = training.Fit(1e-2, 4, epochs=8)
    rows = training.fit_reward_model(scorer, tokenizer, data, fit, tmp_path)
    losses = [row["value"] for row in rows if row["metric"] == "train_loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen_coder", f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n"),
        ("deepseek_coder", f"### Instruction:\n{ASKED}\n### Response:\n"),
    ],
)
def test_coders_are_asked_in_their_own_format(folders, name, expected) -> None:
    tokenizer = loading.load_tokenizer(folders[name])
    prompt = code_writers.chat_prompt(
        tokenizer, code_writers.request_for_code(FUNCTION)
    )
    ids = encode_prompt(tokenizer, prompt, 256)
    start = tokenizer.bos_token or ""  # once, whoever adds it
    assert tokenizer.decode(ids) == start + expected
    assert ids.count(tokenizer.bos_token_id) == bool(start)
    policy = loading.load_policy(folders[name])
    limits = {"max_new_tokens": 4, "max_prompt_tokens": 256}
    (reply,) = generate(policy, tokenizer, [prompt], **limits)
    assert 1 <= len(reply.ids) <= 4


def test_a_writer_without_a_chat_format_is_refused(folders) -> None:
    tokenizer = loading.load_tokenizer(folders["opt_350m"])
    with pytest.raises(ValueError, match="needs a chat template"):
        code_writers.chat_prompt(tokenizer, code_writers.request_for_code(FUNCTION))


@pytest.mark.parametrize(
    "reply",
    [
        "Sure!\n```python\ndef f():\n    return 1\n```\nThis returns 1.",
        "```\ndef f():\n    return 1\n```",
        "```py\ndef f():\n    return 1\n",  # cut by length
        "\ndef f():\n    return 1\n",
    ],
)
def test_the_code_is_taken_out_of_a_chat_reply(reply) -> None:
    assert code_writers.code_of(reply) == "def f():\n    return 1"


def test_a_describer_reads_the_code_and_not_the_docstring(folders, tmp_path) -> None:
    asked = code_writers.request_for_description(FUNCTION)
    assert FUNCTION["code"] in asked and FUNCTION["docstring"] not in asked
    settings = {"seed": 0, "max_new_tokens": 6, "max_length": 256, "temperature": 0.7}
    source = str(folders["qwen_coder"])
    functions = [{"id": "f", **FUNCTION}]
    code_writers.pretrained_coder(
        tmp_path,
        method="describer",
        functions=functions,
        sources={"describer": source},
        **settings,
    )
    (said,) = pd.read_parquet(tmp_path / "replies.parquet")["reply"]
    described = descriptions.described(pd.DataFrame(functions), [said])
    assert described["docstring"].tolist() == [said]
