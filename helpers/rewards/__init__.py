"""What scores replies: the truth, reward models, further judges; and what pays a policy."""
