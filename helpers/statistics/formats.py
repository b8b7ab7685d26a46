"""Numbers and intervals as text: as prose shows them and as tables do."""

import math

import pandas as pd

from helpers.statistics.intervals import Interval


def number(value: object, digits: int = 3) -> str:
    """A value as prose shows it; an interval in parentheses after its estimate."""
    if isinstance(value, Interval):
        bounds = f"{decimal(value.low, digits)} to {decimal(value.high, digits)}"
        middle = decimal(value.estimate, digits)
        return f"{middle} ({value.level:.0%} interval {bounds})"
    if isinstance(value, float):
        return decimal(value, digits)
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def decimal(value: float, digits: int) -> str:
    """A float with `digits` decimals; one of many digits by its order of magnitude.

    An infinite one is a bound that cannot be given.
    """
    if math.isinf(value):
        return "no bound"
    if abs(value) >= 1e7:
        return f"{value:.0e}"
    return f"{round(value, digits) + 0.0:.{digits}f}"  # never -0.000


def unbroken(text: str) -> str:
    """The text of a number or interval, so that no line ends within it."""
    return text.replace(" ", "\u00a0")


def cell(value: object, digits: int = 3) -> str:
    """A value as a table shows it: an interval as `0.512 [0.498, 0.526]`."""
    if isinstance(value, Interval):
        numbers = (value.estimate, value.low, value.high)
        return "{} [{}, {}]".format(*(decimal(each, digits) for each in numbers))
    missing = pd.api.types.is_scalar(value) and pd.isna(value)
    return "–" if missing else number(value, digits)
