"""Episodes a second: this project's PPO against that of TRL 1.12.0, the last with one.

    python benchmarks/ppo.py compare --data ../shared/hh-rlhf \
        --oracle-python .venv-oracle/bin/python

TRL's side runs in the environment that `make oracle` makes; without one only ours is
measured. Both sides start from the same small OPT models with random weights, which
never end a reply, and the same prompts of the data, up to 96 tokens. They take turns,
each in a process of its own, so that the ratios hold where a machine's speed drifts.
Time runs from the end of the first rollout, the warm-up, to the end of the last.

A rollout is one mini-batch, TRL's default, or four. Rows read at once change memory and
speed, not what is learned: TRL's default is all of a mini-batch, its fastest here fewer,
and the ratios are to its fastest.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
import torch
import typer
from transformers import TrainerCallback

from helpers.core import measurements
from helpers.core.progress import quiet
from helpers.core.provenance import peak_memory_mib
from helpers.data import hh
from helpers.models import loading
from helpers.models.encoding import encode_prompt
from helpers.trainers.ppo.config import PPOConfig
from helpers.trainers.ppo.trainer import PPOTrainer

SHAPE = {"hidden": 128, "layers": 4, "heads": 4, "max_positions": 160}
SETTINGS = {  # those of both trainers, by the names that they share
    "num_ppo_epochs": 4,
    "temperature": 1.0,
    "learning_rate": 1e-5,
    "seed": 0,
}
EPISODES, PROMPT, REPLY = 64, 96, 48  # a rollout; tokens
OURS, SHARED, TRL = "ours", "ours, shared trunk", "TRL 1.12.0"


class Entry(NamedTuple):
    """Who trains, in how many mini-batches, and how many rows it reads at once."""

    trainer: str
    mini_batches: int
    rows: int


ENTRIES = (
    *(Entry(OURS, 1, 16), Entry(SHARED, 1, 16), Entry(TRL, 1, 64), Entry(TRL, 1, 16)),
    *(Entry(OURS, 4, 16), Entry(SHARED, 4, 16), Entry(TRL, 4, 16)),
)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def compare(
    data: Annotated[str, typer.Option(help="A data_source of 00_data.")] = "built-in",
    oracle_python: Annotated[Path | None, typer.Option(help="Python with TRL.")] = None,
    rollouts: Annotated[int, typer.Option(help="Timed rollouts a turn.")] = 3,
    repeats: Annotated[int, typer.Option(help="Turns of each.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder to record it in.")] = None,
) -> None:
    """Measure in turn and print a table."""
    quiet()
    entries = [each for each in ENTRIES if oracle_python or each.trainer != TRL]
    with tempfile.TemporaryDirectory() as folder:
        # apart: a process started by a large one counts that one's memory as its own
        started("prepare", folder, data, (rollouts + 1) * EPISODES)
        rows = [
            measured(entry, Path(folder), rollouts, threads, oracle_python)
            for _ in range(repeats)
            for entry in entries
        ]
    measures = table(pd.DataFrame(rows))
    source = "the built-in corpus" if data == "built-in" else "HH-RLHF"
    text = (
        f"Prompts of {source}, up to {PROMPT} tokens, replies of {REPLY}, {EPISODES} "
        f"episodes a rollout, four passes over it; {threads} threads, the median of "
        f"{repeats} turns, in each the time of {rollouts} after the first; times TRL: by "
        "turn, to TRL's fastest with as many mini-batches. A shared trunk has one model "
        "for policy and critic, as TRL's PPO never has."
    )
    print(f"{text}\n\n{measures.to_markdown(floatfmt='.2f')}")
    if out:
        measurements.keep_measurement(measures.round(2), out, "Episodes of PPO", text)


@app.command()
def one(
    folder: Path,
    rollouts: int,
    threads: int,
    trainer: str,
    mini_batches: int,
    rows: int,
) -> None:
    """Train once on what `compare` prepared, and print one line of JSON."""
    quiet()
    torch.set_num_threads(threads)
    clock = Clock()
    trainer = ours(folder, rollouts, Entry(trainer, mini_batches, rows), clock)
    trainer.train()
    length = trainer.state.log_history[0]["reply_length"]
    seconds = clock.ends[-1] - clock.ends[0]
    speed = rollouts * EPISODES / seconds
    measures = {"episodes/s": speed, "tokens a reply": length}
    print(json.dumps({**measures, "peak MiB": peak_memory_mib()}))


class Clock(TrainerCallback):
    """When each rollout and its updates were finished, in seconds."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_log(self, args, state, control, logs, **kwargs) -> None:
        if "rollout" in logs:
            self.ends.append(time.perf_counter())


# --- what is measured ----------------------------------------------------------------


@app.command()
def prepare(folder: Path, data: str, count: int) -> None:
    """Prompts as texts and ids, and the models that every measurement starts from."""
    limits = {"n_builtin": 8 * count, "max_pairs": 0, "judge_fraction": 0.0, "seed": 0}
    pairs, _ = hh.load_pairs(data, **limits)
    prompts = pairs[pairs["split"] == "test"]["prompt"].drop_duplicates()
    texts = prompts.sample(count, random_state=0, replace=len(prompts) < count).tolist()
    tokenizer = loading.build_tokenizer(texts, 2048)
    ids = [encode_prompt(tokenizer, text, PROMPT) for text in texts]
    policy = loading.build_opt(tokenizer, seed=0, **SHAPE)
    loading.save(endless(policy, tokenizer), tokenizer, folder / "policy")
    for seed, name in enumerate(("critic", "reward")):
        scorer = loading.load_scorer(folder / "policy", seed=seed)
        loading.save(scorer, tokenizer, folder / name)
    settings = {**SETTINGS, "episodes": EPISODES, "response_length": REPLY}
    content = {"settings": settings, "texts": texts, "ids": ids}
    (folder / "prompts.json").write_text(json.dumps(content), "utf-8")


@torch.no_grad()
def endless(policy, tokenizer):
    """The policy, made never to sample an end or padding: replies are equally long."""
    decoder = policy.get_decoder()  # what all final states share speaks against both
    decoder.final_layer_norm.bias[0] = 5.0
    for token in (tokenizer.eos_token_id, tokenizer.pad_token_id):
        decoder.embed_tokens.weight[token] = 0.0
        decoder.embed_tokens.weight[token, 0] = -10.0
    return policy


def measured(
    entry: Entry, folder: Path, rollouts: int, threads: int, oracle: Path | None
) -> dict:
    """One measurement, in a process of its own."""
    if entry.trainer == TRL:
        script = Path(__file__).with_name("ppo_trl.py")
        given = (folder, rollouts, threads, entry.mini_batches, entry.rows)
        said = started(*given, script=script, python=oracle)
    else:
        said = started("one", folder, rollouts, threads, *entry)
    return {**entry._asdict(), **json.loads(said.splitlines()[-1])}


def started(*arguments, script: Path | str = __file__, python=sys.executable) -> str:
    """What a script prints, run in a process of its own; SystemExit if it fails."""
    command = list(map(str, [python, script, *arguments]))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def ours(folder: Path, rollouts: int, entry: Entry, clock: Clock) -> PPOTrainer:
    """This project's trainer, with a critic of its own or one on the policy's trunk."""
    critic = entry.trainer == OURS
    args = PPOConfig(
        output_dir=str(folder / "ours"),
        rollouts=rollouts + 1,
        episodes=EPISODES,
        max_prompt_length=PROMPT,
        max_completion_length=REPLY,
        num_mini_batches=entry.mini_batches,
        per_device_train_batch_size=entry.rows,
        critic_learning_rate=SETTINGS["learning_rate"],
        use_cpu=not torch.accelerator.is_available(),
        save_strategy="no",
        disable_tqdm=True,
        **SETTINGS,
    )
    return PPOTrainer(
        loading.load_policy(folder / "policy"),
        loading.load_scorer(folder / "reward"),
        args,
        json.loads((folder / "prompts.json").read_text("utf-8"))["texts"],
        loading.load_tokenizer(folder / "policy"),
        value_model=loading.load_scorer(folder / "critic") if critic else None,
        callbacks=[clock],
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Medians and spread of each, and the ratio to TRL's fastest, turn by turn."""
    fields = list(Entry._fields)
    rows = rows.assign(turn=rows.groupby(fields).cumcount())
    speeds = rows.pivot(index="turn", columns=fields, values="episodes/s")
    speeds, parts = speeds.sort_index(axis=1), []
    for entry, part in rows.groupby(fields, sort=False):
        speed, times = part["episodes/s"], float("nan")
        if TRL in speeds:
            theirs = speeds[TRL, entry[1]]
            times = (speeds[entry] / theirs[theirs.median().idxmax()]).median()
        parts.append(
            {
                **dict(zip(("trainer", "mini-batches", "rows at once"), entry)),
                "episodes/s": speed.median(),
                "lowest": speed.min(),
                "highest": speed.max(),
                "times TRL": times,
                "peak MiB": part["peak MiB"].median(),
                "tokens a reply": part["tokens a reply"].mean(),
            }
        )
    return pd.DataFrame(parts).set_index("trainer")


if __name__ == "__main__":
    app()
