"""What a run would take before it runs: trainings, tokens, FLOPs, minutes."""
