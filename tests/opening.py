"""What the tiny notebooks of tests open their stage with.

They import it from here, because a test's project has a package `helpers` of its own,
empty or nearly so, and an import that leads nowhere in it is an error.
"""

from helpers.core.paths import Project
from helpers.runs.stage import open_stage

__all__ = ["Project", "open_stage"]
