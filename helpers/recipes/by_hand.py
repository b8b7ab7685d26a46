"""One example by hand: what a notebook needs to compute a method's loss in the open.

Beside it what the trainer itself says of the same example, so that the two can be held
against each other. The formulas stand in the notebooks.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers.data.drawing import both_sides
from helpers.models import loading
from helpers.models.endings import Ending
from helpers.models.scoring import encode_replies, sequence_logprobs
from helpers.recipes import online
from helpers.runs import store
from helpers.trainers import datasets, training
from helpers.trainers.ppo.trainer import PPOTrainer
from helpers.trainers.training import Fit

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


# --- what is read ------------------------------------------------------------------------


def first_whole(pairs: pd.DataFrame, tokenizer, max_length: int) -> pd.DataFrame:
    """The first pair, one row, whose replies keep their ends; else one that differs.

    Of the first few hundred. Raises ValueError if the cut to `max_length` tokens leaves
    no difference in any of them.
    """
    differing = None
    for at in range(min(len(pairs), 300)):
        pair, counts = pairs.iloc[[at]], Counter()
        datasets.pair_dataset(pair, tokenizer, max_length, counts)
        if not any(counts.values()):
            return pair
        if differing is None and not counts[datasets.SAME]:
            differing = pair
    if differing is None:
        raise ValueError(f"within {max_length} tokens no pair's replies differ")
    return differing


def token_logprobs(
    model: PreTrainedModel, tokenizer, pair: pd.DataFrame, max_length: int
) -> list[Tensor]:
    """Log-probabilities in nats of the tokens of both replies, (T,) each; chosen first."""

    def score(prompts: list[str], replies: list[str]) -> list:
        return sequence_logprobs(
            model, tokenizer, prompts, replies, max_length=max_length
        )

    return [torch.as_tensor(side[0]) for side in both_sides(score, pair)]


@torch.no_grad()
def last_states(
    scorer: PreTrainedModel, tokenizer, pair: pd.DataFrame, max_length: int
) -> list[Tensor]:
    """The trunk's states (H,) at the last token of both replies; chosen first."""
    replies = [pair["chosen"].iloc[0], pair["rejected"].iloc[0]]
    encoded = encode_replies(tokenizer, [*pair["prompt"]] * 2, replies, max_length)
    rows = [torch.tensor([prompt + reply]) for prompt, reply in encoded]
    return [scorer.base_model(input_ids=ids).last_hidden_state[0, -1] for ids in rows]


def pieces(tokenizer, pair: pd.DataFrame, max_length: int) -> list[list[str]]:
    """The tokens of both replies as texts, one for each of `token_logprobs`."""

    def spell(prompts: list[str], replies: list[str]) -> list:
        encoded = encode_replies(tokenizer, prompts, replies, max_length)
        return [[tokenizer.decode([token]) for token in ids] for _, ids in encoded]

    return [side[0] for side in both_sides(spell, pair)]


def loaded(folder: Path) -> Loaded:
    """A trained policy and its tokenizer."""
    return loading.load_policy(folder), loading.load_tokenizer(folder)


# --- what the trainers say ---------------------------------------------------------------


def dpo_loss(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    tokenizer,
    pair: pd.DataFrame,
    beta: float,
    max_length: int,
) -> float:
    """TRL's DPO loss of one pair."""
    told = {"beta": beta, "reference": reference}
    return said(training.dpo_trainer, (policy,), tokenizer, pair, max_length, **told)


def sft_loss(policy: PreTrainedModel, tokenizer, pair, max_length: int) -> float:
    """TRL's SFT loss of the chosen reply of one pair, whose prompt is cut for both."""
    return said(training.chosen_trainer, (policy,), tokenizer, pair, max_length)


def reward_loss(scorer: PreTrainedModel, tokenizer, pair, max_length: int) -> float:
    """TRL's Bradley-Terry loss of one pair."""
    return said(training.reward_trainer, (scorer,), tokenizer, pair, max_length)


def codepmp_loss(
    scorer: PreTrainedModel, policy: PreTrainedModel, tokenizer, pair, max_length: int
) -> float:
    """The loss of CodePMP's trainer on one code pair; policy: whose head reads code."""
    models = (scorer, policy.get_output_embeddings())
    told = {"rm_coef": 1.0, "lm_coef": 1.0}
    make = training.preference_trainer
    return said(make, models, tokenizer, pair, max_length, **told)


def said(
    make: Callable, models: tuple, tokenizer, pair, max_length: int, **told: object
) -> float:
    """What a trainer made by `make` says of one pair; it never takes a step."""
    data = datasets.pair_dataset(pair, tokenizer, max_length)
    fit = Fit(learning_rate=1e-6, batch_size=1, max_length=max_length)
    with tempfile.TemporaryDirectory() as out:
        trainer = make(*models, tokenizer, data, fit, Path(out), **told)
        return training.loss_of(trainer)


def ppo_rollout(run: Path, folder: Path, job: Mapping, params: Mapping) -> PPOTrainer:
    """PPO's trainer with a rollout of the trained policy, before any update.

    folder: where the policy of `job`, one of 07's, lies; params: those of 07. The critic
    is as it starts, the reward model; KL is measured from SFT, as in training.
    """
    init, seed, max_length = job["init"], job["seed"], params["max_length"]
    policy, tokenizer = loaded(folder)
    settings = replace(
        online.settings_of({**params, "adapters": False, "rollouts": 1}),
        seed=seed,
        kl_coef=job["strength"],
    )
    reward = store.reward_folder(run, init, seed)
    ending = Ending(tokenizer, policy)
    payment = online.paid_by(run, reward, ending, settings, max_length)
    prompts = store.read_pairs(run, "train")["prompt"].tolist()
    critic = loading.load_scorer(reward)
    reference, _ = loaded(store.policy_folder(run, "sft", seed=seed))
    given = (policy, critic, tokenizer, payment, prompts, settings)
    with tempfile.TemporaryDirectory() as out:
        trainer = online.ppo_trainer(*given, Path(out), reference=reference)
    trainer.begin(0)
    return trainer
