"""Encoding, decoding and scoring, each against the slow and obvious way."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from helpers.data.dialogues import HUMAN
from helpers.models import hardware, loading
from helpers.models.encoding import encode, encode_prompt
from helpers.models.generation import generate, uniform_draws
from helpers.models.scoring import couples, sequence_logprobs
from helpers.models.states import collate, reply_states

CORPUS = [
    "\n\nHuman: Which herbs grow well on a balcony?\n\nAssistant: Mint and chives do.",
    "\n\nHuman: How do I mend a tyre?\n\nAssistant: Find the hole and patch it.",
]
PROMPTS = [
    "\n\nHuman: Hi\n\nAssistant:",
    "\n\nHuman: How do I mend a bicycle tyre on a rainy day?\n\nAssistant:",
    "\n\nHuman: Which herbs grow well?\n\nAssistant:",
    "\n\nHuman: And mint?\n\nAssistant:",
]
TOKENIZER = loading.build_tokenizer(CORPUS, 300)
EOS = TOKENIZER.eos_token_id
SMALL = {"hidden": 32, "layers": 2, "heads": 2, "max_positions": 128}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    built = loading.build_opt(TOKENIZER, seed=0, **SMALL)
    with torch.no_grad():  # livelier than a fresh model, whose logits are all alike
        for parameter in built.parameters():
            parameter.mul_(4.0)
    return built.eval()


class Script(nn.Module):
    """An output head that says a fixed text token by token, whatever it is asked."""

    def __init__(self, ids: list[int], vocabulary: int) -> None:
        super().__init__()
        self.ids, self.vocabulary, self.calls = ids, vocabulary, 0

    def forward(self, hidden: Tensor) -> Tensor:
        logits = hidden.new_zeros(*hidden.shape[:-1], self.vocabulary)
        logits[..., self.ids[self.calls % len(self.ids)]] = 50.0
        self.calls += 1
        return logits


def scripted(text: str, end: bool = False) -> nn.Module:
    built = loading.build_opt(TOKENIZER, seed=0, **SMALL)
    ids = TOKENIZER(text)["input_ids"] + [EOS] * end
    built.lm_head = Script(ids, len(TOKENIZER))
    return built.eval()


# --- encoding ------------------------------------------------------------------------


def test_encode_joins_to_the_tokens_of_the_whole_text() -> None:
    prompt, reply = encode(TOKENIZER, PROMPTS[2], " Mint and chives do.", 200)
    whole = TOKENIZER(PROMPTS[2] + " Mint and chives do.")["input_ids"]
    assert prompt + reply == [*whole, EOS]


def test_encode_cuts_the_prompt_on_the_left_and_keeps_the_end() -> None:
    full, reply = encode(TOKENIZER, PROMPTS[1], " Patch it.", 200)
    short, same = encode(TOKENIZER, PROMPTS[1], " Patch it.", len(reply) + 12)
    assert same == reply and reply[-1] == EOS
    assert short == full[-12:]


def test_encode_cuts_a_long_reply_on_the_right_and_its_end() -> None:
    long = " patch" * 60
    prompt, reply = encode(TOKENIZER, PROMPTS[1], long, 20)
    assert (len(prompt), len(reply)) == (10, 10)
    assert reply == TOKENIZER(long)["input_ids"][:10]


def test_encode_cuts_no_more_of_a_reply_than_it_must() -> None:
    prompt, reply = encode(TOKENIZER, "Hi", " patch" * 60, 40)
    assert prompt == TOKENIZER("Hi")["input_ids"]
    assert len(prompt) + len(reply) == 40


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.integers(4, 60))
def test_encode_fits_any_text(prompt: str, reply: str, limit: int) -> None:
    prompt_ids, reply_ids = encode(TOKENIZER, prompt, reply, limit)
    assert prompt_ids and reply_ids
    assert len(prompt_ids) + len(reply_ids) <= limit


def test_a_start_token_survives_the_cut() -> None:
    # OPT's own tokenizer opens every text with one
    starting = loading.build_tokenizer(CORPUS, 300)
    starting.backend_tokenizer.post_processor = TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", EOS)]
    )
    plain = TOKENIZER(PROMPTS[1])["input_ids"]
    assert encode_prompt(starting, PROMPTS[1], 6) == [EOS, *plain[-5:]]
    prompt, reply = encode(starting, PROMPTS[1], " Yes", 20)
    assert prompt == [EOS, *plain[-(19 - len(reply)) :]]
    assert reply == encode(TOKENIZER, "", " Yes", 20)[1]


def test_encode_refuses_what_leaves_no_room() -> None:
    with pytest.raises(ValueError, match="max_length 3"):
        encode(TOKENIZER, "a", "b", 3)
    with pytest.raises(ValueError, match="no room for a prompt"):
        encode_prompt(TOKENIZER, "a", 0)


# --- decoding ------------------------------------------------------------------------


@torch.no_grad()
def greedy(
    model: nn.Module, prompt: list[int], steps: int, end: int = EOS
) -> list[int]:
    """Decoding without cache, batch or padding."""
    ids = list(prompt)
    for _ in range(steps):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == end:
            break
    return ids[len(prompt) :]


def test_greedy_replies_equal_an_argmax_loop_in_input_order(model: nn.Module) -> None:
    replies = generate(
        model, TOKENIZER, PROMPTS, max_new_tokens=12, batch_size=3, max_prompt_tokens=64
    )
    expected = [greedy(model, TOKENIZER(p)["input_ids"], 12) for p in PROMPTS]
    assert [reply.ids for reply in replies] == expected
    assert len({tuple(ids) for ids in expected}) > 1  # order shows only if they differ


def test_replies_that_end_early_leave_the_others_as_they_were(
    model: nn.Module,
) -> None:
    encoded = [TOKENIZER(prompt)["input_ids"] for prompt in PROMPTS]
    (end,) = greedy(model, encoded[1], 3)[-1:]  # declare a token to be the end
    expected = [greedy(model, ids, 12, end) for ids in encoded]
    assert len({len(ids) for ids in expected}) > 1
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.eos_token = TOKENIZER.convert_ids_to_tokens(end)
    replies = generate(
        model, tokenizer, PROMPTS, max_new_tokens=12, max_prompt_tokens=64
    )
    assert [reply.ids for reply in replies] == expected
    assert [reply.ended for reply in replies] == [ids[-1] == end for ids in expected]


@pytest.mark.parametrize(
    "build",
    [
        lambda: GPT2LMHeadModel(
            GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=128)
        ),
        lambda: LlamaForCausalLM(
            LlamaConfig(
                vocab_size=300,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=128,
            )
        ),
    ],
    ids=["gpt2", "llama"],
)
def test_other_families_decode_and_score_alike(build) -> None:
    torch.manual_seed(0)
    other = build().eval()
    replies = generate(
        other, TOKENIZER, PROMPTS, max_new_tokens=5, max_prompt_tokens=64
    )
    expected = [greedy(other, TOKENIZER(p)["input_ids"], 5) for p in PROMPTS]
    assert [reply.ids for reply in replies] == expected
    check_logprobs(other, [" Mint.", "", " Patch the hole.", " No"], 64)


def test_prompts_are_cut_from_the_left(model: nn.Module) -> None:
    (cut,) = generate(
        model, TOKENIZER, PROMPTS[1:2], max_new_tokens=6, max_prompt_tokens=9
    )
    tail = TOKENIZER(PROMPTS[1])["input_ids"][-9:]
    assert cut.ids == greedy(model, tail, 6)


def test_a_reply_stops_at_the_end_of_sequence() -> None:
    (reply,) = generate(
        scripted(" Mint.", end=True),
        TOKENIZER,
        PROMPTS[:1],
        max_new_tokens=30,
        max_prompt_tokens=64,
    )
    assert (reply.text, reply.ended, reply.ids[-1]) == (" Mint.", True, EOS)


def test_a_reply_stops_at_the_next_human_turn() -> None:
    (reply,) = generate(
        scripted(" Mint: yes." + HUMAN + " More?"),
        TOKENIZER,
        PROMPTS[:1],
        max_new_tokens=90,
        max_prompt_tokens=30,
    )
    assert (reply.text, reply.ended) == (" Mint: yes.", True)
    assert TOKENIZER.decode(reply.ids) == " Mint: yes." + HUMAN


def test_a_reply_cut_by_length_has_not_ended() -> None:
    (reply,) = generate(
        scripted(" Mint and"),
        TOKENIZER,
        PROMPTS[:1],
        max_new_tokens=4,
        max_prompt_tokens=64,
    )
    assert len(reply.ids) == 4 and not reply.ended


def test_sampling_follows_its_seed_and_its_filters(model: nn.Module) -> None:
    def sample(**changes) -> list[list[int]]:
        settings = {"temperature": 1.0, "seed": 1, "max_new_tokens": 8} | changes
        replies = generate(model, TOKENIZER, PROMPTS, max_prompt_tokens=64, **settings)
        return [reply.ids for reply in replies]

    assert sample() == sample()
    assert sample() != sample(seed=2)
    assert sample(top_k=1) == sample(temperature=0.0)
    assert sample(top_p=1e-6) == sample(temperature=0.0)


def test_sampled_replies_do_not_depend_on_batches(model: nn.Module) -> None:
    def sample(prompts: list[str], **settings) -> list[list[int]]:
        limits = {"max_new_tokens": 8, "max_prompt_tokens": 64}
        replies = generate(
            model, TOKENIZER, prompts, temperature=1.0, **limits, **settings
        )
        return [reply.ids for reply in replies]

    draws = uniform_draws(len(PROMPTS), 8, torch.Generator().manual_seed(1))
    everything = sample(PROMPTS, draws=draws)
    assert everything == sample(PROMPTS, seed=1, batch_size=1)
    assert everything[1:] == sample(PROMPTS[1:], draws=draws[1:])


def test_sampled_tokens_follow_the_model(model: nn.Module) -> None:
    prompt = TOKENIZER(PROMPTS[0])["input_ids"]
    with torch.no_grad():
        shares = (model(torch.tensor([prompt])).logits[0, -1] / 2).softmax(-1)
    replies = generate(
        model,
        TOKENIZER,
        PROMPTS[:1] * 4000,
        max_new_tokens=1,
        temperature=2.0,
        batch_size=4000,
        max_prompt_tokens=64,
    )
    counts = np.bincount([reply.ids[0] for reply in replies], minlength=len(shares))
    assert np.abs(counts / 4000 - shares.numpy()).max() < 0.03


def test_generation_leaves_the_mode_of_the_model(model: nn.Module) -> None:
    model.train()
    generate(model, TOKENIZER, PROMPTS[:1], max_new_tokens=1, max_prompt_tokens=64)
    assert model.training
    model.eval()


def test_lengths_beyond_the_positions_are_refused(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="the model holds 128"):
        generate(model, TOKENIZER, PROMPTS, max_new_tokens=120, max_prompt_tokens=64)


def test_no_prompts_no_replies(model: nn.Module) -> None:
    assert generate(model, TOKENIZER, [], max_new_tokens=3, max_prompt_tokens=9) == []


# --- scoring -------------------------------------------------------------------------


def check_logprobs(model: nn.Module, replies: list[str], max_length: int) -> None:
    """Against a full forward of each sequence by itself."""
    settings = {"batch_size": 3, "max_length": max_length}
    scores = sequence_logprobs(model, TOKENIZER, PROMPTS, replies, **settings)
    for prompt, reply, score in zip(PROMPTS, replies, scores, strict=True):
        prompt_ids, reply_ids = encode(TOKENIZER, prompt, reply, max_length)
        with torch.no_grad():
            logits = model(torch.tensor([prompt_ids + reply_ids])).logits[0]
        logprobs = logits.log_softmax(-1)[len(prompt_ids) - 1 : -1]
        expected = logprobs[range(len(reply_ids)), reply_ids].numpy()
        np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    counts=st.lists(st.integers(0, 20), min_size=4, max_size=4),
    limit=st.integers(4, 100),
)
def test_logprobs_equal_a_full_forward(
    model: nn.Module, counts: list[int], limit: int
) -> None:
    check_logprobs(model, [" patch" * count for count in counts], limit)


def test_replies_to_one_prompt_are_read_together(model: nn.Module) -> None:
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[0]]
    replies = [" mint", " patch it", "", " mint and chives"]
    assert couples(prompts) == [(0, 2), (1, 1), (3, 3)]
    together = sequence_logprobs(model, TOKENIZER, prompts, replies, max_length=64)
    for prompt, reply, scores in zip(prompts, replies, together, strict=True):
        alone = sequence_logprobs(model, TOKENIZER, [prompt], [reply], max_length=64)
        np.testing.assert_allclose(scores, alone[0], atol=1e-5)


def test_where_half_precision_is_native_the_trunk_reads_in_it(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head stays in float32, and so do the scores."""
    seen: dict[str, torch.dtype] = {}
    parts = {"block": model.get_decoder().layers[0].fc1, "head": model.lm_head}
    hooks = [
        part.register_forward_hook(
            lambda *call, at=name: seen.update({at: call[2].dtype})
        )
        for name, part in parts.items()
    ]
    asked = (TOKENIZER, [PROMPTS[0]], [" mint and chives"])
    whole = sequence_logprobs(model, *asked, max_length=64)[0]
    assert set(seen.values()) == {torch.float32}
    monkeypatch.setattr(hardware, "reading_dtype", lambda _: torch.bfloat16)
    half = sequence_logprobs(model, *asked, max_length=64)[0]
    assert seen == {"block": torch.bfloat16, "head": torch.float32}
    assert half.dtype == np.float32
    assert not np.array_equal(half, whole)
    np.testing.assert_allclose(half, whole, rtol=0.02)
    for hook in hooks:
        hook.remove()


def test_collate_marks_the_tokens_that_are_predicted() -> None:
    ids, mask = collate([([5, 6], [7, 8]), ([9], [3])])
    assert ids.tolist() == [[5, 6, 7, 8], [9, 3, 0, 0]]
    assert ids[:, 1:][mask].tolist() == [7, 8, 3]


def test_the_last_value_is_the_classifier_score_of_the_state_before(tmp_path) -> None:
    loading.save(loading.build_opt(TOKENIZER, seed=0, **SMALL), TOKENIZER, tmp_path)
    critic = loading.load_scorer(tmp_path).cpu()
    pairs = [([5, 6], [7, 8, 9]), ([9], [4])]
    ids, mask = collate(pairs)
    with torch.no_grad():
        values = critic.score(reply_states(critic, ids, mask)).squeeze(-1)
        expected = [
            critic(torch.tensor([[*prompt, *reply[:-1]]])).logits.item()
            for prompt, reply in pairs
        ]
    assert values[[2, 3]].tolist() == pytest.approx(expected, abs=1e-6)
