"""Back from parts to a whole model; trainings in parts are tested in test_launched."""

import pytest
import torch

from helpers.models import loading
from helpers.trainers.fsdp import whole_afterwards, without_weights

TOKENIZER = loading.build_tokenizer(["a b c"], 260)
IDS = torch.tensor([[1, 5, 9, 33]])


@pytest.fixture
def model():
    shape = {"hidden": 16, "layers": 1, "heads": 2, "max_positions": 16}
    return loading.build_opt(TOKENIZER, seed=0, **shape).eval()


def test_a_copy_without_weights_has_shapes_and_ties_but_no_memory(model) -> None:
    twin = without_weights(model)
    assert twin.get_output_embeddings().weight is twin.get_input_embeddings().weight
    shapes = {name: each.shape for name, each in model.named_parameters()}
    for name, parameter in twin.named_parameters():
        assert parameter.shape == shapes.pop(name)
        assert parameter.untyped_storage().nbytes() == parameter.element_size()
    assert not shapes


def test_what_was_learned_meanwhile_is_in_the_same_object(model) -> None:
    inner = model.get_decoder()
    with whole_afterwards(model), torch.no_grad():
        model.get_input_embeddings().weight.mul_(2)
        expected = model(IDS).logits
    assert torch.equal(model(IDS).logits, expected)
    assert model.get_decoder().embed_tokens is inner.embed_tokens
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
