"""Figures of policies: reward against what it cost, be it KL, time or FLOPs.

As those of `figures`, from where they are called.
"""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from helpers.figures.hover import spot
from helpers.figures.style import (
    APART,
    KL_LABEL,
    MARKERS,
    PALETTE,
    ROOTS,
    bars,
    colours,
    dots,
    legend_below,
    tidy,
)
from helpers.methods import title
from helpers.statistics.formats import number


def reward_against(
    rows: pd.DataFrame,
    x: str,
    xlabel: str,
    ylabel: str,
    points: pd.DataFrame | None = None,
) -> Figure:
    """Reward of each policy against what it cost: KL, seconds or FLOPs.

    rows: columns name, estimate, low, high, and `x`. points: each seed's own estimate, as
    dots beside the interval, of `seed_points`.
    """
    figure, axis = plt.subplots(figsize=(6.4, 4))
    for place, row in enumerate(rows.to_dict("records")):
        error = [[row["estimate"] - row["low"]], [row["high"] - row["estimate"]]]
        look = {"color": PALETTE.get(row["name"], "black"), "label": row["name"]}
        marker = MARKERS[place % len(MARKERS)]
        axis.errorbar(
            row[x], row["estimate"], yerr=error, fmt=marker, capsize=3, ms=8, **look
        )
        if points is not None:
            own = points[points["name"] == row["name"]]["estimate"]
            dots(axis, [row[x]] * len(own), own, right=8)
    axis.margins(x=0.08)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    return legend_below(tidy(figure), axis, "policy")


def frontier(
    rows: pd.DataFrame, ylabel: str, points: pd.DataFrame | None = None
) -> Figure:
    """Gain against KL, one curve per method through its strengths, from SFT on.

    rows: columns name, strength, kl, estimate, low, high. points: those of each seed, as
    dots in the method's colour, of `frontier.seed_points`. Row n lies under spot n of
    `hover`.
    """
    rows = rows.reset_index(drop=True)
    figure, axis = plt.subplots(figsize=(6.8, 4.4))
    palette = colours(rows["name"])
    for place, (name, part) in enumerate(rows.groupby("name", sort=False)):
        part = part.sort_values("kl")
        error = bars(part)
        look = {"color": palette[name], "marker": MARKERS[place % len(MARKERS)]}
        axis.errorbar(
            part["kl"], part["estimate"], yerr=error, capsize=3, ls="", **look
        )
        axis.plot([0, *part["kl"]], [0, *part["estimate"]], lw=1, label=name, **look)
        if points is not None:
            own = points[points["name"] == name]
            dots(axis, own["kl"], own["estimate"], colour=palette[name])
        for row in part.itertuples():
            place_at = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 7}
            axis.annotate(f"{row.strength:g}", (row.kl, row.estimate), **place_at)
            spot(axis, row.kl, row.estimate, row.Index)
    axis.axhline(0, color="black", lw=1)
    axis.set_xscale("function", functions=ROOTS)
    axis.set(xlabel=KL_LABEL, ylabel=ylabel, xlim=(0, None))
    return legend_below(tidy(figure), axis, "method, with its strength at each point")


def frontier_told(rows: pd.DataFrame) -> list[str]:
    """What each point of `frontier` says: one line a row, in their order."""
    return [
        f"{title(row.name)}, strength {row.strength:g}: gain {number(row.interval)}, "
        f"KL {row.kl:.2f} nats a reply"
        for row in rows.itertuples()
    ]


def overoptimisation(rows: pd.DataFrame, judge: str) -> Figure:
    """Gain by the proxy and gain by the judge against KL, one panel per method.

    rows: as for `frontier`, and proxy, proxy_low, proxy_high; methods with one strength
    draw no curve and are left out.
    """
    counts = rows["name"].value_counts()
    names = [name for name in rows["name"].unique() if counts[name] > 1]
    figure, axes = plt.subplots(
        1, len(names), figsize=(3.2 * len(names), 3.6), sharey=True, squeeze=False
    )
    sides = {"proxy": ("proxy", "proxy_low", "proxy_high", "--")}
    sides[judge] = ("estimate", "low", "high", "-")
    for axis, name in zip(axes[0], names):
        part = rows[rows["name"] == name].sort_values("kl")
        for (label, (mid, low, high, line)), colour in zip(sides.items(), APART):
            kl = [0, *part["kl"]]
            axis.plot(kl, [0, *part[mid]], line, marker="o", color=colour, label=label)
            axis.fill_between(
                kl, [0, *part[low]], [0, *part[high]], color=colour, alpha=0.15
            )
        axis.set_xscale("function", functions=ROOTS)
        axis.set(title=title(name), xlabel=KL_LABEL, xlim=(0, None))
    axes[0][0].set_ylabel("gain over SFT")
    return legend_below(tidy(figure), axes[0][0], "scored by")
