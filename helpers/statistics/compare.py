"""From records to answers: what is compared with what, and how sure we are.

Every comparison is one of two shapes: the mean of per-example values of one model, or
the paired difference of two models on the same examples and seeds. Intervals come from
`stats`, over examples and seeds.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from helpers.methods import RULES, name_of
from helpers.statistics import estimates, intervals, rates, sampling_errors
from helpers.statistics.metrics import preference_accuracy

RUN = ("method", "init", "pairs", "strength", "seed")  # what tells trainings apart
# what is not trained here and so has no seeds: rules, the truth, the data's own replies
FIXED = (*RULES, "words judge", "truth", "Bayes", "chosen")


def stacked(*parts: pd.DataFrame) -> pd.DataFrame:
    """Records of several stages as one table."""
    return pd.concat(parts, ignore_index=True)


def named(records: pd.DataFrame) -> pd.DataFrame:
    """Records with a column `name` made of method and init."""
    names = [name_of(*key) for key in zip(records["method"], records["init"])]
    return records.assign(name=names)


def by_seed(records: pd.DataFrame) -> np.ndarray:
    """Per-example values of one model as an array (seeds, examples), both in order.

    Where several judges have scored, (judges, seeds, examples). Raises ValueError where
    a seed lacks an example, or has it twice: pairing needs all of them.
    """
    seeds = records["seed"].fillna(0).astype(int)
    examples = records["subset"] + "/" + records["example"]
    judges = records.get("judge", pd.Series("", records.index)).fillna("")
    axes = [pd.factorize(each, sort=True) for each in (judges, seeds, examples)]
    places = tuple(place for place, _ in axes)
    array = np.full([len(names) for _, names in axes], np.nan)
    array[places] = records["value"]
    count = len(np.unique(np.ravel_multi_index(places, array.shape)))
    if twice := len(records) - count:
        raise ValueError(f"{twice} values of an example and a seed stand twice")
    if lacking := int(np.isnan(array).sum()):
        raise ValueError(f"{lacking} examples lack a seed's value")
    return array[0] if len(array) == 1 else array


def balanced(values: np.ndarray, subsets: Sequence[str]) -> np.ndarray:
    """Values (..., examples) whose mean is the mean of the subsets' means, each alike.

    subsets: of each example. "Both" means this everywhere: half helpful, half harmless,
    however many examples there are of each. Deviations from a subset's mean are scaled
    to its weight, so an interval of the result is that of a stratified sample.
    """
    names, place = np.unique(np.asarray(subsets), return_inverse=True)
    means = [values[..., place == at].mean() for at in range(len(names))]
    weights = len(place) / (len(names) * np.bincount(place))
    return np.mean(means) + weights[place] * (values - np.array(means)[place])


def subsets_of(records: pd.DataFrame) -> list[str]:
    """The subset of each example, in the order of `by_seed`."""
    examples = np.unique(records["subset"] + "/" + records["example"])
    return [each.partition("/")[0] for each in examples]


def whole(records: pd.DataFrame) -> np.ndarray:
    """As `by_seed`, over both subsets where records hold both: see `balanced`."""
    return balanced(by_seed(records), subsets_of(records))


def parts(records: pd.DataFrame, subsets: bool) -> list[tuple[str, pd.DataFrame]]:
    """The records of each subset, or all of them as "both"."""
    if subsets:
        return list(records.groupby("subset", sort=False))
    return [("both", records)]


def paired(
    records: pd.DataFrame, first: str, second: str, fixed: Sequence[str] = FIXED
) -> np.ndarray:
    """Values of first less those of second, called by `name`: as `by_seed`.

    Seeds that only one of them has are left out; one of `fixed` has none and meets all
    of the other's. Raises ValueError if they share no seed or not the same examples.
    """
    sides = [records[records["name"] == name] for name in (first, second)]
    without = [name in fixed for name in (first, second)]
    if not any(without):
        seeds = [set(part["seed"].fillna(0).astype(int)) for part in sides]
        shared = seeds[0] & seeds[1]
        if not shared:
            raise ValueError(
                f"{first} has the seeds {sorted(seeds[0])}, {second} "
                f"{sorted(seeds[1])}: train both with a seed that they share"
            )
        sides = [part[part["seed"].fillna(0).isin(shared)] for part in sides]
    return intervals.paired_difference(*map(by_seed, sides), fixed=tuple(without))


def mean_table(
    records: pd.DataFrame,
    by: Sequence[str],
    subsets: bool = True,
    estimator: Callable[[np.ndarray], intervals.Interval] = intervals.mean_interval,
) -> pd.DataFrame:
    """The mean of per-example values, with its interval, for each group.

    estimator: of the arrays of `whole`. Columns: `by`, subset ("both" if not split),
    estimate, low, high, interval.
    """
    keys = [*by, *(["subset"] if subsets else [])]
    rows = []
    for key, part in records.groupby(keys, sort=False, dropna=False):
        interval = estimator(whole(part))
        named_by = {"subset": "both", **dict(zip(keys, key))}
        rows.append({**named_by, **estimates.bounds(interval)})
    return pd.DataFrame(rows, columns=[*by, "subset", *estimates.BOUNDS])


def accuracy_table(
    margins: pd.DataFrame, by: Sequence[str], subsets: bool = True
) -> pd.DataFrame:
    """Preference accuracy of scorers from their per-pair margins, as `mean_table`."""
    return mean_table(rightness(margins), by, subsets, rates.rate_interval)


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

    Columns: name ("a − b"), method, opponent, subset, estimate, low, high, interval, p
    and p_holm (the contrasts of a subset being one family), effect
    (`intervals.effect_size`), detectable (an Interval: the difference that would have been
    seen with a power of 0.8). A family shares what it knows of how seeds differ
    (`sampling_errors.pooled`).
    """
    rows = []
    for subset, part in parts(records, subsets):
        known = set(part["name"])
        family = [pair for pair in contrasts if known >= set(pair)]
        each = subsets_of(part)
        differences = [balanced(paired(part, *pair), each) for pair in family]
        spread = sampling_errors.pooled(differences)
        for (first, second), difference in zip(family, differences):
            interval = intervals.mean_interval(difference, family=spread)
            rows.append(
                {
                    **estimates.contrast(first, second),
                    "subset": subset,
                    **estimates.bounds(interval),
                    "p": intervals.p_value(difference, family=spread),
                    "effect": intervals.effect_size(difference),
                    "detectable": intervals.detectable(difference, family=spread),
                }
            )
    table = pd.DataFrame(rows)
    if rows:
        table["p_holm"] = table.groupby("subset")["p"].transform(intervals.holm)
    return table


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
            pair = values.loc[[method, opponent]].dropna(axis=1)  # seeds of both
            own, other = (pair.loc[[each]].to_numpy(float).T for each in pair.index)
            interval = intervals.difference_interval(own, other)
            sides = {"name": method, "method": method, "opponent": opponent}
            rows.append({**sides, "metric": metric, **estimates.bounds(interval)})
    columns = ["name", "method", "opponent", "metric", *estimates.BOUNDS]
    return pd.DataFrame(rows, columns=columns)
