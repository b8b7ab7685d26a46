"""Families of models beyond those of the book: what they say in parts is what they say.

Each is small and random, of true architecture, and held against its own forward: Gemma 2
caps its logits, Cohere and Granite scale them, Mixtral has experts, Mistral a window.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    LlamaForCausalLM,
    PreTrainedModel,
)

from helpers.core.model_files import ModelError
from helpers.models import loading
from helpers.models.generation import generate
from helpers.models.scoring import end_scores
from helpers.recipes import language_models
from helpers.trainers import adapters, datasets, training
from helpers.trainers.training import Fit
from tests.conformance.conftest import PAIRS, TEXTS
from tests.lookalikes import shape_of

OWN = {
    "gemma2": {"final_logit_softcapping": 3.0, "sliding_window": 8, "head_dim": 8},
    "cohere2": {"logit_scale": 0.25, "sliding_window": 8},
    "granite": {"logits_scaling": 3.0, "residual_multiplier": 0.5},
    "mixtral": {"num_local_experts": 4},
    "mistral": {"sliding_window": 8, "head_dim": 8},
    "phi3": {},
    "gpt_neox": {},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
}
SCORERS = {"gemma2", "mixtral", "mistral", "phi3", "gpt_neox", "gpt2"}
FIT = Fit(learning_rate=1e-2, batch_size=len(PAIRS), max_length=128)
TOKENIZER = loading.build_tokenizer(TEXTS, 300)


def lively(model: nn.Module) -> nn.Module:
    """Weights that are further apart: a fresh model's logits are all alike."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
    return model


def made(family: str, folder: Path, **settings) -> Path:
    """A small model of a family, in the hub's layout."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**shape_of(TOKENIZER) | settings)
    loading.save(lively(AutoModelForCausalLM.from_config(config)), TOKENIZER, folder)
    return folder


@pytest.fixture(scope="module", params=OWN)
def folder(request, tmp_path_factory) -> Path:
    return made(
        request.param, tmp_path_factory.mktemp(request.param), **OWN[request.param]
    )


@pytest.fixture(scope="module")
def pairs():
    return datasets.pair_dataset(PAIRS, TOKENIZER, FIT.max_length)


@torch.no_grad()
def logprobs(model: PreTrainedModel, pairs, side: str) -> list[Tensor]:
    """Of every reply, each read alone by the model's own forward."""
    found = []
    for prompt, reply in zip(pairs["prompt_ids"], pairs[f"{side}_ids"]):
        logits = model(torch.tensor([prompt + reply])).logits[0].float()
        said = logits[len(prompt) - 1 : -1].log_softmax(-1)
        found.append(said.gather(1, torch.tensor(reply).unsqueeze(1)).squeeze(1))
    return found


def of_replies(model: PreTrainedModel, pairs) -> Tensor:
    """Log-probabilities of chosen and rejected replies, (2, pairs)."""
    sides = (logprobs(model, pairs, side) for side in ("chosen", "rejected"))
    return torch.stack([torch.stack([one.sum() for one in side]) for side in sides])


def test_replies_are_those_of_the_library(folder):
    model = loading.load_policy(folder).cpu()
    told = {"max_new_tokens": 12, "do_sample": False}
    limits = {"max_prompt_tokens": 64, "max_new_tokens": 12}
    asked = (model, TOKENIZER, PAIRS["prompt"])
    ours = generate(*asked, **limits, stop_at_human=False)
    for reply in ours:
        ids = torch.tensor([reply.prompt])
        stock = model.generate(ids, attention_mask=torch.ones_like(ids), **told)
        assert reply.ids == stock[0, len(reply.prompt) :].tolist()


def test_sft_and_dpo_learn_from_what_the_model_says(folder, pairs, tmp_path):
    model = loading.load_policy(folder).cpu()
    given = (TOKENIZER, pairs, FIT, tmp_path)
    expected = -torch.cat(logprobs(model, pairs, "chosen")).mean().item()
    found = training.loss_of(training.chosen_trainer(model, *given))
    assert found == pytest.approx(expected, abs=1e-3)
    torch.manual_seed(1)
    other = loading.load_policy(folder).cpu()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    ratios = of_replies(model, pairs) - of_replies(other, pairs)
    expected = -F.logsigmoid(0.1 * (ratios[0] - ratios[1])).mean().item()
    trainer = training.dpo_trainer(model, *given, beta=0.1, reference=other)
    assert training.loss_of(trainer) == pytest.approx(expected, abs=1e-3)


def test_reward_models_and_codepmp_do_so_too(folder, pairs, tmp_path):
    model = loading.load_policy(folder).cpu()
    if model.config.model_type not in SCORERS:
        source = {"source": str(folder), "seed": 0}
        with pytest.raises(ModelError, match="no reward model could start from it"):
            language_models.pretrained_model(tmp_path, **source)
        return
    loading.check_scored(model, folder)
    scorer, given = loading.load_scorer(folder).cpu(), (TOKENIZER, pairs, FIT, tmp_path)
    encoded = [
        (prompt, reply)
        for side in ("chosen_ids", "rejected_ids")
        for prompt, reply in zip(pairs["prompt_ids"], pairs[side])
    ]
    with torch.no_grad():
        read = [
            scorer(torch.tensor([prompt + reply])).logits.item()
            for prompt, reply in encoded
        ]
    np.testing.assert_allclose(end_scores(scorer, encoded), read, atol=1e-3)
    chosen, rejected = torch.tensor(read).chunk(2)
    ranked = -F.logsigmoid(chosen - rejected).mean().item()
    found = training.loss_of(training.reward_trainer(scorer, *given))
    assert found == pytest.approx(ranked, abs=1e-3)
    said = -torch.cat(logprobs(model, pairs, "chosen")).mean().item()
    both = (loading.load_scorer(folder).cpu(), model.get_output_embeddings())
    coefs = {"rm_coef": 1.0, "lm_coef": 1.0}
    trainer = training.preference_trainer(*both, *given, **coefs)
    assert training.loss_of(trainer) == pytest.approx(ranked + said, abs=2e-3)


def test_adapters_find_the_layers_of_every_family(folder, pairs, tmp_path):
    model = loading.load_policy(folder).cpu()
    start = {name: each.clone() for name, each in model.state_dict().items()}
    given = (TOKENIZER, pairs, replace(FIT, epochs=3), tmp_path)
    training.fit_dpo(model, *given, beta=0.1, adapters=True)
    after = model.state_dict()
    assert after.keys() == start.keys()
    moved = {
        name.split(".")[-2] for name in start if not start[name].equal(after[name])
    }
    assert moved and any(moved <= set(each) for each in adapters.LAYERS)


def test_a_family_without_known_layers_gets_no_adapters():
    with pytest.raises(ValueError, match="set adapters to false"):
        adapters.adapter(nn.Linear(2, 2), True)


# --- what is refused when it is loaded --------------------------------------------------


def test_a_family_without_keys_and_values_is_refused(tmp_path):
    """Mamba keeps a state for each row, which padding before a prompt goes into."""
    with pytest.raises(ModelError, match="mamba says something else than at once"):
        loading.load_policy(made("mamba", tmp_path))


def test_a_head_that_is_not_known_is_refused(tmp_path, monkeypatch):
    """As if a family halved its logits, and nobody here knew."""
    folder, stock = made("llama", tmp_path), LlamaForCausalLM.forward

    def halved(self, *args, **kwargs):
        output = stock(self, *args, **kwargs)
        output.logits = output.logits / 2
        return output

    loading.load_policy(folder)
    monkeypatch.setattr(LlamaForCausalLM, "forward", halved)
    with pytest.raises(ModelError, match="a head that is a product"):
        loading.load_policy(folder)
