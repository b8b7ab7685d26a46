"""Everything that can go wrong, done on purpose; the result is a page of the book.

    python -m tests.chaos --kills 200 --damages 50 --races 20 --inputs 100000

Every try has a number from which it is drawn, so that one that went wrong can be made
again by itself: `--seed NUMBER --kills 1`. Kills and damages that this commit has had are
not made again, so that hundreds of them can be made in sittings. All happens in runs
called `chaos`, which are removed when nothing went wrong.
"""

import shutil
from typing import Annotated

import pandas as pd
import typer

from helpers.core import measurements
from helpers.core.paths import PROJECT, ROOT
from tests.chaos import damages, fuzz, kills, places, races

TITLE = "Faults, tries, outcomes"
TEXT = (
    "Each fault was caused on purpose, at random moments and places, on runs of the smoke "
    "tier. *Wrong* counts the tries after which something was lost, other records came "
    "out, a process lived on, or anything but one line was said."
)
Count = Annotated[int, typer.Option(min=0)]


def main(
    seed: Annotated[int, typer.Option(help="Number of the first try.")] = 0,
    kills_: Annotated[int, typer.Option("--kills", min=0)] = 20,
    damages_: Annotated[int, typer.Option("--damages", min=0)] = 15,
    races_: Annotated[int, typer.Option("--races", min=0)] = 5,
    places_: Annotated[int, typer.Option("--places", min=0, max=1)] = 1,
    inputs: Count = 5000,
    record: Annotated[bool, typer.Option("--record", help="Keep the table.")] = False,
) -> None:
    """Cause faults; exit code 1 if any try went wrong."""
    asked = [(races, races_), (places, places_), (damages, damages_), (kills, kills_)]
    rows = [row for part, tries in asked if tries for row in part.run(seed, tries)]
    rows += fuzz.as_faults(fuzz.run(seed, inputs)) if inputs else []
    table = pd.DataFrame(rows).set_index("fault")
    print(table.to_string())
    if record:
        place = ROOT / "book" / "recorded" / measurements.RELIABILITY
        measurements.keep_measurement(table, place, TITLE, TEXT)
    if table["wrong"].sum():
        raise typer.Exit(1)
    for run in (PROJECT.root / "runs").glob("chaos*"):
        shutil.rmtree(run)


if __name__ == "__main__":
    typer.run(main)
