"""What the figures share: colours that mean the same model everywhere, legends, bars."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

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
    return known | dict(zip(others, sns.color_palette("Set1", len(others))))


def tidy(figure: Figure) -> Figure:
    """Tight layout, and closed, so that a notebook shows the figure once."""
    figure.tight_layout()
    plt.close(figure)
    return figure
