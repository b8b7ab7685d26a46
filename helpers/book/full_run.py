"""What a run leaves out of the `full` tier, and the recorded run that has it.

The question alone takes minutes; everything that this book compares takes longer. So
each chapter says what its run was not asked for, the page "The full run" shows the
tables of the last one that was recorded, with its date and commit, and the ledger
takes from it what this run cannot say.
"""

from collections.abc import Mapping
from pathlib import Path

from helpers.book.recorded_runs import run_section
from helpers.book.side_by_side import (
    FULL,
    Recorded,
    decisions_of,
    recorded_numbers,
    run_folders,
)
from helpers.config.schema import read_schema
from helpers.config.settings import Values, all_values
from helpers.core.paths import Project
from helpers.ledger.rule import UNTESTED
from helpers.methods import title

NOTE = """
:::{{note}}
Left out of this run: {left_out}. [The full run](../book/full.md) has them.
:::
"""
PAGE = """\
# The full run

`make book` asks the question of this book alone: two starts of the reward model, SFT,
SFT+DPO, PPO and best-of-N. `make full` runs everything that it compares: the controls of
CodePMP, the relatives of DPO, the other online methods, PPO with parts taken away, and
more seeds where CodePMP claims its gain. Where this copy is of a smaller run, the chapters
say what it leaves out.
"""
QUOTED = """
What this copy's run leaves out, [the claims](claims.md) take from the run below.
"""
NONE = """
No full run is recorded in this copy. `make full` makes one and builds its book,
`prefbook record --run full` records it.
"""


def full_values(project: Project) -> Values:
    """The values of every stage at the `full` tier."""
    return all_values(project, list(project.stages), f"runs/{FULL}", FULL, planned=True)


def left_out(
    stage: str, used: Mapping[str, object], full: Values, project: Project
) -> list[str]:
    """What the full tier's lists of names hold in a stage and those of a run do not.

    used: the run's parameters. In Markdown, one text for each parameter.
    """
    said = []
    for name, each in read_schema(project.notebook(stage)).items():
        if not (each.is_list and each.choices and name in used):
            continue
        more = [item for item in full[stage][name] if item not in used[name]]
        if more:
            said.append(f"{', '.join(map(title, more))} (`{name}`)")
    return said


def note(stage: str, used: Mapping[str, object], full: Values, project: Project) -> str:
    """What a chapter says of what its run leaves out, as Markdown; "" if nothing is."""
    said = left_out(stage, used, full, project)
    return NOTE.format(left_out="; ".join(said)) if said else ""


def full_record(root: Path) -> Recorded | None:
    """The recorded full run, if there is one that may still be quoted."""
    for each in recorded_numbers(root):
        if each.name == FULL and not each.about.get("superseded"):
            return each
    return None


def decided_there(root: Path) -> dict[str, str]:
    """What the recorded full run said, by the id of the claim; only what it tested."""
    found = full_record(root)
    if found is None:
        return {}
    where = f"in the full run of {found.about['date']}, commit {found.about['commits']}"
    return {
        claim: f"{where}: **{decision.status}**, {decision.evidence}"
        for claim, decision in decisions_of(found.table, root).items()
        if decision.status != UNTESTED
    }


def full_page(root: Path) -> str:
    """The page "The full run": what was recorded of one, if one is."""
    runs = [path for path in run_folders(root) if path.name == FULL]
    parts = [QUOTED, *map(run_section, runs)] if runs else [NONE]
    return "\n".join([PAGE, *parts])
