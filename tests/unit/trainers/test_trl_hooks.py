"""What our trainers override of TRL and of the library: each is there, and is called so.

A hook that the library drops or renames would be overridden in vain: training would go on,
by other rules. The list is made from the classes, so a new hook must be listed, too.
"""

import inspect
from collections.abc import Iterator

import pytest
import trl
from transformers import Trainer

from helpers.recipes import online  # noqa: F401, with it all trainers are known
from helpers.trainers import rloo_grpo, trl_sampling, trl_trainers
from helpers.trainers.ppo.trainer import PPOTrainer

# class -> the stock trainer that it changes
TRAINERS = {
    trl_trainers.ReplyTrainer: trl.SFTTrainer,
    trl_trainers.PreferenceTrainer: trl.DPOTrainer,
    trl_trainers.TokenWeightedTrainer: trl.DPOTrainer,
    trl_trainers.RewardModelTrainer: trl.RewardTrainer,
    trl_trainers.PreferenceModelTrainer: trl.RewardTrainer,
    rloo_grpo.Rloo: trl.RLOOTrainer,
    rloo_grpo.Grpo: trl.GRPOTrainer,
    PPOTrainer: Trainer,
}
# overridden -> the parameters that the library gives it, in order
HOOKS = {
    "_calculate_rewards": ["inputs", "prompts", "completions", "completion_ids_list"],
    "_clip_grad_norm": ["model"],
    "_load_from_checkpoint": ["resume_from_checkpoint", "model"],
    "_save": ["output_dir", "state_dict"],
    "_save_checkpoint": ["model", "trial"],
    "save_model": ["output_dir", "_internal_call"],
    "_tokenize_prompts": ["prompts"],
    "_compute_loss": ["model", "inputs", "return_outputs"],
    "_get_grad_norm": ["model", "grad_norm"],
    "_generate_single_turn": ["prompt_ids", "images", "multimodal_fields"],
    "_get_num_items_in_batch": ["batch_samples", "device"],
    "_get_train_sampler": ["train_dataset"],
    "_precompute_ref_logps": ["dataset", "name", "batch_size"],
    "_prepare_dataset": ["dataset"],
    "compute_loss": ["model", "inputs"],
    "get_batch_samples": ["epoch_iterator", "num_batches", "device"],
    "get_train_dataloader": [],
    "training_step": ["model", "inputs"],
    "create_optimizer": ["model"],
}


def ours(kind: type) -> Iterator[str]:
    """Methods of the library that a class, or a mix-in of this project, overrides."""
    stock = TRAINERS[kind]
    for each in kind.__mro__:
        if each.__module__.startswith("helpers."):
            yield from (
                name for name in vars(each) if callable(getattr(stock, name, None))
            )


def overridden() -> list[tuple[type, str]]:
    named = ((kind, name) for kind in TRAINERS for name in set(ours(kind)))
    return sorted(
        ((kind, name) for kind, name in named if not name.startswith("__")),
        key=lambda pair: (pair[0].__name__, pair[1]),
    )


def given_by_library(stock: type, name: str) -> list[str]:
    """The parameters of a method, of the first class that does not just pass them on."""
    for each in stock.__mro__:
        found = inspect.signature(vars(each)[name]) if name in vars(each) else None
        if found and not {"args", "kwargs"} <= set(found.parameters):
            return [each for each in found.parameters if each != "self"]
    return []


@pytest.mark.parametrize(("kind", "name"), overridden())
def test_the_library_calls_what_is_overridden(kind: type, name: str) -> None:
    given = given_by_library(TRAINERS[kind], name)
    expected = HOOKS[name]  # a new hook has to be listed with what it is given
    assert given[: len(expected)] == expected
    doc = inspect.getdoc(vars(next(c for c in kind.__mro__ if name in vars(c)))[name])
    assert doc, f"{kind.__name__}.{name} does not say what the library does there"


def test_a_hook_that_is_gone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(overridden())
    assert (trl_trainers.TokenWeightedTrainer, "_compute_loss") in before
    monkeypatch.delattr(trl.DPOTrainer, "_compute_loss")
    gone = before - set(overridden())
    assert (trl_trainers.TokenWeightedTrainer, "_compute_loss") in gone


def test_what_samples_for_trl_is_one_mix_in() -> None:
    assert issubclass(rloo_grpo.Rloo, trl_sampling.OurReplies)
    assert issubclass(rloo_grpo.Grpo, trl_sampling.OurReplies)
