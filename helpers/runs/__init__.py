"""A run: which stages are stale, their jobs on this machine or many, and where things lie."""
