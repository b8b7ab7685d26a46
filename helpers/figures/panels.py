"""Figures of the book: one function each, drawn by seaborn from tidy records.

Each returns its matplotlib figure. `save` keeps a figure for the pages that cannot reach
into a notebook; colours mean the same model in every chapter.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

from helpers.core.atomic import whole
from helpers.figures.style import (
    MARKERS,
    PALETTE,
    UNDATED,
    bars,
    colours,
    dots,
    label_ends,
    label_levels,
    label_pairs,
    legend_below,
    seed_curves,
    tidy,
)
from helpers.methods import title

TOGETHER = 4  # curves that one panel holds before they lie on each other
SHOWN = {
    "name": "policy",
    "method": "policy",
    "init": "start",
}  # what a hue tells apart


def style() -> None:
    """The look of every figure: readable at the width of a phone; a `$` is a dollar.

    Drawn as SVG without a date, so that the same figure is the same file.
    """
    look = {"figure.dpi": 110, "text.parse_math": False, "svg.hashsalt": "figures"}
    sns.set_theme("notebook", "whitegrid", rc=look)
    if get_ipython() is not None:
        set_matplotlib_formats("svg", metadata=UNDATED)


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write a figure as SVG under `folder/figures`; it appears whole or not at all."""
    path = folder / "figures" / f"{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as aside:
        figure.savefig(aside, bbox_inches="tight", format="svg", metadata=UNDATED)
    return path


def training_curves(
    records: pd.DataFrame, metric: str, label: str, hue: str, x: str = "training step"
) -> Figure:
    """A metric of training over its steps, called `x`: means, and each seed thin.

    Up to four curves share one panel. More have a panel each, before the others in grey.
    """
    data = records[records["metric"] == metric]
    names = list(dict.fromkeys(data[hue]))
    if len(names) > TOGETHER:
        return one_panel_each(data, names, hue, (x, label))
    figure, axis = plt.subplots(figsize=(7, 3.6))
    lines = seed_curves(axis, data, hue)
    axis.set(xlabel=x, ylabel=label)
    if label_ends(axis, lines):
        return tidy(figure)
    return legend_below(tidy(figure), axis, SHOWN.get(hue, hue))


def one_panel_each(
    data: pd.DataFrame, names: list[str], hue: str, labels: tuple[str, str]
) -> Figure:
    """A panel for each curve, three in a row, with all the others in grey behind it."""
    rows = -(-len(names) // 3)
    size = {"figsize": (8.4, 2.3 * rows + 0.4), "squeeze": False}
    figure, axes = plt.subplots(rows, 3, sharex=True, sharey=True, **size)
    palette, parts = colours(data[hue]), data.groupby(hue)
    means = {name: part.groupby("step")["value"].mean() for name, part in parts}
    for axis, name in zip(axes.flat, names):
        for mean in (mean for other, mean in means.items() if other != name):
            axis.plot(mean.index, mean, color="0.8", lw=0.8, zorder=1)
        seed_curves(axis, data[data[hue] == name], hue, palette)
        axis.set_title(title(name), fontsize="small")
    for axis in list(axes.flat)[max(len(names) - 3, 0) : len(names)]:
        axis.tick_params(labelbottom=True)  # none may stand below it
    for axis in list(axes.flat)[len(names) :]:
        axis.remove()
    figure.supxlabel(labels[0], fontsize="medium")
    figure.supylabel(labels[1], fontsize="medium")
    return tidy(figure)


def panels(records: pd.DataFrame, metrics: dict[str, str], hue: str, x: str) -> Figure:
    """Several metrics of training over the same steps, one panel each, two in a row.

    metrics: name -> label. Means, and each seed thin.
    """
    rows = (len(metrics) + 1) // 2
    figure, axes = plt.subplots(
        rows, 2, figsize=(8.4, 2.7 * rows), sharex=True, squeeze=False
    )
    for axis, (metric, label) in zip(axes.flat, metrics.items()):
        seed_curves(axis, records[records["metric"] == metric], hue)
        axis.set(title=label, xlabel=x, ylabel="")
    for axis in list(axes.flat)[len(metrics) :]:
        axis.remove()
    return legend_below(tidy(figure), axes.flat[0], SHOWN.get(hue, hue))


def sample_efficiency(accuracy: pd.DataFrame, lines: pd.DataFrame) -> Figure:
    """Accuracy against the number of HH pairs (log scale), by start, per subset.

    accuracy: columns subset, init, pairs, estimate, low, high.
    lines: columns subset, name, value: scorers that do not depend on the pairs.
    """
    subsets = sorted(accuracy["subset"].unique())
    figure, axes = plt.subplots(
        1, len(subsets), figsize=(4.6 * len(subsets), 4), sharey=True, squeeze=False
    )
    for axis, subset in zip(axes[0], subsets):
        for init, part in accuracy[accuracy["subset"] == subset].groupby("init"):
            part = part.sort_values("pairs")
            colour = PALETTE[init]
            axis.plot(part["pairs"], part["estimate"], "o-", color=colour, label=init)
            axis.fill_between(
                part["pairs"], part["low"], part["high"], color=colour, alpha=0.12
            )
        for level in lines.loc[lines["subset"] == subset, "value"]:
            axis.axhline(level, ls=":", lw=1, color="black")
        axis.set(title=subset, xscale="log", xlabel="HH training pairs")
        label_pairs(axis, accuracy["pairs"])
    for axis, subset in zip(axes[0], subsets):  # which share their limits
        own = lines[lines["subset"] == subset]
        label_levels(axis, dict(zip(own["name"], own["value"])))
    axes[0][0].set_ylabel("accuracy on held-out pairs")
    return legend_below(tidy(figure), axes[0][0], "reward model starts from")


def forest(
    rows: pd.DataFrame,
    label: str,
    zero: float | None = None,
    points: pd.DataFrame | None = None,
) -> Figure:
    """Estimates with their intervals, one line per `name`, one panel per `subset`.

    points: each seed's own estimate, as dots below the interval, of `seed_points`.
    """
    subsets = list(dict.fromkeys(rows["subset"]))
    names = list(dict.fromkeys(rows["name"]))[::-1]
    figure, axes = plt.subplots(
        1,
        len(subsets),
        figsize=(4.6 * len(subsets), 0.34 * len(names) + 1.4),
        sharey=True,
        squeeze=False,
    )
    for axis, subset in zip(axes[0], subsets):
        part = rows[rows["subset"] == subset].set_index("name").reindex(names)
        error = bars(part)
        axis.errorbar(
            part["estimate"], range(len(names)), xerr=error, fmt="o", capsize=3
        )
        if points is not None:
            own = points[(points["subset"] == subset) & points["name"].isin(names)]
            dots(axis, own["estimate"], own["name"].map(names.index), below=5)
        axis.set(title=subset, xlabel=label, yticks=range(len(names)))
        axis.set_ylim(-0.6, len(names) - 0.4)
        axis.set_yticklabels([title(name) for name in names])
        if zero is not None:
            axis.axvline(zero, color="black", lw=1)
    return tidy(figure)


def gains(table: pd.DataFrame) -> Figure:
    """Gain in accuracy over the base start against the number of pairs, per start.

    table: columns subset, init, pairs, estimate, low, high.
    """
    subsets = list(dict.fromkeys(table["subset"]))
    inits = list(dict.fromkeys(table["init"]))
    figure, axes = plt.subplots(
        1, len(subsets), figsize=(3.6 * len(subsets), 3.6), sharey=True, squeeze=False
    )
    for axis, subset in zip(axes[0], subsets):
        for shift, init in enumerate(inits):
            part = table[(table["subset"] == subset) & (table["init"] == init)]
            error = bars(part)
            # side by side, or the intervals hide each other
            x = part["pairs"] * 1.08 ** (shift - (len(inits) - 1) / 2)
            style = {"fmt": "o-", "capsize": 3, "color": PALETTE[init], "label": init}
            axis.errorbar(x, part["estimate"], yerr=error, **style)
        axis.axhline(0, color="black", lw=1)
        axis.set(title=subset, xscale="log", xlabel="HH training pairs")
        label_pairs(axis, table["pairs"])
    axes[0][0].set_ylabel("accuracy minus base start")
    return legend_below(tidy(figure), axes[0][0], "reward model starts from")


def reliability(curves: pd.DataFrame) -> Figure:
    """Accuracy against confidence of each scorer, one panel per subset.

    curves: columns name, subset, confidence, accuracy; calibrated scorers lie on the
    diagonal, those below it are surer than right.
    """
    subsets = sorted(curves["subset"].unique())
    figure, axes = plt.subplots(
        1, len(subsets), figsize=(4.2 * len(subsets), 4), sharey=True, squeeze=False
    )
    look = {"x": "confidence", "y": "accuracy", "hue": "name", "style": "name"}
    palette = colours(curves["name"])
    for axis, subset in zip(axes[0], subsets):
        part = curves[curves["subset"] == subset]
        sns.lineplot(part, **look, markers=True, dashes=False, palette=palette, ax=axis)
        axis.plot([0.5, 1], [0.5, 1], color="black", lw=1)
        axis.set(title=subset, xlabel="confidence", ylabel="accuracy")
        axis.get_legend().remove()
    return legend_below(tidy(figure), axes[0][0], "scorer")


def by_group(table: pd.DataFrame, group: str, label: str) -> Figure:
    """Accuracy of each scorer over groups of pairs, one panel per subset.

    table: columns name, subset, `group`, estimate, low, high, in the order of the groups;
    groups may differ between subsets.
    """
    subsets = sorted(table["subset"].unique())
    figure, axes = plt.subplots(
        1, len(subsets), figsize=(4.4 * len(subsets), 3.8), sharey=True, squeeze=False
    )
    palette = colours(table["name"])
    names = list(table["name"].unique())
    for axis, subset in zip(axes[0], subsets):
        part = table[table["subset"] == subset]
        places = {each: at for at, each in enumerate(part[group].unique())}
        for at, name in enumerate(names):
            own = part[part["name"] == name]
            shift = 0.12 * (
                at - (len(names) - 1) / 2
            )  # side by side, not on each other
            axis.errorbar(
                own[group].map(places) + shift,
                own["estimate"],
                yerr=bars(own),
                color=palette[name],
                marker=MARKERS[at],
                linestyle="none",
                label=name,
            )
        axis.axhline(0.5, color="black", lw=1)
        axis.set_xticks(list(places.values()), places, rotation=20, ha="right")
        axis.set(title=subset, ylabel="accuracy")
    figure.supxlabel(label, fontsize="medium")
    return legend_below(tidy(figure), axes[0][0], "scorer")


def agreement(shares: pd.DataFrame) -> Figure:
    """Share of pairs on which two scorers agree, as a square of colours and numbers."""
    size = 1.8 + 0.52 * len(shares)
    shares = shares.rename(index=title, columns=title)
    figure, axis = plt.subplots(figsize=(size + 1.2, size))
    sns.heatmap(
        shares,
        annot=True,
        fmt=".2f",
        vmin=0.5,
        vmax=1,
        cmap="crest",
        ax=axis,
        square=True,
    )
    return tidy(figure)
