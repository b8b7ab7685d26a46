"""Shared prompts: the same states, losses and gradients as from two copies."""

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import flex_attention

from helpers.models import flex, hardware
from helpers.models.prompt_sharing import (
    Packing,
    can_share,
    last_tokens,
    shared_prefix,
    sharing_prompts,
    warn_of_copies,
)
from helpers.models.scoring import token_scores
from helpers.models.states import collate, reply_states

SMALL = {
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_labels": 1,
}
WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**WIDE, "num_key_value_heads": 2, "intermediate_size": 64}
CONFIGS = {
    "opt": transformers.OPTConfig(
        **SMALL,
        **WIDE,
        ffn_dim=64,
        max_position_embeddings=64,
        word_embed_proj_dim=16,  # as OPT-350M: projected, and normed after the block
        do_layer_norm_before=False,
    ),
    "gpt2": transformers.GPT2Config(
        **SMALL, n_embd=32, n_layer=2, n_head=4, n_positions=64
    ),
    "gpt_neox": transformers.GPTNeoXConfig(**SMALL, **WIDE, intermediate_size=64),
    "llama": transformers.LlamaConfig(**SMALL, **GROUPED),
    "qwen2": transformers.Qwen2Config(**SMALL, **GROUPED),
    "qwen3": transformers.Qwen3Config(**SMALL, **GROUPED, head_dim=8),
}
MODELS = {
    "language": transformers.AutoModelForCausalLM,
    "reward": transformers.AutoModelForSequenceClassification,
}

# torch says that FlexAttention is slow where it is not compiled
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without")

tokens = st.lists(st.integers(3, 49), min_size=1, max_size=9)
batches = st.lists(st.tuples(tokens, tokens, tokens), min_size=1, max_size=4)


def batch_of(pairs: list[tuple]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (2B, L) of (prompt, chosen, rejected), padded on the right."""
    rows = [[*prompt, *chosen] for prompt, chosen, _ in pairs]
    rows += [[*prompt, *rejected] for prompt, _, rejected in pairs]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows]).unsqueeze(1)
    return ids, (torch.arange(width) < lengths).long()


def outputs(model, ids, mask, read) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits where they are read, and the gradient of a loss on all of them."""
    model.zero_grad()
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    if logits.dim() == 3:
        logits = logits[read]
    (logits.square().mean() + logits.flatten()[0]).backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return logits.detach(), torch.cat(gradients)


def assert_same_outputs(model, ids, mask, read) -> None:
    """Packed as plain, where states of all tokens are asked for, and of some."""
    everywhere = mask.bool()
    for asked, where in ((None, everywhere), (read, read)):
        plain = outputs(model, ids, mask, where)
        with sharing_prompts(model, asked) as shared:
            packed = outputs(model, ids, mask, where)
        assert shared
        for one, other in zip(plain, packed):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", MODELS)
@pytest.mark.parametrize("family", CONFIGS)
@settings(max_examples=8, deadline=None)
@given(pairs=batches, share=st.floats(0, 1), seed=st.integers(0, 99))
def test_shared_prompts_change_no_output_and_no_gradient(
    family, head, pairs, share, seed
):
    torch.manual_seed(0)
    model = MODELS[head].from_config(CONFIGS[family]).eval()
    ids, mask = batch_of(pairs)
    random = torch.Generator().manual_seed(seed)
    some = torch.rand(ids.shape, generator=random) < share
    assert_same_outputs(model, ids, mask, (mask.bool() & some) | last_tokens(mask))


@pytest.mark.parametrize("family", CONFIGS)
def test_activation_checkpoints_change_nothing(family):
    torch.manual_seed(0)
    model = MODELS["language"].from_config(CONFIGS[family])
    for module in model.modules():
        for name in ("dropout", "p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    ids, mask = batch_of([([3, 4, 5], [6, 7], [8]), ([9] * 5, [7], [6, 5])])
    plain = outputs(model.train(), ids, mask, last_tokens(mask))
    model.activation_checkpointing_enable()
    with sharing_prompts(model, last_tokens(mask)):
        packed = outputs(model, ids, mask, last_tokens(mask))
    for one, other in zip(plain, packed):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
@settings(max_examples=8, deadline=None)
@given(pairs=batches)
def test_states_of_replies_are_those_of_the_whole_trunk(family, pairs):
    torch.manual_seed(0)
    model = MODELS["language"].from_config(CONFIGS[family]).eval()
    ids, mask = collate([(prompt, chosen) for prompt, chosen, _ in pairs])
    whole = model.get_decoder()(input_ids=ids[:, :-1], use_cache=False)
    found = []
    for states in (whole.last_hidden_state[mask], reply_states(model, ids, mask)):
        model.zero_grad()
        states.square().mean().backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((states.detach(), torch.cat(gradients)))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_prompt_is_there_once():
    prompt, chosen, rejected = list(range(3, 23)), [30, 31, 32], [40, 41]
    ids, mask = batch_of([(prompt, chosen, rejected)])
    packing = Packing(ids, mask)
    assert packing.ids.tolist() == [[*prompt, *chosen, *rejected]]
    assert packing.positions.tolist() == [[*range(23), 20, 21]]
    seen = packing.mask[0, 0]
    assert not seen[23:, 20:23].any()  # the rejected reply does not see the chosen one
    assert seen[23:, :20].all() and not seen.triu(1).any()


def test_what_replies_have_in_common_is_shared_too():
    ids, mask = batch_of([([3, 4], [5, 6], [5, 7]), ([8], [9], [9, 9])])
    assert shared_prefix(ids, mask).tolist() == [[3], [2]]


def test_only_what_is_read_leaves_the_last_block():
    model = MODELS["language"].from_config(CONFIGS["llama"]).eval()
    widths = []
    mlp = model.model.layers[-1].mlp
    mlp.register_forward_hook(lambda _, given, __: widths.append(given[0].shape[1]))
    ids, mask = batch_of([([3, 4, 5], [6, 7], [8]), ([9] * 5, [7], [6, 5])])
    for read in (None, last_tokens(mask)):
        with sharing_prompts(model, read):
            model(input_ids=ids, attention_mask=mask)
    assert widths == [8, 2]


def test_outside_of_it_the_model_reads_as_before():
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS["opt"])
    with sharing_prompts(model):
        pass
    single = torch.tensor([[3, 4, 5]])
    assert model(input_ids=single).logits.shape == (1, 3, 50)


def test_other_families_read_their_copies_and_say_so_once(caplog):
    config = transformers.BloomConfig(**SMALL, hidden_size=32, n_layer=1, n_head=4)
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert not can_share(model)
    warn_of_copies.cache_clear()
    for _ in range(2):
        with sharing_prompts(model) as shared:
            assert not shared
            logits = model(input_ids=torch.tensor([[3, 4, 5]])).logits
            assert logits.shape == (1, 3, 50)
    assert caplog.text.count("bloom models do not share prompts") == 1


def test_scoring_says_so_where_prompts_are_read_twice(caplog):
    config = transformers.BloomConfig(**SMALL, hidden_size=32, n_layer=1, n_head=4)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    warn_of_copies.cache_clear()
    apart = token_scores(model, [([3, 4], [5]), ([6], [7, 8])])
    assert not caplog.text
    twice = token_scores(model, [([3, 4], [5]), ([3, 4], [7, 8])])
    assert caplog.text.count("bloom models do not share prompts") == 1
    torch.testing.assert_close(torch.tensor(apart[0]), torch.tensor(twice[0]))


def test_eager_attention_adds_its_mask_and_cannot_share():
    config = CONFIGS["llama"]
    model = MODELS["language"].from_config(config, attn_implementation="eager")
    assert not can_share(model)


@pytest.mark.parametrize(
    ("ids", "mask"),
    [([[3, 4]], [[1, 1]]), ([[0, 4], [3, 5]], [[0, 1], [1, 1]])],
)
def test_a_batch_that_is_no_pairs_is_refused(ids, mask):
    with pytest.raises(ValueError, match="padded on the right"):
        Packing(torch.tensor(ids), torch.tensor(mask))


FLEXING = [name for name in CONFIGS if name != "gpt2"]  # as transformers has it


def flexing(family: str, monkeypatch):
    """A model of FlexAttention, which a processor computes without compiling it."""
    if not torch.cuda.is_available():
        wrapped = "transformers.integrations.flex_attention.WrappedFlexAttention"
        monkeypatch.setattr(wrapped, lambda training: lambda: flex_attention)
    torch.manual_seed(0)
    config = CONFIGS[family]
    model = MODELS["language"].from_config(config, attn_implementation=flex.NAME)
    return model.to(hardware.device()).eval()


@pytest.mark.parametrize("family", FLEXING)
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pairs=batches)
@torch.no_grad()  # torch trains with it on GPUs only
def test_flex_attention_reads_pairs_as_sdpa_reads_copies(family, pairs, monkeypatch):
    model = flexing(family, monkeypatch)
    assert can_share(model)
    torch.manual_seed(0)
    stock = MODELS["language"].from_config(CONFIGS[family]).to(model.device).eval()
    ids, mask = (each.to(model.device) for each in batch_of(pairs))
    read = last_tokens(mask)
    expected = stock(input_ids=ids, attention_mask=mask).logits
    for asked, where in ((None, mask.bool()), (read, read)):
        with sharing_prompts(model, asked):
            found = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        torch.testing.assert_close(found[where], expected[where], atol=1e-5, rtol=1e-4)
    ids, where = collate([(p, c) for p, c, _ in pairs], model.device)
    states = (reply_states(each, ids, where) for each in (stock, model))
    torch.testing.assert_close(*states, atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch wants a GPU for it")
@pytest.mark.parametrize("family", FLEXING)
def test_flex_attention_trains_on_shared_prompts(family, monkeypatch):
    model = flexing(family, monkeypatch)
    ids, mask = batch_of([([3, 4, 5], [6, 7], [8]), ([9] * 5, [7], [6, 5])])
    ids, mask = ids.to(model.device), mask.to(model.device)
    assert_same_outputs(model, ids, mask, last_tokens(mask))
