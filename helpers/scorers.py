"""Scorers of held-out pairs, looked at closely: where they are right, and how sure.

All take margins: records of the metric `margin`, one for each scorer, seed and pair.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers import compare, metrics, stats
from helpers.stats import Interval

# --- where they are right --------------------------------------------------------------


def by_depth(margins: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by the number of human turns: 1, 2, 3 or more; as `compare.mean_table`.

    margins: with a column `name`; test: the pairs, with id and turns. Column: depth.
    """
    turns = test.set_index("id")["turns"].clip(upper=3)
    depth = turns.map({1: "1 turn", 2: "2 turns", 3: "3 turns or more"})
    return _accuracy(margins, depth.rename("depth")).sort_values("depth")


def by_length_gap(
    margins: pd.DataFrame, test: pd.DataFrame, bins: int = 4
) -> pd.DataFrame:
    """Accuracy by characters of the chosen minus the rejected reply, in equal bins.

    As `by_depth`; column: gap, the bin's range; in the order of the gaps.
    """
    gaps = pd.Series(metrics.length_margin(test), index=test["id"])
    cut = pd.qcut(gaps, bins, duplicates="drop")
    words = [f"{each.left:.0f} to {each.right:.0f}" for each in cut.cat.categories]
    table = _accuracy(margins, cut.cat.rename_categories(words).rename("gap"))
    place = table["gap"].map({word: at for at, word in enumerate(words)})
    return table.iloc[place.argsort(kind="stable")]


def _accuracy(margins: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    """Accuracy of each scorer in each group of pairs; `group` is indexed by pair."""
    told = margins.assign(**{group.name: margins["example"].map(group).astype(str)})
    return compare.accuracy_table(told, by=["name", group.name])


# --- how sure they are -----------------------------------------------------------------


def calibration(margins: pd.DataFrame, draws: int = 200) -> pd.DataFrame:
    """Expected calibration error of margins read as log-odds, mean over seeds.

    Pairs are resampled, the same for all seeds. Even a calibrated scorer has some error
    on few pairs, and a resample has it twice: what the resamples have more is taken off
    the estimate and off their quantiles (the basic bootstrap; Davison and Hinkley 1997,
    ch. 5). Columns: name, subset, estimate, low, high, interval.
    """
    rows = []
    for (name, subset), part in margins.groupby(["name", "subset"], sort=False):
        values = compare.by_seed(part)
        random = np.random.default_rng(0)
        resampled = random.integers(values.shape[1], size=(draws, values.shape[1]))
        found = [_calibration_error(values[:, each]) for each in resampled]
        whole = 2 * _calibration_error(values)
        unbiased = [
            whole - np.mean(found),
            *(whole - np.quantile(found, [0.975, 0.025])),
        ]
        interval = Interval(*(max(float(each), 0.0) for each in unbiased))
        rows.append({"name": name, "subset": subset, **compare.bounds(interval)})
    return pd.DataFrame(rows)


def _calibration_error(values: np.ndarray) -> float:
    """Mean over seeds of `metrics.expected_calibration_error`; (seeds, examples)."""
    return float(np.mean([metrics.expected_calibration_error(each) for each in values]))


def reliability(margins: pd.DataFrame) -> pd.DataFrame:
    """Reliability curves, all seeds together: name, subset, confidence, accuracy, count."""
    parts = [
        metrics.reliability(part["value"].to_numpy()).assign(name=name, subset=subset)
        for (name, subset), part in margins.groupby(["name", "subset"], sort=False)
    ]
    return pd.concat(parts, ignore_index=True)


# --- who agrees with whom --------------------------------------------------------------


def agreement(margins: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Share of pairs on which two scorers prefer the same reply; square, by name.

    Mean over seeds, seed by seed; a scorer with one seed meets all seeds of the other.
    """
    values = {
        name: metrics.preference_accuracy(compare.by_seed(part))
        for name, part in margins[margins["name"].isin(names)].groupby("name")
    }
    known = [name for name in names if name in values]
    same = [
        [1 - float(np.abs(values[one] - values[other]).mean()) for other in known]
        for one in known
    ]
    return pd.DataFrame(same, index=known, columns=known)


# --- what a pretraining is worth -------------------------------------------------------


def pretraining_gains(margins: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each pretrained start minus the base start, per subset and pairs.

    Columns: pairs, init, subset ("both" too), name, estimate, low, high, interval.
    """
    scored = compare.rightness(margins).assign(name=lambda each: each["init"])
    contrasts = [(init, "base") for init in scored["init"].unique() if init != "base"]
    parts = []
    for pairs, part in scored.groupby("pairs"):
        for split in (True, False):
            gains = compare.difference_table(part, contrasts, subsets=split)
            init = gains["name"].str.split(" ").str[0]
            parts.append(gains.assign(pairs=int(pairs), init=init))
    return pd.concat(parts, ignore_index=True)


def label_worth(margins: pd.DataFrame, init: str) -> tuple[Interval, float] | None:
    """What a start is worth in labels: the factor by which it multiplies them.

    margins: those of 04's reward models, at several numbers of pairs. With accuracy
    linear in log2(pairs), at the slope of the two curves' mean, a gain in accuracy is a
    shift along that axis: gain / slope doublings, with `stats.ratio_interval`. Result:
    the factor, and the gain in accuracy of one doubling. None if there are not two sizes
    at which both starts were trained.
    """
    curves: dict[str, dict[int, np.ndarray]] = {"base": {}, init: {}}
    for (start, pairs), group in compare.rightness(margins).groupby(["init", "pairs"]):
        if start in curves:
            curves[start][int(pairs)] = compare.by_seed(group)
    sizes = sorted(curves["base"].keys() & curves[init].keys())
    if len(sizes) < 2:
        return None
    base, own = (np.array([curves[each][n] for n in sizes]) for each in ("base", init))
    x = np.log2(sizes) - np.mean(np.log2(sizes))
    slope = np.tensordot(x, (base + own) / 2, 1) / (x**2).sum()
    worth = stats.ratio_interval((own - base).mean(0), slope)
    # beyond 2^50 a bound says no more than that there is none
    doublings = np.clip([worth.estimate, worth.low, worth.high], -50, 50)
    factor = Interval(*(float(2.0**each) for each in doublings))
    return factor, float(slope.mean())


def saved_labels(factor: Interval, doubling: float, pairs: int) -> dict[str, object]:
    """What `label_worth` found, as values of a sentence; labels saved of `pairs`."""
    saved = [pairs * (each - 1) for each in (factor.estimate, factor.low, factor.high)]
    return {
        "label_factor": factor,
        "doubling": doubling,
        "largest": int(pairs),
        "saved": "{:,.0f} ({:,.0f} to {:,.0f})".format(*saved),
    }


# --- who errs alike --------------------------------------------------------------------


def shared_errors(
    margins: pd.DataFrame, judges: Sequence[str], models: Sequence[str]
) -> pd.DataFrame:
    """How the errors of judges go along with those of reward models, where truth is known.

    An error is what a margin has beyond its linear regression on the true margin, pair by
    pair. A policy that learns to please a reward model pleases a judge with the same
    errors too. Columns: judge, model, subset, correlation (mean over their seeds), low,
    high (over pairs of seeds). Empty where the truth has scored nothing.
    """
    rows = []
    for subset, part in margins.groupby("subset", sort=False):
        scores = {name: compare.by_seed(own) for name, own in part.groupby("name")}
        if "truth" not in scores:
            continue
        errors = {
            name: _residuals(each, scores["truth"][0]) for name, each in scores.items()
        }
        for judge in filter(errors.__contains__, judges):
            for model in filter(errors.__contains__, models):
                found = [
                    np.corrcoef(one, other)[0, 1]
                    for one in errors[judge]
                    for other in errors[model]
                ]
                ends = {"low": min(found), "high": max(found)}
                where = {"judge": judge, "model": model, "subset": subset}
                rows.append({**where, "correlation": np.mean(found), **ends})
    columns = ["judge", "model", "subset", "correlation", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _residuals(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What each seed's scores (seeds, examples) have beyond their regression on truth."""
    centred = truth - truth.mean()
    apart = scores - scores.mean(axis=1, keepdims=True)
    slopes = apart @ centred / (centred @ centred)
    return apart - slopes[:, None] * centred
