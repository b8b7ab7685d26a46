"""What `devices.py` measures: every kind of training, with the model of a tier.

A model that the package index carries is itself; of one of the hub OPT-350M's shape stands
in, with random weights, so that nothing has to be fetched where it is measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import pandas as pd
import torch
from pairs import fitting, stock_trainer
from transformers import (
    OPTConfig,
    OPTForCausalLM,
    OPTForSequenceClassification,
    PreTrainedModel,
)

from helpers.config.settings import Values, all_values
from helpers.core.paths import PROJECT, STAGES
from helpers.models import generation, hardware, loading
from helpers.models.weights import CATALOGUE
from helpers.recipes import online
from helpers.rewards.judges import reward_scores
from helpers.trainers import datasets, training
from helpers.trainers.training import Fit

SHAPE = {  # facebook/opt-350m
    "hidden_size": 1024,
    "word_embed_proj_dim": 512,
    "ffn_dim": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "max_position_embeddings": 2048,
    "do_layer_norm_before": False,
}
VOCABULARY, PADDED = 50265, 50272
Run = tuple[Callable[[], None], dict[str, float]]  # a call, and the tokens it works on

# --- where they start ----------------------------------------------------------------


def begin(folder: Path, tier: str, layers: int) -> "Given":
    """What `devices.py prepare` kept, at a tier: the pairs that nobody has to cut or drop."""
    values = all_values(PROJECT, list(STAGES), "runs/plan", tier, planned=True)
    given = Given(folder, values, pd.read_parquet(folder / "pairs.parquet"), layers)
    longest = values["06_dpo"]["max_length"]
    return replace(given, pairs=fitting(given.pairs, given.tokenizer, 0, longest))


@dataclass(frozen=True)
class Given:
    """Settings and pairs; and the models that every measurement starts from."""

    folder: Path
    values: Values
    pairs: pd.DataFrame
    layers: int

    @property
    def model(self) -> str:
        """The name of the weights that are measured; "" for random ones."""
        name = self.values["01_base_model"]["pretrained"]
        return name if name in CATALOGUE else ""

    @cached_property
    def tokenizer(self):
        return loading.load_tokenizer(self.model or self.folder / "tokenizer")

    @cached_property
    def parameters(self) -> float:
        """Of a model of the index those that work on every token, as it is planned."""
        if self.model:
            return CATALOGUE[self.model].parameters
        return hardware.parameters(self.policy())

    def policy(self) -> PreTrainedModel:
        """A new policy, always the same."""
        if self.model:
            return loading.load_policy(self.model)
        return self.made(OPTForCausalLM)

    def scorer(self) -> PreTrainedModel:
        """A new reward model or critic, always the same."""
        if self.model:
            return loading.load_scorer(self.model)
        return self.made(OPTForSequenceClassification)

    def made(self, kind: type):
        end = self.tokenizer.eos_token_id
        tokens = {"pad_token_id": 0, "bos_token_id": end, "eos_token_id": end}
        shape = SHAPE | {"num_hidden_layers": self.layers, "num_labels": 1}
        torch.manual_seed(0)
        with hardware.device():
            return kind(OPTConfig(vocab_size=PADDED, **tokens, **shape)).eval()

    def fit(self, stage: str) -> Fit:
        """How the tier trains in a stage."""
        own = self.values[stage]
        names = ("learning_rate", "batch_size", "max_length")
        return Fit(**{name: own[name] for name in names})

    def rows(self, stage: str, batches: int) -> pd.DataFrame:
        """So many batches of pairs."""
        return self.pairs.head(batches * self.values[stage]["batch_size"])

    def times(self, batches: int, side: int) -> int:
        """How often `side` replies are as many as the pairs of some batches; once more."""
        return 1 + batches * self.values["04_reward_model"]["batch_size"] // side


# --- what is measured: each loads its models and gives what is to be timed -----------


def sft(given: Given, batches: int) -> Run:
    fit, rows = given.fit("05_sft"), given.rows("05_sft", batches)
    replies = rows["prompt"].tolist(), rows["chosen"].tolist()
    data = datasets.reply_dataset(*replies, given.tokenizer, fit.max_length)
    arguments = given.policy(), given.tokenizer, data, fit, given.folder
    return (
        lambda: training.fit_language_model(*arguments),
        {"trained": sum(data["length"]), "batch": fit.batch_size},
    )


def pairs_of(given: Given, stage: str, batches: int) -> tuple[Fit, object, dict]:
    """How to train, the pairs, and their tokens with prompts counted once."""
    fit, rows = given.fit(stage), given.rows(stage, batches)
    data = datasets.pair_dataset(rows, given.tokenizer, fit.max_length)
    return fit, data, {"trained": sum(data["length"]), "batch": fit.batch_size}


def reward_model(given: Given, batches: int) -> Run:
    fit, data, tokens = pairs_of(given, "04_reward_model", batches)
    arguments = given.scorer(), given.tokenizer, data, fit, given.folder
    return lambda: training.fit_reward_model(*arguments), tokens


def codepmp(given: Given, batches: int) -> Run:
    fit, data, tokens = pairs_of(given, "03_codepmp", batches)
    head = given.policy().get_output_embeddings()
    arguments = given.scorer(), head, given.tokenizer, data, fit, given.folder
    coefs = {"rm_coef": 1.0, "lm_coef": 1.0}
    return lambda: training.fit_preference_model(*arguments, **coefs), tokens


def dpo(given: Given, batches: int, adapters: bool = False) -> Run:
    fit, data, tokens = pairs_of(given, "06_dpo", batches)
    arguments = given.policy(), given.tokenizer, data, fit, given.folder
    settings = {"beta": 0.1, "adapters": adapters}
    tokens["read"] = tokens["trained"]  # by the reference
    return lambda: training.fit_dpo(*arguments, **settings), tokens


def stock(given: Given, batches: int, kind: str, stage: str) -> Run:
    """TRL's own trainer, at the settings of ours."""
    fit, _, tokens = pairs_of(given, stage, batches)
    arguments = kind, given.tokenizer, given.rows(stage, batches), fit, given.folder
    if kind == "reward":
        return stock_trainer(*arguments, given.scorer()).train, tokens
    policy, reference = given.policy(), given.policy()
    return stock_trainer(*arguments, policy, ref_model=reference).train, tokens


def ppo(given: Given, batches: int, adapters: bool = False) -> Run:
    """As many episodes as there are pairs in the batches, and a rollout more."""
    own = given.values["07_ppo"]
    settings = replace(online.settings_of(own), adapters=adapters)
    settings = replace(settings, rollouts=given.times(batches, settings.episodes))
    tokenizer, scorer = given.tokenizer, given.scorer()
    limits = {"max_length": own["max_length"]}

    def pay(prompts, completions, **_):
        return reward_scores(scorer, tokenizer, prompts, completions, **limits)

    critic = None if adapters else given.scorer()
    tokens: dict[str, float] = {"batch": settings.episodes}
    prompts = given.pairs["prompt"].tolist()
    arguments = given.policy(), critic, tokenizer, pay, prompts, settings, given.folder

    def train() -> None:
        log = online.fit_ppo(*arguments)
        seen = sum(entry["tokens"] for entry in log)
        twice = 1 + (critic is not None)
        tokens["trained"] = twice * settings.epochs * seen
        tokens["read"] = (2 + twice) * seen
        tokens["sampled"] = sum(entry["reply_length"] for entry in log)
        tokens["sampled"] *= settings.episodes

    return train, tokens


def sampling(given: Given, batches: int) -> Run:
    """Replies side by side, as many as there are pairs in the batches, and once more."""
    own = given.values["07_ppo"]
    side, limit = hardware.replies_at_once(), own["max_length"] - own["max_new_tokens"]
    model, tokenizer = given.policy(), given.tokenizer
    times = given.times(batches, side)
    prompts = given.pairs["prompt"].head(side * times).tolist()
    tokens: dict[str, float] = {"batch": side}

    def sample() -> None:
        replies = generation.generate(
            *(model, tokenizer, prompts),
            max_new_tokens=own["max_new_tokens"],
            max_prompt_tokens=limit,
            temperature=1.0,
            batch_size=side,
        )
        lengths = [len(reply.ids) for reply in replies]
        tokens["sampled"], tokens["steps"] = sum(lengths), times * max(lengths)

    return sample, tokens


def reading(given: Given, batches: int) -> Run:
    fit, _, tokens = pairs_of(given, "04_reward_model", batches)
    rows = given.rows("04_reward_model", batches)
    scorer, tokenizer = given.scorer(), given.tokenizer
    texts = [*rows["chosen"], *rows["rejected"]]
    arguments = scorer, tokenizer, rows["prompt"].tolist() * 2, texts
    limits = {"max_length": fit.max_length}
    tokens = {"read": tokens["trained"], "batch": 64}
    return lambda: reward_scores(*arguments, **limits), tokens


KINDS = {
    "SFT": sft,
    "reward model": reward_model,
    "reward model of TRL": partial(stock, kind="reward", stage="04_reward_model"),
    "CodePMP": codepmp,
    "DPO": dpo,
    "DPO of TRL": partial(stock, kind="dpo", stage="06_dpo"),
    "DPO with adapters": partial(dpo, adapters=True),
    "PPO": ppo,
    "PPO with adapters": partial(ppo, adapters=True),
    "sampling": sampling,
    "scoring": reading,
}
