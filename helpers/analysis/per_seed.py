"""What each seed says by itself, to be drawn beside an interval over all of them."""

from collections.abc import Sequence

import pandas as pd

from helpers.statistics.estimates import contrast

COLUMNS = ["name", "subset", "seed", "estimate"]


def seed_points(
    records: pd.DataFrame,
    contrasts: Sequence[tuple[str, str]] | None = None,
    subsets: bool = True,
) -> pd.DataFrame:
    """Each seed's mean of every model, or of every contrast's paired differences.

    records: of one metric, with a column `name`, as for `compare.mean_table` and
    `compare.difference_table`, whose estimates are the means of these. A contrast has the
    seeds that both models have; what has no seed has no points. Columns: name ("a − b"
    for a contrast), subset ("both" if not split), seed, estimate.
    """
    means = records.groupby(["name", "subset", "seed"], sort=False)["value"].mean()
    if not subsets:  # both weigh alike, as everywhere
        of_both = means.groupby(["name", "seed"], sort=False).mean().reset_index()
        means = of_both.assign(subset="both").set_index(means.index.names)["value"]
    if contrasts is None:
        return means.rename("estimate").reset_index()[COLUMNS]
    known = set(records["name"])
    found = [_differences(means, *each) for each in contrasts if known >= set(each)]
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(found, ignore_index=True)


def _differences(means: pd.Series, first: str, second: str) -> pd.DataFrame:
    """First minus second for every subset and seed that both have."""
    models = [means[means.index.get_level_values("name") == n] for n in (first, second)]
    own, other = (each.droplevel("name") for each in models)
    gaps = (own - other).dropna().rename("estimate").reset_index()
    return gaps.assign(name=contrast(first, second)["name"])[COLUMNS]
