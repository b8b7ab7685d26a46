"""A measurement that is kept with the sources: a table, and how it was made."""

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from helpers.core import escape
from helpers.core.atomic import whole, write_json
from helpers.core.paths import ROOT
from helpers.core.places import without_places
from helpers.core.provenance import provenance

TUNING = "tuning"  # trials of settings
RELIABILITY = "reliability"  # faults that were caused on purpose
ELSEWHERE = (TUNING, RELIABILITY)  # which pages of their own show, not that of costs
MADE_WITH = ("commit", "python", "cpu_count", "device", "versions")


def keep_measurement(
    table: pd.DataFrame, out: Path, title: str, text: str, **further: object
) -> None:
    """Write a measurement so that the book shows it: `table.csv` and `about.json`.

    The command that is kept is the one of this process, unless `further` has another.
    """
    out.mkdir(parents=True, exist_ok=True)
    with whole(out / "table.csv") as aside:
        table.to_csv(aside, float_format="%.4g")
    here = provenance(ROOT)
    about = {
        "title": title,
        "text": text,
        "command": typed(sys.argv),
        "date": datetime.now(UTC).date().isoformat(),
        **{name: here[name] for name in MADE_WITH if name in here},
        **further,
    }
    write_json(about, out / "about.json")


def typed(arguments: list[str]) -> str:
    """The command of a process in one line, without places of this machine."""
    parts = [part for each in arguments[1:] for part in each.split("=")]
    named = {part: part for part in parts if Path(part).is_absolute()}
    clean = without_places(arguments, named, ROOT)
    if Path(clean[0]).is_absolute():
        clean[0] = Path(clean[0]).name
    elif (file := Path(clean[0])).name == "__main__.py":
        clean[:1] = ["-m", ".".join(file.parent.parts)]
    return escape.visible(shlex.join(["python", *clean]))


TITLE = "How settings were chosen"
