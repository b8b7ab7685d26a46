"""PPO: its settings, advantages, the trainer, and what its checkpoints hold."""
