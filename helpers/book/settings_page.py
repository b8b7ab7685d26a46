"""The section of a page that says how settings were chosen: every recorded trial."""

from pathlib import Path

from helpers.book.measured import measurement
from helpers.core.measurements import TITLE, TUNING

NO_TRIALS = """
No trials are recorded in this copy. `prefbook tune` makes and records them.
"""


def settings_section(recorded: Path) -> str:
    """Every trial with the choice marked, as a section of a page."""
    folder = recorded / TUNING
    if not (folder / "about.json").exists():
        return f"\n## {TITLE}\n{NO_TRIALS}"
    return "\n".join(measurement(folder))
