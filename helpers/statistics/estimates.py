"""Estimates with their intervals: how they are called, kept as records, and found again.

An estimate is of a model, or of a difference between a model and its opponent. Tables
have one a row; stages keep them as records, which the ledger, the cards and the page of
real pairs read.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.core.records import select
from helpers.methods import check_names, names
from helpers.statistics import intervals

# --- what they are called --------------------------------------------------------------


def contrast(first: str, second: str) -> dict[str, str]:
    """Two models as columns of a difference: how it is called, and both sides."""
    return {"name": f"{first} − {second}", "method": first, "opponent": second}


def called(method: str, opponent: str) -> dict[str, str]:
    """As `contrast`; an estimate without an opponent is called by its method."""
    if opponent:
        return contrast(method, opponent)
    return {"name": method, "method": method, "opponent": ""}


BOUNDS = ("estimate", "low", "high", "interval")


def bounds(interval: intervals.Interval) -> dict:
    """An interval as columns, and whole for tables."""
    values = (interval.estimate, interval.low, interval.high, interval)
    return dict(zip(BOUNDS, values))


def one_row(
    method: str, interval: intervals.Interval, opponent: str = ""
) -> pd.DataFrame:
    """An interval as a table of one row."""
    return pd.DataFrame([{**called(method, opponent), **bounds(interval)}])


# --- kept as records -------------------------------------------------------------------

# estimates with intervals that stages keep -> what they are
ESTIMATES = {
    "accuracy": "share of held-out pairs that a scorer has right",
    "gain": "accuracy of a reward model minus that of its opponent, all pairs",
    "label_factor": "by how much a start multiplies the labels",
    "difference": "judged reward minus that of the opponent",
    "difference_at_equal_kl": "the same, both at one KL from SFT",
    "win_rate": "share of replies that the judge prefers to the opponent's",
    "variant": "judged reward at the end of training minus PPO's",
    "judge_accuracy": "share of held-out pairs that who judges replies has right",
    "judge_over_length": "the same minus that of the length rule",
    "judge_over_words": "the same minus that of a bag of words",
    "study_difference": "share of replies that pass, minus the opponent's",
}


def as_records(table: pd.DataFrame, metric: str, **common: object) -> list[dict]:
    """A table of estimates as records: one each, with its bounds beside it.

    A table without subsets is of both; without a column method, `name` is the method.
    common: further columns, such as judge. Raises KeyError for a metric that
    `ESTIMATES` does not have. An estimate that could not be given, as of curves that do
    not overlap, is a record without a value.
    """
    if metric not in ESTIMATES:
        raise KeyError(f"no estimate {metric!r}; known: {', '.join(ESTIMATES)}")
    optional = ("opponent", "judge", "protocol", "p")
    return [
        {
            "method": row.get("method", row["name"]),
            "subset": row.get("subset", "both"),
            "metric": metric,
            **common,
            **{name: row[name] for name in optional if name in row},
            "value": row["estimate"],
            "low": row["low"],
            "high": row["high"],
            **counts_of(row["interval"]),
        }
        for row in table.to_dict("records")
    ]


def counts_of(interval: intervals.Interval | None) -> dict[str, float]:
    """What an interval rests on, as columns; nothing where there is none."""
    if not isinstance(interval, intervals.Interval):
        return {"error": np.nan, "seeds": 0, "n": 0}
    return {name: getattr(interval, name) for name in ("error", "seeds", "n")}


def from_records(
    records: pd.DataFrame, metric: str, by: Sequence[str] = (), **columns: object
) -> pd.DataFrame:
    """The estimates of a metric that `as_records` wrote, which it is the inverse of.

    by: further columns to show; columns: as for `select`. Columns: `by`, name, method,
    opponent, subset, p and bounds; numbers without an interval are left out. Raises
    ValueError if an estimate stands there twice.
    """
    part = select(records, metric, **columns)
    part = part[part["low"].notna()]
    keys = [*by, "method", "opponent", "judge", "subset"]
    if part.duplicated(keys).any():
        raise ValueError(f"{metric}: an estimate stands there twice")
    rows = [
        {
            **{name: row[name] for name in by},
            **called(row["method"], row["opponent"]),
            "subset": row["subset"],
            "p": row["p"],
            **bounds(interval_of(row)),
        }
        for row in part.to_dict("records")
    ]
    names = [*by, "name", "method", "opponent", "subset", "p", *BOUNDS]
    return pd.DataFrame(rows, columns=names)


def interval_of(row: Mapping) -> intervals.Interval:
    """The interval that a record holds."""
    counts = {
        name: 0 if pd.isna(row[name]) else int(row[name]) for name in ("seeds", "n")
    }
    ends = row["value"], row["low"], row["high"]
    return intervals.Interval(*ends, error=row["error"], **counts)


def find_interval(
    records: pd.DataFrame,
    metric: str,
    method: str,
    opponent: str = "",
    subset: str = "both",
    **columns: object,
) -> intervals.Interval | None:
    """One interval that `as_records` wrote; None if it is not there.

    Raises KeyError for a metric or a model that this project does not have: a name that
    is spelled wrongly is no method that was not run.
    """
    check_names(ESTIMATES, "estimate", metric)
    check_names(names(), "model", method, *filter(None, [opponent]))
    kept = {"method": method, "opponent": opponent, "subset": subset, **columns}
    found = from_records(records, metric, **kept)["interval"]
    return None if found.empty else found.iloc[0]
