"""Papers' numbers, this run's and those of recorded runs in one table, never confused.

`book/reported.yml` lists the quantities. Each column says what kind of number it holds:
reported (cited), synthetic, or real pairs with small models.
"""

import json
from pathlib import Path

import pandas as pd
import yaml

from helpers import answers
from helpers.records import read_records
from helpers.report import cell
from helpers.stats import Interval

KEPT = ("09_compare", "08_evaluate")  # stages whose intervals are compared
NUMBERS = "numbers.csv"  # of a recorded run: its intervals, without per-example records

TEXT = """
## Reported, synthetic and real, side by side

Three kinds of numbers, one column each; do not read one for another. *Reported* numbers
are the papers', of models a thousand times larger and under other judges: signs and orders
compare with ours, sizes do not. Ours are 95 % intervals over examples and seeds, of small
models: judged reward is in units of the run's own judge.
"""


def numbers(run: Path) -> pd.DataFrame:
    """The intervals of a run's comparison: stage, metric, name, subset, value."""
    found = []
    for stage in KEPT:
        records = read_records(run / stage / "records.parquet")
        whole = records[(records["example"] == "") & records["seed"].isna()]
        stems = whole["metric"].str.replace(r"_(low|high)$", "", regex=True)
        bounded = set(stems[whole["metric"].str.endswith("_low")])
        found.append(whole[stems.isin(bounded)])
    table = pd.concat(found).rename(columns={"method": "name"})
    return table[["stage", "metric", "name", "subset", "value"]]


def interval_of(
    table: pd.DataFrame,
    *,
    metric: str,
    name: str,
    subset: str = "both",
    stage: str = "09_compare",
) -> str:
    """One interval of `numbers` as a table shows it; a dash if it is not there."""
    own = table[
        (table["stage"] == stage)
        & (table["name"] == name)
        & (table["subset"] == subset)
    ].set_index("metric")["value"]
    ends = [f"{metric}{end}" for end in ("", "_low", "_high")]
    if not set(ends) <= set(own.index):
        return "–"
    return cell(Interval(*(float(own[each]) for each in ends)))


def side_by_side(run: Path, root: Path) -> list[str]:
    """The table as Markdown: reported, this run, and every recorded run."""
    quantities = yaml.safe_load((root / "book" / "reported.yml").read_text("utf-8"))
    setting = answers.setting(run)
    kind = "synthetic" if "synthetic" in setting["source"] else "real pairs"
    columns = {f"this run: {kind}, {setting['seeds']} seeds": numbers(run)}
    for folder in sorted((root / "book" / "recorded" / "runs").glob("*")):
        about = json.loads((folder / "about.json").read_text("utf-8"))
        columns[f"`{folder.name}`: {about['kind']}"] = pd.read_csv(folder / NUMBERS)
    rows = []
    for each in quantities:
        source = f" {{cite}}`{each['source']}`" if "source" in each else ""
        row = {"quantity": each["quantity"], "reported": each["reported"] + source}
        for title, table in columns.items():
            row[title] = interval_of(table, **each["record"])
        rows.append(row)
    return [TEXT, pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)]
