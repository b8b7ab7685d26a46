"""What a notebook runs: one function per kind of job, with the grid of jobs beside it."""
