"""From records to answers: what is compared with what, and how sure we are.

Every comparison is one of two shapes: the mean of per-example values of one model, or
the paired difference of two models on the same examples and seeds. Intervals come from
`stats`, over examples and seeds.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers import stats
from helpers.metrics import preference_accuracy

RUN = ("method", "init", "pairs", "strength", "seed")  # what tells trainings apart


def name_of(method: str, init: str) -> str:
    """How a model is called in tables and figures: `sft_dpo`, `ppo (codepmp)`."""
    return f"{method} ({init})" if init and method != init else method


def together(*parts: pd.DataFrame) -> pd.DataFrame:
    """Records of several stages as one table."""
    return pd.concat(parts, ignore_index=True)


def named(records: pd.DataFrame) -> pd.DataFrame:
    """Records with a column `name` made of method and init."""
    names = [name_of(*key) for key in zip(records["method"], records["init"])]
    return records.assign(name=names)


def by_seed(records: pd.DataFrame) -> np.ndarray:
    """Per-example values of one model as an array (seeds, examples), both in order.

    Raises ValueError where a seed lacks an example: pairing needs all of them.
    """
    seeds = records["seed"].fillna(0).astype(int)
    examples = records["subset"] + "/" + records["example"]
    array = records.assign(seed=seeds, example=examples).pivot(
        index="seed", columns="example", values="value"
    )
    if array.isna().any(axis=None):
        raise ValueError(
            f"{int(array.isna().sum().sum())} examples lack a seed's value"
        )
    return array.to_numpy(float)


def mean_table(
    records: pd.DataFrame,
    by: Sequence[str],
    subsets: bool = True,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> pd.DataFrame:
    """The mean of per-example values, with its interval, for each group.

    within: the least and the most that a value can be. Columns: `by`, subset ("both" if
    not split), estimate, low, high, interval.
    """
    if not subsets:
        records = records.assign(
            subset="both", example=records["subset"] + records["example"]
        )
    keys = [*by, "subset"]
    rows = []
    for key, part in records.groupby(keys, sort=False, dropna=False):
        interval = stats.mean_interval(by_seed(part)).within(*within)
        rows.append({**dict(zip(keys, key)), **bounds(interval)})
    return pd.DataFrame(rows)


def metric_means(records: pd.DataFrame, across: str) -> pd.DataFrame:
    """Means of metrics called `kind:judge` or `kind:judge:decoding`.

    Rows are models and judges; the columns tell `across` apart, "kind" or "decoding".
    """
    parts = records["metric"].str.split(":", expand=True)
    parts.columns = ["kind", "judge", "decoding"][: parts.shape[1]]
    keys = ["name", "judge", across]
    means = named(records).join(parts).groupby(keys, sort=False)["value"].mean()
    return means.unstack()


def accuracy_table(
    margins: pd.DataFrame, by: Sequence[str], subsets: bool = True
) -> pd.DataFrame:
    """Preference accuracy of scorers from their per-pair margins, as `mean_table`."""
    return mean_table(rightness(margins), by, subsets, within=(0, 1))


def rightness(margins: pd.DataFrame) -> pd.DataFrame:
    """The records of margins with `metrics.preference_accuracy` as their value."""
    margins = margins[margins["metric"] == "margin"]
    return margins.assign(value=preference_accuracy(margins["value"].to_numpy()))


def difference_table(
    records: pd.DataFrame,
    contrasts: Sequence[tuple[str, str]],
    subsets: bool = True,
) -> pd.DataFrame:
    """Paired differences, first minus second, between models called by `name`.

    Columns: name ("a − b"), subset, estimate, low, high, interval, p and p_holm (the
    contrasts of a subset being one family), effect (`stats.effect_size`), detectable
    (the difference that would have been seen with a power of 0.8).
    """
    if not subsets:
        records = records.assign(
            subset="both", example=records["subset"] + records["example"]
        )
    rows = []
    for subset, part in records.groupby("subset", sort=False):
        arrays = {name: by_seed(group) for name, group in part.groupby("name")}
        family = [pair for pair in contrasts if arrays.keys() >= set(pair)]
        for first, second in family:
            pair = arrays[first], arrays[second]
            difference = stats.paired_difference(*pair)
            rows.append(
                {
                    "name": f"{first} − {second}",
                    "subset": subset,
                    **bounds(stats.mean_interval(difference)),
                    "p": stats.p_value(difference),
                    "effect": stats.effect_size(difference),
                    "detectable": stats.detectable_difference(*pair),
                }
            )
    table = pd.DataFrame(rows)
    if rows:
        table["p_holm"] = table.groupby("subset")["p"].transform(stats.holm)
    return table


BOUNDS = ("estimate", "low", "high", "interval")


def bounds(interval: stats.Interval) -> dict:
    """An interval as columns, and whole for tables."""
    values = (interval.estimate, interval.low, interval.high, interval)
    return dict(zip(BOUNDS, values))


def one_row(name: str, interval: stats.Interval) -> pd.DataFrame:
    """An interval as a table of one row."""
    return pd.DataFrame([{"name": name, **bounds(interval)}])


def verdict(interval: stats.Interval, better: str, worse: str) -> str:
    """What an interval of a difference says in words; a null result is called one."""
    if interval.low > 0:
        return better
    if interval.high < 0:
        return worse
    return "no difference that this run can see"


ENDS = {"": "estimate", "_low": "low", "_high": "high"}  # of a metric's name -> column


def as_records(table: pd.DataFrame, metric: str) -> list[dict]:
    """A table of estimates as records: metric, metric_low and metric_high by name.

    A table without subsets is of both.
    """
    return [
        {
            "method": row["name"],
            "subset": row.get("subset", "both"),
            "metric": metric + end,
            "value": row[column],
        }
        for row in table.to_dict("records")
        for end, column in ENDS.items()
    ]


def from_records(
    records: pd.DataFrame, metric: str, by: Sequence[str] = ()
) -> pd.DataFrame:
    """The estimates of a metric that `as_records` wrote, which it is the inverse of.

    by: further columns that tell estimates apart. Columns: `by`, name, subset, and
    bounds; numbers without an interval are left out. Raises ValueError if an estimate
    stands there twice.
    """
    keys = [*by, "method", "subset"]
    ends = [metric + end for end in ENDS]
    part = records[records["metric"].isin(ends)]
    wide = part.pivot(index=keys, columns="metric", values="value")
    order = pd.MultiIndex.from_frame(part[keys].drop_duplicates())
    wide = wide.reindex(index=order, columns=ends).dropna()
    rows = [
        {**dict(zip(keys, key)), **bounds(stats.Interval(*values))}
        for key, values in zip(wide.index, wide.itertuples(index=False))
    ]
    table = pd.DataFrame(rows, columns=[*keys, *BOUNDS])
    return table.rename(columns={"method": "name"})


def find_interval(
    records: pd.DataFrame, metric: str, name: str, subset: str = "both"
) -> stats.Interval | None:
    """One interval that `as_records` wrote; None if it is not there."""
    own = records[(records["method"] == name) & (records["subset"] == subset)]
    found = from_records(own, metric)["interval"]
    return None if found.empty else found.iloc[0]


def late_mean(
    records: pd.DataFrame,
    metrics: Sequence[str],
    by: Sequence[str],
    share: float = 0.25,
) -> pd.Series:
    """Mean of training metrics over the last `share` of each run's steps, per group."""
    part = records[records["metric"].isin(list(metrics))]
    runs = [name for name in RUN if name in part.columns]
    last = part.groupby(runs, dropna=False)["step"].transform("max")
    late = part[part["step"] > (1 - share) * last]
    return late.groupby(list(by), sort=False)["value"].mean()


def late_differences(
    records: pd.DataFrame, metrics: Sequence[str], opponent: str
) -> pd.DataFrame:
    """Each method minus `opponent` at the end of training, paired over seeds.

    Columns: name (the method), metric, estimate, low, high, interval.
    """
    late = late_mean(records, metrics, by=["metric", "method", "seed"])
    rows = []
    for metric in metrics:
        values = late[metric].unstack("seed")
        for method in values.index.drop(opponent):
            pair = (values.loc[[each]].to_numpy(float).T for each in (method, opponent))
            interval = stats.difference_interval(*pair)
            rows.append({"name": method, "metric": metric, **bounds(interval)})
    return pd.DataFrame(rows, columns=["name", "metric", *BOUNDS])
