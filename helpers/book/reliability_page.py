"""The page "Reliability": what was done to runs on purpose, and what came of it."""

from pathlib import Path

from helpers.book.measured import measurement
from helpers.core.measurements import RELIABILITY

INTRODUCTION = """\
# Reliability

A run takes hours, and machines are taken away. What is promised:

- A run that is killed goes on where it was, with the same command and equal records: a
  finished training is kept, a half one never taken for whole.
- One process at a time changes a run. Another is told which one does.
- Before a stage reads what an earlier one gave, every file is held against the digest that
  its manifest has of it. `prefbook status` names a file that is missing or damaged, and the
  next run makes it again.
- `prefbook build`, `record` and `push` refuse a run whose stages are stale, unless told
  otherwise.
- `prefbook rerun runs/cpu/manifest.json` makes the same run again, and says what is
  different now: commit, versions, data.
- What is refused is refused before work starts, in one line.

`make chaos` breaks these on purpose, as far as it can.
"""
NO_RESULT = """
No result is recorded in this copy. `python -m tests.chaos --record` makes one.
"""


def reliability_page(recorded: Path) -> str:
    """The page as Markdown: the promises, and the last recorded result."""
    folder = recorded / RELIABILITY
    if not (folder / "about.json").exists():
        return INTRODUCTION + NO_RESULT
    return "\n".join([INTRODUCTION, *measurement(folder)])
