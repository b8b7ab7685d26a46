"""A short run of PPO as a script, to be launched in several processes."""

import json
import sys

import torch

from helpers.core.progress import quiet
from helpers.models import loading
from helpers.trainers.ppo.config import PPOConfig
from helpers.trainers.ppo.trainer import PPOTrainer


def main(folder: str, out: str) -> None:
    """Train the model of a folder to write the letter a; write the records as JSON."""
    quiet()
    torch.set_num_threads(1)
    args = PPOConfig(
        output_dir=folder,
        rollouts=3,
        episodes=12,
        num_mini_batches=2,
        num_ppo_epochs=2,
        per_device_train_batch_size=4,
        max_completion_length=6,
        learning_rate=1e-3,
        critic_learning_rate=1e-3,
        normalise_rewards=True,
        normalise_values=True,
        ref_ema=0.1,
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    trainer = PPOTrainer(
        loading.load_policy(folder).cpu(),
        lambda prompts, completions: [float(text.count("a")) for text in completions],
        args,
        [f"\n\nHuman: {'very ' * n}good?\n\nAssistant:" for n in range(7)],
        loading.load_tokenizer(folder),
        value_model=loading.load_scorer(folder).cpu(),
    )
    trainer.train()
    if trainer.is_world_process_zero():
        records = [each for each in trainer.state.log_history if "rollout" in each]
        processes = trainer.accelerator.num_processes
        with open(out, "w", encoding="utf-8") as file:
            json.dump({"processes": processes, "records": records}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
