"""What a file of settings is made of, held against a shape that is written as a value.

A shape is `str` (a text of one line), `float` (a finite number), `[shape]` (a list of at
least one), `{str: shape}` (a mapping), or `{"name": shape}` (a mapping with these fields;
of `"name?"` none need be there).
"""

from collections.abc import Iterator

from helpers.core.inputs import CONTROL, quoted
from helpers.core.yaml_files import Lined

LARGEST = 1e300


def misfit(value: object, shape: object, at: str = "") -> str:
    """The first place where a value has another shape, in words; "" if it fits.

    value: as `read_yaml` gives it.
    """
    kinds = {list: "a list of at least one", dict: "name: value lines"}
    if shape is str or shape is float:
        fits, expected = SCALARS[shape]
        return (
            "" if fits(value) else f"{at}got {quoted(value, 40)}, expected {expected}"
        )
    if not isinstance(value, type(shape)) or value == []:
        return f"{at}got {quoted(value, 40)}, expected {kinds[type(shape)]}"
    fixed = isinstance(shape, dict) and str not in shape
    if fixed and (wrong := wrong_fields(value, shape)):
        return f"{at}{wrong}"
    return next(filter(None, (misfit(*part) for part in parts(value, shape, at))), "")


def wrong_fields(value: dict, shape: dict) -> str:
    """Which field of a mapping is not known or is lacking, in words; "" if none is."""
    known = [name.removesuffix("?") for name in shape]
    needed = [name for name in shape if not name.endswith("?")]
    if unknown := [name for name in value if name not in known]:
        listed = ", ".join(known)
        return f"no field is called {quoted(unknown[0], 40)}, expected {listed}"
    if missing := [name for name in needed if name not in value]:
        return f"lacks {missing}"
    return ""


def parts(
    value: list | Lined, shape: list | dict, at: str
) -> Iterator[tuple[object, object, str]]:
    """The parts of a value, each with its shape and how errors call its place."""
    if isinstance(value, list):
        yield from ((each, shape[0], f"{at}{n}: ") for n, each in enumerate(value, 1))
        return
    for name, each in value.items():
        own = shape.get(name, shape.get(f"{name}?", shape.get(str)))
        yield each, own, f"line {value.lines[name]}: {quoted(name, 40)}: "


def is_line(value: object) -> bool:
    """Whether a value is a text of one line, with something in it."""
    return isinstance(value, str) and bool(value.strip()) and not CONTROL.search(value)


def is_number(value: object) -> bool:
    """Whether a value is a number that can be computed with."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -LARGEST < value < LARGEST


SCALARS = {str: (is_line, "a text of one line"), float: (is_number, "a number")}
