"""Intervals, tests and metrics: functions of arrays and records. No model, no run."""
