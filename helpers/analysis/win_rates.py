"""One policy's replies against another's: win rates, also at equal length."""

import numpy as np
import pandas as pd

from helpers.core.records import select
from helpers.statistics import compare, estimates, rates
from helpers.statistics.metrics import preference_accuracy


def judged(records: pd.DataFrame, judge: object, decoding: str) -> pd.DataFrame:
    """Per-reply rewards of every policy from a judge or a panel, named for comparison."""
    kept = {"judge": judge, "decoding": decoding}
    return compare.named(select(records, "reward", **kept))


def against(records: pd.DataFrame, opponent: str) -> dict[str, np.ndarray]:
    """Every model's per-example values less the opponent's: arrays (seeds, examples)."""
    names = [name for name in sorted(records["name"].unique()) if name != opponent]
    return {name: compare.paired(records, name, opponent) for name in names}


def win_rates(
    scores: pd.DataFrame, lengths: pd.DataFrame, opponent: str
) -> pd.DataFrame:
    """Every policy's replies against the opponent's, on the same prompts and seeds.

    scores and lengths: records with a column `name`. Columns: name, subset, win, tie,
    lose (shares), rate (ties count one half, with its interval), at equal length (the
    same by `rates.rate_at_equal_length`, None where all replies are longer than the
    opponent's, or all shorter), length gap (characters, mean).
    """
    rows = []
    for subset, part in scores.groupby("subset", sort=False):
        gaps = against(lengths[lengths["subset"] == subset], opponent)
        for name, margin in against(part, opponent).items():
            won, gap = preference_accuracy(margin), gaps[name]
            fair = rates.rate_at_equal_length(won, gap)
            rows.append(
                {
                    "name": name,
                    "subset": subset,
                    "win": float((margin > 0).mean()),
                    "tie": float((margin == 0).mean()),
                    "lose": float((margin < 0).mean()),
                    "rate": rates.rate_interval(won),
                    "at equal length": fair,
                    "length gap": float(gap.mean()),
                }
            )
    return pd.DataFrame(rows)


def rates_over_both(scores: pd.DataFrame, opponent: str) -> pd.DataFrame:
    """Win rates over both subsets, ties one half: name, method, opponent and bounds."""
    rows, subsets = [], compare.subsets_of(scores)
    for name, margin in against(scores, opponent).items():
        won = compare.balanced(preference_accuracy(margin), subsets)
        sides = {"name": name, "method": name, "opponent": opponent}
        rows.append({**sides, **estimates.bounds(rates.rate_interval(won))})
    return pd.DataFrame(rows)
