"""The gate of a judge: what it has to be better than before it decides anything.

A judge that is right on held-out pairs no more often than chance, the length rule or a
bag of words tells nothing of policies. It is tested on each subset for itself, and where
it fails there is no verdict there.
"""

from collections.abc import Sequence

import pandas as pd

from helpers.data.synthetic.corpus import SUBSETS
from helpers.methods import RULES, is_held_out
from helpers.statistics import compare, estimates, rates
from helpers.statistics.formats import cell

CHANCE = 0.5
TRUTH = "truth"
RIGHT = "judge_accuracy"
BETTER = {"length": "judge_over_length", "bag of words": "judge_over_words"}


def scorer(panel: Sequence[str]) -> str:
    """The judges of a panel as a scorer of pairs: held-out models are one, with seeds."""
    return "judge" if all(map(is_held_out, panel)) else panel[0]


def examine(margins: pd.DataFrame, panel: Sequence[str]) -> dict[str, pd.DataFrame]:
    """What the gate asks of a panel, as tables by metric: `RIGHT`, and one per rule.

    margins: of scorers on held-out pairs, with a column `name`. The held-out models of a
    panel are as seeds are elsewhere: the interval is over them and over pairs.
    """
    right = compare.rightness(margins)
    own = right[right["name"] == scorer(panel)]
    found = {RIGHT: compare.mean_table(own, ["name"], estimator=rates.rate_interval)}
    for rule, metric in BETTER.items():
        other = right[right["name"] == rule]
        both = pd.concat([own, other])
        found[metric] = compare.difference_table(both, [(scorer(panel), rule)])
    return found


def why_not(records: pd.DataFrame, subset: str) -> str:
    """Why a run's judge decides nothing on a subset; "" where it passes.

    records: those of 09, with what `examine` found. "both" needs both subsets. The truth
    of the built-in corpus has drawn the labels, so it has nothing to pass.
    """
    if subset == "both":
        reasons = [why_not(records, each) for each in SUBSETS]
        return "; ".join(filter(None, reasons))
    found = estimates.from_records(records, RIGHT, subset=subset)
    if found.empty:
        return f"no judge was tested on {subset} pairs"
    (name,), (right,) = found["name"], found["interval"]
    if name == TRUTH:
        return ""
    failed = [f"chance {CHANCE}"] if right.low <= CHANCE else []
    for rule, metric in BETTER.items():
        above = estimates.from_records(records, metric, subset=subset)["interval"]
        if above.empty or above.iloc[0].low <= 0:
            shown = cell(above.iloc[0]) if len(above) else "not measured"
            failed.append(f"the rule `{rule}` (difference {shown})")
    if not failed:
        return ""
    return (
        f"the judge fails its gate on {subset} pairs: right on {cell(right)} of them, "
        f"not shown to be above {' and '.join(failed)}"
    )


def verdict_of(records: pd.DataFrame) -> pd.DataFrame:
    """The gate as a table for the reader: subset, the three intervals, what follows."""
    rows = []
    for subset in SUBSETS:
        found = {
            metric: estimates.from_records(records, metric, subset=subset)["interval"]
            for metric in (RIGHT, *BETTER.values())
        }
        shown = [each.iloc[0] if len(each) else None for each in found.values()]
        names = ("right on", *(f"above {rule}" for rule in RULES))
        why = why_not(records, subset)
        rows.append(
            {
                "subset": subset,
                **dict(zip(names, shown)),
                "decides": "no" if why else "yes",
            }
        )
    return pd.DataFrame(rows)
