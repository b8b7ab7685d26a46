"""One trainer per kind of training. They know models and losses, not runs or stages."""
