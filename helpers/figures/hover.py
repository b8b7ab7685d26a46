"""Figures that say their numbers where a pointer rests: titles in the SVG, no script.

Without a pointer, or in print, the figure is what it would be anyway.
"""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.core import escape
from helpers.figures.style import UNDATED

SPOT = "spot-{}"  # the id of an unseen disc over a point


def spot(axis: Axes, x: float, y: float, number: int) -> None:
    """An unseen disc over a point, to which `as_svg` gives the words of that number."""
    look = {"marker": "o", "ms": 14, "mew": 0, "alpha": 0, "zorder": 5}
    axis.plot([x], [y], gid=SPOT.format(number), **look)


def as_svg(figure: Figure, told: Sequence[str], alt: str) -> str:
    """The figure as an SVG element that says `told[n]` over its spot n.

    alt: what is to be seen, for those who do not see it. All words are escaped.
    """
    drawn = io.StringIO()
    figure.savefig(drawn, bbox_inches="tight", format="svg", metadata=UNDATED)
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    for number, words in enumerate(told):
        found = f'<g id="{SPOT.format(number)}">'
        text = text.replace(found, f"{found}<title>{escape.html(words)}</title>", 1)
    told_all = f'<svg role="img" aria-label="{escape.html(alt)}"'
    return told_all + text.removeprefix("<svg")
