"""Scorers of held-out pairs, looked at closely: where they are right, and how sure.

All take margins: records of the metric `margin`, one for each scorer, seed and pair.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.core.records import example_rows, tidy
from helpers.data.code.code_pairs import SUBSET, of_split
from helpers.statistics import compare, estimates, intervals, metrics, rates
from helpers.statistics.intervals import Interval

FOLDS = 3  # of pairs, for the signs of the gaps in calibration
MOST = 20  # doublings of the labels

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


def calibration(margins: pd.DataFrame) -> pd.DataFrame:
    """Whether margins can be read as log-odds: calibration error and Brier score.

    Columns: name, subset, estimate, low, high, interval (of `calibration_interval`),
    brier (an Interval of the mean of `metrics.brier`).
    """
    rows = []
    for (name, subset), part in margins.groupby(["name", "subset"], sort=False):
        values = compare.by_seed(part)
        found = estimates.bounds(calibration_interval(values))
        score = intervals.mean_interval(metrics.brier(values)).within(0, 1)
        rows.append({"name": name, "subset": subset, **found, "brier": score})
    return pd.DataFrame(rows)


def calibration_interval(margins: np.ndarray, *, level: float = 0.95) -> Interval:
    """Expected calibration error of margins (seeds, examples), mean over seeds.

    Even a calibrated scorer has some error on few pairs. With the signs of the gaps
    from the same pairs the estimate is too high, with those from other pairs too low
    (`metrics.calibration_errors`): it is the mean of both, and the interval, over seeds
    and pairs, goes down as far as that of the lower one.

    Simulated with 3 and 5 seeds of 600 and 2000 pairs, a nominal 95 % interval covers
    0.92 to 0.96, the least where the scorer is calibrated.
    """
    same, other = (
        np.array([metrics.calibration_errors(each, folds=folds) for each in margins])
        for folds in (1, FOLDS)
    )
    found = intervals.mean_interval((same + other) / 2, level=level)
    low = min(found.low, intervals.mean_interval(other, level=level).low)
    found = replace(found, estimate=max(found.estimate, 0.0), low=low)
    return found.within(0, 1)


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

    Columns: learned (`rm`, or one subset alone), pairs, init, subset ("both" too), name,
    estimate, low, high, interval.
    """
    scored = compare.rightness(margins).assign(name=lambda each: each["init"])
    contrasts = [(init, "base") for init in scored["init"].unique() if init != "base"]
    parts = []
    for (learned, pairs), part in scored.groupby(["method", "pairs"]):
        for split in (True, False):
            gains = compare.difference_table(part, contrasts, subsets=split)
            init = gains["name"].str.split(" ").str[0]
            parts.append(gains.assign(learned=learned, pairs=int(pairs), init=init))
    return pd.concat(parts, ignore_index=True)


class LabelCurves(NamedTuple):
    """Accuracy of two starts by number of pairs: (sizes, seeds, examples) each."""

    sizes: list[int]
    base: np.ndarray
    own: np.ndarray

    @property
    def slope(self) -> np.ndarray:
        """Accuracy of one doubling of the pairs, the two curves' mean; (seeds, n)."""
        x = np.log2(self.sizes) - np.mean(np.log2(self.sizes))
        return np.tensordot(x, (self.base + self.own) / 2, 1) / (x**2).sum()


def label_curves(margins: pd.DataFrame, init: str) -> LabelCurves | None:
    """The curves of the base start and of `init`; margins: 04's reward models.

    None if there are not two sizes at which both starts were trained.
    """
    curves: dict[str, dict[int, np.ndarray]] = {"base": {}, init: {}}
    for (start, pairs), group in compare.rightness(margins).groupby(["init", "pairs"]):
        if start in curves:
            curves[start][int(pairs)] = compare.by_seed(group)
    sizes = sorted(curves["base"].keys() & curves[init].keys())
    if len(sizes) < 2:
        return None
    base, own = (np.array([curves[each][n] for n in sizes]) for each in ("base", init))
    return LabelCurves(sizes, base, own)


def label_worth(margins: pd.DataFrame, init: str) -> tuple[Interval, Interval] | None:
    """What a start is worth in labels: the factor by which it multiplies them.

    With accuracy linear in log2(pairs), at the slope of the two curves' mean, a gain in
    accuracy is a shift along that axis: gain / slope doublings. Result: the factor for
    the mean gain over all sizes, and the gain in accuracy of one doubling. None without
    `label_curves`.
    """
    curves = label_curves(margins, init)
    if curves is None:
        return None
    gain = (curves.own - curves.base).mean(axis=0)
    return label_factor(gain, curves.slope), intervals.mean_interval(curves.slope)


def label_factor(gain: np.ndarray, slope: np.ndarray) -> Interval:
    """2^(gain / slope), the factor on the labels; both (seeds, examples), paired.

    By `rates.ratio_interval`. Where more pairs do not surely help there is no bound: the
    interval is (0, inf). Beyond MOST doublings a number says no more than that.

    Simulated with 3 and 5 seeds, a nominal 95 % interval covers 0.98 to 0.99.
    """
    worth = rates.ratio_interval(gain, slope)
    ends = (worth.estimate, worth.low, worth.high)
    factors = [
        2.0**each if abs(each) <= MOST else (np.inf if each > 0 else 0.0)
        for each in ends
    ]
    return replace(worth, **dict(zip(("estimate", "low", "high"), factors)))


def labels_saved(margins: pd.DataFrame, init: str) -> pd.DataFrame | None:
    """What a start saves at each number of pairs; None without `label_curves`.

    A start worth the factor f reaches with pairs / f labels what the base start needs
    `pairs` for: it saves pairs * (1 - 1 / f). Columns: pairs, gain (in accuracy), factor,
    saved (of the pairs), all Intervals; a bound that cannot be given is infinite.
    """
    curves = label_curves(margins, init)
    if curves is None:
        return None
    rows = []
    for pairs, base, own in zip(*curves):
        factor = label_factor(own - base, curves.slope)
        gain = intervals.mean_interval(own - base)
        saved = saved_of(factor, pairs)
        rows.append({"pairs": pairs, "gain": gain, "factor": factor, "saved": saved})
    return pd.DataFrame(rows)


def saved_of(factor: Interval, pairs: int) -> Interval:
    """Labels saved of `pairs` by a start that is worth a factor of them."""
    ends = {
        end: pairs * (1 - 1 / value) if (value := getattr(factor, end)) else -np.inf
        for end in ("estimate", "low", "high")
    }
    return replace(factor, **ends)


def where_decided(saved: Interval) -> Interval | str:
    """Labels saved as a table shows them; "undecided" where they may be lost as well."""
    return "undecided" if saved.low <= 0 <= saved.high else saved


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


# --- what tells the writers apart without a model ---------------------------------------


def rule_margins(pairs: pd.DataFrame) -> pd.DataFrame:
    """Margins of both rules on the held-out pairs, as records, one for each pair.

    method: `length` prefers the longer code; `bag of words` (`metrics.BagOfWords`) is
    fitted on the training pairs. What a model scores beyond them is more than surface.
    """
    told = pairs.assign(subset=SUBSET)
    train, test = (of_split(told, split) for split in ("train", "test"))
    margins = {
        "length": metrics.length_margin(test),
        "bag of words": metrics.BagOfWords().fit(train).margins(test),
    }
    parts = [
        pd.DataFrame(example_rows(test, "margin", values)).assign(method=name)
        for name, values in margins.items()
    ]
    return tidy(pd.concat(parts))
