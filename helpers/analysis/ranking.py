"""Tables for readers: rows by what they are, and among their like the best first."""

import pandas as pd

from helpers.methods import SCORERS

MODELS, IMPLICIT, POLICIES = "reward models", "implicit rewards", "trained policies"
BEST, YARDSTICKS, REST = "best of N", "to compare with", "judges and rules"
KINDS = (MODELS, IMPLICIT, POLICIES, BEST, REST, YARDSTICKS)  # as they are read
COMPARED_WITH = ("base", "sft", "chosen", "best_of_n (random)")


def kind_of(name: str) -> str:
    """What is called `name` in records, as one of `KINDS`."""
    if name in COMPARED_WITH:
        return YARDSTICKS
    if name in SCORERS:
        return REST
    if " implicit" in name:
        return IMPLICIT
    starts = {"rm": MODELS, "best_of_n": BEST}
    return next((kind for it, kind in starts.items() if name.startswith(it)), POLICIES)


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Intervals by name and subset, as a table to be read.

    rows: columns name, subset, estimate, interval. Index (kind, name): kinds in the order
    of `KINDS`, names by the mean of their estimates, the highest first.
    """
    shown = rows.pivot(index="name", columns="subset", values="interval")
    means = rows.groupby("name")["estimate"].mean()
    kinds = {name: kind_of(name) for name in shown.index}
    order = sorted(shown.index, key=lambda it: (KINDS.index(kinds[it]), -means[it]))
    shown = shown.loc[order]
    shown.index = pd.MultiIndex.from_tuples(
        [(kinds[name], name) for name in order], names=["kind", "name"]
    )
    return shown


def best_first(rows: pd.DataFrame, column: str, within: str = "subset") -> pd.DataFrame:
    """Rows by the estimates of their intervals in `column`, the highest first, a part
    of equal `within` after the other."""
    heights = rows[column].map(lambda interval: -interval.estimate)
    order = rows.assign(height=heights).sort_values([within, "height"], kind="stable")
    return order.drop(columns="height")
