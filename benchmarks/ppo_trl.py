"""TRL 1.12.0's side of `benchmarks/ppo.py`, which starts it; without this project.

    python benchmarks/ppo_trl.py FOLDER ROLLOUTS THREADS MINI_BATCHES ROWS

FOLDER holds what `ppo.py` prepared; one line of JSON is printed. TRL takes as many steps
a rollout as ours, ROWS of them at once; gradient checkpointing, on by default, is off.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

QUIET = {
    "num_sample_generations": 0,
    "gradient_checkpointing": False,
    "bf16": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}


class Clock(TrainerCallback):
    """When each rollout and its updates were finished, in seconds."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.ends.append(time.perf_counter())


def build(
    folder: Path, rollouts: int, mini_batches: int, rows: int, clock: Clock
) -> PPOTrainer:
    """TRL's trainer, as its documentation has it."""
    content = json.loads((folder / "prompts.json").read_text("utf-8"))
    settings = content["settings"]
    episodes = settings.pop("episodes")
    args = PPOConfig(
        output_dir=str(folder / "trl"),
        total_episodes=(rollouts + 1) * episodes,
        num_mini_batches=mini_batches,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=episodes // rows,
        use_cpu=not torch.accelerator.is_available(),
        **settings,
        **QUIET,
    )
    critic, reward = (
        AutoModelForSequenceClassification.from_pretrained(folder / name, num_labels=1)
        for name in ("critic", "reward")
    )
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder / "policy") for _ in range(2)
    )
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    prompts = Dataset.from_dict({"input_ids": content["ids"]})
    return PPOTrainer(
        args,
        *(tokenizer, policy, reference, reward, prompts, critic),
        callbacks=[clock],
    )


def reply_lengths(trainer: PPOTrainer) -> list[int]:
    """Filled, while it trains, with the tokens before padding of every reply."""
    generate, lengths = trainer.policy_model.generate, []

    def watched(**options):
        output = generate(**options)
        replies = output.sequences[:, options["input_ids"].shape[1] :]
        lengths.extend((replies != trainer.processing_class.pad_token_id).sum(1))
        return output

    trainer.policy_model.generate = watched
    return lengths


def main(
    folder: Path, rollouts: int, threads: int, mini_batches: int, rows: int
) -> None:
    torch.set_num_threads(threads)
    clock = Clock()
    trainer = build(folder, rollouts, mini_batches, rows, clock)
    lengths = reply_lengths(trainer)
    trainer.train()
    episodes = len(lengths) // (rollouts + 1)  # as counted: not what was asked for
    speed = rollouts * episodes / (clock.ends[-1] - clock.ends[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak /= 1024**2 if sys.platform == "darwin" else 1024
    length = torch.stack(lengths).float().mean().item()
    measures = {"episodes/s": speed, "tokens a reply": length, "peak MiB": peak}
    print(json.dumps(measures))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
