"""Files of one JSON object per line, plain or gzip: read line by line, within bounds.

Whatever a file holds, reading it takes no more memory than its longest allowed line, and
what is wrong is a DataError of one line: file, line, what was expected.
"""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from helpers.core.inputs import MOST_DIGITS, InputError, quoted, shown

MOST_BYTES = 1_000_000  # of a line
# NUL, which ends a text for what is written in C, and halves of characters
UNWRITABLE = re.compile(r"[\x00\ud800-\udfff]")


class DataError(InputError):
    """Input that cannot be read: says which file and line, and what was expected."""


def read_objects(path: Path, expected: str) -> Iterator[tuple[str, dict]]:
    """Yield where each object stands, for errors, and the object; blank lines are none.

    expected: what a line should be, in words. Raises DataError.
    """
    number, where = 0, shown(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(lines_of(file), 1):
                here = f"{where}, line {number}"
                if len(line) > MOST_BYTES:
                    most = f"at most {MOST_BYTES:,} bytes a line"
                    raise DataError(f"{here}: too long; expected {most}")
                if line.strip():
                    yield here, parsed(line, here, expected)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{where}, after line {number}: expected a whole gzip file ({error})"
        ) from error
    except OSError as error:
        raise DataError(f"{where}: {error.strerror}; expected a file") from error


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, each cut after one byte more than is allowed.

    Bytes are split at \\n alone: a JSON string may hold other line ends.
    """
    while line := file.readline(MOST_BYTES + 1):
        yield line


def parsed(line: bytes, where: str, expected: str) -> dict:
    """The object of one line; DataError if it is none."""
    try:
        text = line.decode("utf-8")
        found = json.loads(text, object_pairs_hook=object_of, parse_int=whole)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: not UTF-8 at byte {error.start + 1}; expected UTF-8 text"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON ({error.msg} at column {error.colno}); {expected}"
        ) from error
    except RecursionError:
        raise DataError(f"{where}: nested too deeply; {expected}") from None
    except ValueError as error:  # a key that comes twice, or a number without end
        raise DataError(f"{where}: {shown(error)}; {expected}") from None
    if not isinstance(found, dict):
        raise DataError(f"{where}: found a {type(found).__name__}; {expected}")
    return found


def object_of(pairs: list[tuple[str, object]]) -> dict:
    """An object of JSON from its pairs; ValueError if a key comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {quoted(twice, 40)} comes twice")
    return found


def whole(text: str) -> int:
    """A whole number of JSON; ValueError if it is too long to be meant."""
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def check_texts(row: dict, keys: tuple[str, ...], where: str, expected: str) -> None:
    """Raise DataError unless an object has these keys, and text that can be written."""
    for key in keys:
        if key not in row:
            raise DataError(f"{where}: key {key!r} is missing; {expected}")
        if not isinstance(row[key], str):
            kind = type(row[key]).__name__
            raise DataError(f"{where}: {key!r} is a {kind}, not text; {expected}")
        if found := UNWRITABLE.search(row[key]):
            what = "a NUL" if found[0] == "\0" else "half a \\u escape pair"
            raise DataError(f"{where}: {key!r} holds {what}; expected UTF-8 text")
