"""Speed and memory at the shape of OPT-350M on a GPU: what `prefbook plan` rests on.

    python benchmarks/gpu.py prepare FOLDER --data ../shared/hh-rlhf
    python benchmarks/gpu.py measure FOLDER --tier h100
    python benchmarks/gpu.py measure FOLDER --tier t4 --like-t4 --memory 15

`prepare` needs no GPU: it keeps pairs and a tokenizer that was trained on their texts.
The weights are random, the settings the tier's. `--like-t4` computes in float16 with loss
scaling and samples as on a T4; `--memory` refuses torch more than so many GB.

Each training runs three times: a few batches, watched kernel by kernel; a quarter of the
batches; all of them. Speeds are of what the last took beyond the one before, so starting
does not count. The reference pass of DPO does; loading models and tokenising do not.
"""

import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import typer
from datasets import Dataset
from pairs import fitting
from torch.profiler import ProfilerActivity, profile
from transformers import (
    OPTConfig,
    OPTForCausalLM,
    OPTForSequenceClassification,
    PrinterCallback,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from helpers import generate, hh, models, online, recorded, token_rows, training
from helpers.judge import reward_scores
from helpers.plan import RECOMPUTED
from helpers.progress import quiet
from helpers.project import PROJECT, STAGES
from helpers.provenance import watched_memory
from helpers.settings import Values, all_values
from helpers.training import Fit

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
# what the names of kernels for matrix products and attention have in common
MATRICES = ("gemm", "cutlass", "nvjet", "xmma", "flash", "fmha", "attention")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Run = tuple[Callable[[], None], dict[str, float]]  # a call, and the tokens it works on


@app.command()
def prepare(
    folder: Path,
    data: Annotated[str, typer.Option(help="A data_source of 00_data.")] = "built-in",
    pairs: Annotated[int, typer.Option(help="Training pairs to keep.")] = 4000,
) -> None:
    """Keep pairs and a tokenizer."""
    limits = {"n_builtin": 8000, "max_pairs": 0, "judge_fraction": 0.0, "seed": 0}
    found, _ = hh.load_pairs(data, **limits)
    found = found[found["split"] == "train"]
    texts = (found["prompt"] + found["chosen"]).tolist()
    models.build_tokenizer(texts, VOCABULARY).save_pretrained(folder / "tokenizer")
    drawn = found.sample(frac=1, random_state=0).head(pairs)
    drawn.to_parquet(folder / "pairs.parquet")
    print(f"{len(drawn)} pairs in {folder}")


@app.command()
def measure(
    folder: Path,
    tier: Annotated[str, typer.Option(help="Whose settings: t4 or h100.")],
    batches: Annotated[int, typer.Option(help="Batches on the clock.")] = 40,
    like_t4: Annotated[bool, typer.Option(help="Compute as a T4 would.")] = False,
    memory: Annotated[float, typer.Option(help="GB torch may have; 0: all.")] = 0.0,
    layers: Annotated[int, typer.Option(help="Blocks; the true number is 24.")] = 24,
    only: Annotated[str, typer.Option(help="Names, by commas; empty: all.")] = "",
    out: Annotated[str, typer.Option(help="Folder to record the table in.")] = "",
) -> None:
    """Measure every training once and print a table."""
    quiet()
    if memory:
        total = torch.cuda.get_device_properties().total_memory
        torch.cuda.set_per_process_memory_fraction(memory * 1e9 / total)
    values = all_values(PROJECT, list(STAGES), "runs/plan", tier, (), ())
    given = Given(folder, values, pairs_that_fit(folder, values), layers)
    with computing_as_t4() if like_t4 else nullcontext():
        text = about(given, tier, models.precision(), memory)
        rows = []
        for name in only.split(",") if only else KINDS:
            rows.append(measured(name, given, batches))
            table = pd.DataFrame(rows).set_index("work")
            if out:  # after each: time on a GPU may end before the list does
                recorded.record(table, Path(out), f"Tier `{tier}` on a GPU", text)
    print(f"{text}\n\n{table.to_markdown(floatfmt='.4g')}")


def about(given: "Given", tier: str, precision: str, memory: float) -> str:
    """What was measured, in words."""
    precision = precision.partition(" (")[0]
    limit = f"; torch was refused more than {memory:g} GB" if memory else ""
    return (
        f"OPT with random weights, {given.parameters / 1e6:.0f} million parameters, "
        f"pairs of HH-RLHF, settings of the tier `{tier}`: {precision}{limit}. "
        "TFLOP/s count the second forward of activation checkpointing; busy is the share "
        "of the time in which the GPU computed, matrices that of its work in matrix "
        "products and attention."
    )


def computing_as_t4():
    """Half precision and batches of replies as on a T4, whatever the GPU."""
    return patch.multiple(
        models, native_bf16=lambda: False, replies_at_once=lambda memory=None: 64
    )


# --- where they start ----------------------------------------------------------------


def pairs_that_fit(folder: Path, values: Values) -> pd.DataFrame:
    """Those that nobody has to cut or drop."""
    tokenizer = models.load_tokenizer(folder / "tokenizer")
    pairs = pd.read_parquet(folder / "pairs.parquet")
    return fitting(pairs, tokenizer, 0, values["06_dpo"]["max_length"])


@dataclass(frozen=True)
class Given:
    """Settings and pairs; and the models that every measurement starts from."""

    folder: Path
    values: Values
    pairs: pd.DataFrame
    layers: int

    @property
    def tokenizer(self):
        return models.load_tokenizer(self.folder / "tokenizer")

    @cached_property
    def parameters(self) -> int:
        return models.size(self.policy())

    def policy(self) -> OPTForCausalLM:
        """A new policy, always the same."""
        return self.made(OPTForCausalLM)

    def scorer(self) -> OPTForSequenceClassification:
        """A new reward model or critic, always the same."""
        return self.made(OPTForSequenceClassification)

    def made(self, kind: type):
        end = self.tokenizer.eos_token_id
        tokens = {"pad_token_id": 0, "bos_token_id": end, "eos_token_id": end}
        shape = SHAPE | {"num_hidden_layers": self.layers, "num_labels": 1}
        torch.manual_seed(0)
        with models.device():
            return kind(OPTConfig(vocab_size=PADDED, **tokens, **shape)).eval()

    def fit(self, stage: str) -> Fit:
        """How the tier trains in a stage."""
        own = self.values[stage]
        names = ("learning_rate", "batch_size", "max_length")
        return Fit(**{name: own[name] for name in names})

    def rows(self, stage: str, batches: int) -> pd.DataFrame:
        """So many batches of pairs."""
        return self.pairs.head(batches * self.values[stage]["batch_size"])


# --- what is measured: each loads its models and gives what is to be timed -----------


def sft(given: Given, batches: int) -> Run:
    fit, rows = given.fit("05_sft"), given.rows("05_sft", batches)
    replies = rows["prompt"].tolist(), rows["chosen"].tolist()
    data = token_rows.reply_dataset(*replies, given.tokenizer, fit.max_length)
    arguments = given.policy(), given.tokenizer, data, fit, given.folder
    return (
        lambda: training.fit_language_model(*arguments),
        {"trained": sum(data["length"]), "batch": fit.batch_size},
    )


def pairs_of(given: Given, stage: str, batches: int) -> tuple[Fit, object, dict]:
    """How to train, the pairs, and their tokens with prompts counted once."""
    fit, rows = given.fit(stage), given.rows(stage, batches)
    data = token_rows.pair_dataset(rows, given.tokenizer, fit.max_length)
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


def stock(given: Given, batches: int, stage: str, config: type, trainer: type) -> Run:
    """TRL's own trainer, at the settings of ours."""
    fit, _, tokens = pairs_of(given, stage, batches)
    rows = given.rows(stage, batches)[["prompt", "chosen", "rejected"]]
    settings = training.quiet_arguments(given.folder, 0)
    if trainer is DPOTrainer:
        started = {"model": given.policy(), "ref_model": given.policy()}
    else:
        started = {"model": given.scorer()}
    made = trainer(
        **started,
        args=config(
            **settings,
            learning_rate=fit.learning_rate,
            per_device_train_batch_size=fit.batch_size,
            num_train_epochs=1,
            max_length=fit.max_length,
        ),
        train_dataset=Dataset.from_pandas(rows, preserve_index=False),
        processing_class=given.tokenizer,
    )
    made.remove_callback(PrinterCallback)
    return made.train, tokens


def ppo(given: Given, batches: int, adapters: bool = False) -> Run:
    """A rollout for every 10 batches, one at least."""
    own = given.values["07_ppo"]
    settings = replace(
        online.settings_of(own), rollouts=max(1, batches // 10), adapters=adapters
    )
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
    """As many replies as are sampled side by side, for every 10 batches."""
    own = given.values["07_ppo"]
    side, limit = models.replies_at_once(), own["max_length"] - own["max_new_tokens"]
    model, tokenizer = given.policy(), given.tokenizer
    times = max(1, batches // 10)
    prompts = given.pairs["prompt"].head(side * times).tolist()
    tokens: dict[str, float] = {"batch": side}

    def sample() -> None:
        replies = generate.generate(
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
    "CodePMP": codepmp,
    "DPO": dpo,
    "DPO with adapters": partial(dpo, adapters=True),
    "PPO": ppo,
    "PPO with adapters": partial(ppo, adapters=True),
    "sampling": sampling,
    "scoring": reading,
    "reward model of TRL": partial(
        stock, stage="04_reward_model", config=RewardConfig, trainer=RewardTrainer
    ),
    "DPO of TRL": partial(stock, stage="06_dpo", config=DPOConfig, trainer=DPOTrainer),
}


# --- clocks --------------------------------------------------------------------------


def measured(name: str, given: Given, batches: int) -> dict:
    """One row of the table; what does not fit into memory has no times."""
    row: dict[str, object] = {"work": name}
    started = time.perf_counter()
    try:
        busy, matrices = kernels(name, given, 4)  # and to warm up
        few, many = timed(name, given, batches // 4), timed(name, given, batches)
        row |= rates(few, many, given.parameters)
        share = busy * row["tokens/s"]
        row["TFLOP/s while busy"] = row["TFLOP/s"] / share
        row |= {"busy": share, "matrices": matrices}
    except torch.OutOfMemoryError:
        row["peak GB"] = "does not fit"
    print(f"{name}: {time.perf_counter() - started:.0f} s in all, {row}", flush=True)
    return row


def timed(name: str, given: Given, batches: int) -> dict[str, float]:
    """Seconds, tokens, and the most memory that was held, GB."""
    free()
    run, tokens = KINDS[name](given, batches)
    with watched_memory() as peak:
        started = time.perf_counter()
        run()
        synchronise()
        seconds = time.perf_counter() - started
    return {**tokens, "seconds": seconds, "peak": peak[0] * 1024**2 / 1e9}


def rates(few: dict, many: dict, parameters: int) -> dict[str, float]:
    """What the longer run took beyond the shorter one: starting cancels out."""
    more = {name: many[name] - few[name] for name in many}
    seconds = more["seconds"]
    found = {
        "batch": many["batch"],
        "tokens/s": count(more) / seconds,
        "TFLOP/s": flops(more, parameters) / seconds / 1e12,
        "peak GB": many["peak"],
    }
    if "steps" in more:
        found["ms a token"] = 1000 * seconds / more["steps"]
    return found


def count(tokens: dict[str, float]) -> float:
    """Tokens that are trained on, else read, else sampled."""
    kinds = (tokens.get(name, 0) for name in ("trained", "read", "sampled"))
    return next(filter(None, kinds))


def flops(tokens: dict[str, float], parameters: int) -> float:
    """6 per parameter and token trained on, and 2 for checkpoints; else 2."""
    passed = tokens.get("read", 0) + tokens.get("sampled", 0)
    return parameters * (6 * RECOMPUTED * tokens.get("trained", 0) + 2 * passed)


def kernels(name: str, given: Given, batches: int) -> tuple[float, float]:
    """Seconds a token in which the GPU computes, and the matrix products' share of it."""
    free()
    run, tokens = KINDS[name](given, batches)
    if not torch.cuda.is_available():
        run()
        return np.nan, np.nan
    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        run()
        synchronise()
    times = {
        each.key.lower(): each.self_device_time_total / 1e6
        for each in watched.key_averages()
        if not each.key.startswith("Mem")
    }
    matrices = sum(
        value for key, value in times.items() if any(m in key for m in MATRICES)
    )
    busy = sum(times.values())
    return busy / count(tokens), matrices / busy


def free() -> None:
    """Let go of what the measurement before held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    app()
