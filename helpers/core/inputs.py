"""What a user gives: read within bounds, and quoted in errors without spoiling them."""

import re
from pathlib import Path

MOST_DIGITS = 400  # of a number in a text: more than any float has
MOST_LETTERS = 1000  # of a text that is a value
# control characters, other line ends, halves of characters, and what turns the direction
# of writing: a text with them is not what it looks like
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class InputError(ValueError):
    """What a user gave and cannot be used; the message is one line."""


def each_of(given: object) -> list:
    """The items of a list, or the one value that is none."""
    return given if isinstance(given, list) else [given]


def quoted(value: object, most: int = 80) -> str:
    """A value as Python writes it, in one line of at most `most` characters."""
    try:
        return cut(repr(value), most)
    except (ValueError, RecursionError):  # too many digits, or too deep, to be written
        return f"a {type(value).__name__} too large to show"


def shown(text: object, most: int = 120) -> str:
    """A name or a path in an error: as it is, but in one line of at most `most`."""
    text = str(text)
    return cut(text if text.isprintable() else repr(text)[1:-1], most)


def cut(text: str, most: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def read_text(path: Path, most: int) -> str:
    """The text of a file; InputError unless it is UTF-8 of at most `most` bytes."""
    where = shown(path)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{where}: {why}, expected a file") from None
    if len(content) > most:
        raise InputError(f"{where}: expected a file of at most {most:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{where}: line {line}: expected UTF-8 text") from None


def integer(text: str) -> int:
    """A whole number from decimal digits, as -7; ValueError otherwise.

    A leading zero is refused: YAML 1.1 and C read `010` as 8, people read it as 10.
    """
    if len(text) > MOST_DIGITS or not INTEGER.fullmatch(text):
        raise ValueError("expected a whole number without leading zeros")
    return int(text)


def decimal(text: str) -> float:
    """A number as 2, 0.5, 1e-3, inf or nan; ValueError otherwise."""
    if text.lower().lstrip("+-") in ("inf", "nan"):
        return float(text)
    if len(text) > MOST_DIGITS or not DECIMAL.fullmatch(text):
        raise ValueError("expected a number")
    return float(text)
