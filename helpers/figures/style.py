"""What the figures share: colours that mean the same model everywhere, legends, bars."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy
from scipy.optimize import isotonic_regression

from helpers import methods
from helpers.methods import INITS, METHODS, ONLINE, name_of

APART = ("#0173b2", "#de8f05")  # two sides that are no models
PALETTE = {  # what is shown together lies far apart; methods bring their own
    "base": "#0173b2",
    "codepmp": "#de8f05",
    "rm_only": "#029e73",
    "shuffled": "#cc78bc",
    "lm_only": "#949494",
    "best_of_n (base)": "#8f1d3f",
    "best_of_n (codepmp)": "#3f6f9f",
}
PALETTE |= {
    name_of(each.name, init if each.name in ONLINE else ""): colour
    for each in METHODS
    for init, colour in zip(INITS, each.colours)
}
UNDATED = {"Date": None}  # the same figure is the same file
RUN = ("seed", "init", "method", "strength", "pairs")  # what tells trainings apart
ROOM = 0.07  # of the height of a figure, that a line of text takes
MARKERS = "os^DvPX*<>"  # colour alone does not tell them apart for everyone
# KL is drawn on a scale of roots, as by Gao et al. 2023
ROOTS = (lambda kl: np.sqrt(np.maximum(kl, 0)), np.square)
KL_LABEL = "KL from SFT, nats a reply"


def bars(rows: pd.DataFrame) -> list[pd.Series]:
    """How far intervals reach below and above their estimates, as error bars."""
    return [rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]


def dots(
    axis: Axes,
    x: Sequence[float],
    y: Sequence[float],
    *,
    right: float = 0,
    below: float = 0,
    colour: object = "0.45",
) -> None:
    """Small dots for single seeds, so many points to the right and below of (x, y)."""
    shifted = offset_copy(axis.transData, axis.figure, right, -below, units="points")
    look = {"marker": "o", "ms": 3, "mew": 0, "ls": "", "alpha": 0.7, "zorder": 1}
    axis.plot(x, y, color=colour, transform=shifted, clip_on=False, **look)


def legend_below(figure: Figure, axis: Axes, title: str) -> Figure:
    """One legend for all panels, under them, where it hides nothing."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        [methods.title(label) for label in labels],
        title=title,
        ncol=min(len(labels), 3),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        fontsize="small",
    )
    return figure


def label_pairs(axis: Axes, pairs: pd.Series) -> None:
    """Mark the numbers of pairs that were trained on, as numbers, on a log axis."""
    ticks = sorted(pairs.unique())
    axis.set_xticks(ticks, [f"{int(each):,}" for each in ticks])
    axis.minorticks_off()


def colours(names: pd.Series) -> dict:
    """The colour of each known name; others get further ones, in their order."""
    others = [name for name in names.unique() if name not in PALETTE]
    known = {name: PALETTE[name] for name in names.unique() if name in PALETTE}
    return known | dict(zip(others, sns.color_palette("colorblind", len(others))))


def seed_curves(
    axis: Axes, data: pd.DataFrame, hue: str, palette: dict | None = None
) -> dict[str, Line2D]:
    """Draw value over step: the mean of each `hue` thick, its single runs thin.

    Returns the means' lines. Runs are told apart by `RUN`, as far as it is there.
    """
    palette, means = palette or colours(data[hue]), {}
    data = data.astype({"step": int, "value": float}).sort_values("step")
    apart = [name for name in RUN if name in data]
    for name, part in data.groupby(hue, sort=False):
        runs = [run for _, run in part.groupby(apart, dropna=False)] if apart else []
        for run in runs if len(runs) > 1 else []:
            look = {"lw": 0.7, "alpha": 0.45, "zorder": 1}
            axis.plot(run["step"], run["value"], color=palette[name], **look)
        mean = part.groupby("step")["value"].mean()
        look = {"color": palette[name], "lw": 1.8, "label": name}
        (means[name],) = axis.plot(mean.index, mean, **look)
    return means


def label_ends(axis: Axes, lines: Mapping[str, Line2D]) -> bool:
    """Name curves where they end, if the names do not meet; whether they were named."""
    low, high = axis.get_ylim()
    ends = {name: line.get_xydata()[-1] for name, line in lines.items()}
    heights = sorted(y for _, y in ends.values())
    if any(b - a < ROOM * (high - low) for a, b in pairwise(heights)):
        return False
    for name, place in ends.items():
        look = {"color": lines[name].get_color(), "fontsize": "small", "va": "center"}
        aside = {"xytext": (5, 0), "textcoords": "offset points", **look}
        axis.annotate(methods.title(name), place, **aside)
    return True


def label_levels(axis: Axes, levels: Mapping[str, float]) -> None:
    """Name horizontal lines at the right border of an axis whose limits are final."""
    low, high = axis.get_ylim()
    heights = spaced(list(levels.values()), ROOM * (high - low))
    for name, height in zip(levels, heights):
        place = {"xycoords": ("axes fraction", "data"), "va": "center"}
        aside = {"xytext": (3, 0), "textcoords": "offset points"}
        axis.annotate(methods.title(name), (1, height), **place, **aside)


def spaced(heights: Sequence[float], least: float) -> np.ndarray:
    """Heights (N,) moved so that no two are nearer than `least`, as little as can be.

    Least squares in their order: what each is beyond its place in a ladder must not fall.
    """
    heights = np.asarray(heights, float)
    order = np.argsort(heights, kind="stable")
    ladder = least * np.arange(len(order))
    moved = np.empty_like(heights)
    moved[order] = isotonic_regression(heights[order] - ladder).x + ladder
    return moved


def tidy(figure: Figure) -> Figure:
    """Tight layout, and closed, so that a notebook shows the figure once."""
    figure.tight_layout()
    plt.close(figure)
    return figure
