"""What spoils a valid text: each mutation is a function of a text and a source of chance."""

import json
import random
import re
from collections.abc import Callable

TOKENS = (
    *("", "0", "-1", "010", "0x1F", "0o17", "1e-3", "1e999", "1_000", "1:30", "٣", "½"),
    *("nan", ".nan", "inf", "-inf", "null", "~", "true", "yes", "2026-13-45", "- -"),
    *("9" * 500, "9" * 5000, "-" + "9" * 4400, "1." + "0" * 600, "0x" + "f" * 4000),
    *(
        "[",
        "]",
        "[]",
        "[[1]]",
        "{}",
        "{a: 1}",
        "'",
        '"',
        "#",
        ":",
        "- ",
        "? ",
        "| ",
        "> ",
    ),
    *(
        "&a 1",
        "*a",
        "!!int 1",
        "!!python/object:os.system",
        "!x",
        "<<: {a: 1}",
        "%YAML 9",
    ),
    *(
        "---\n",
        "...\n",
        "\n",
        "\r\n",
        "\t",
        "\\",
        "\\u0000",
        "\\ud800",
        '"\\UFFFFFFFF"',
    ),
    *("..", "../..", "/etc", "a/b/c", "~/x", "$HOME", "-x", ".", "a" * 300, "ä" * 150),
    *("=", ",", ",,", "a=b=c", "run_dir", "all", "06_dpo", "{subset}", "{0}", "%s"),
)
CONTROLS = (
    "\x00\x01\x07\x08\x0b\x0c\x1b\x7f\x85\xa0\u200b\u202e\u2028\ufeff\ufffe\ud800"
)
WORD = re.compile(r"[\w.+-]+")
Mutation = Callable[[random.Random, str], str]


def span(chance: random.Random, text: str, most: int = 40) -> tuple[int, int]:
    """A part of a text, perhaps empty."""
    start = chance.randint(0, len(text))
    return start, min(len(text), start + chance.randint(0, most))


def insert(chance: random.Random, text: str) -> str:
    """A character that hardly anyone types."""
    at = chance.randint(0, len(text))
    return text[:at] + chance.choice(CONTROLS) + text[at:]


def change(chance: random.Random, text: str) -> str:
    """Another character in place of one."""
    at = chance.randint(0, len(text))
    return text[:at] + chr(chance.randint(32, 126)) + text[at + 1 :]


def leave_out(chance: random.Random, text: str) -> str:
    """A part is not there."""
    start, end = span(chance, text)
    return text[:start] + text[end:]


def repeat(chance: random.Random, text: str) -> str:
    """A part comes many times."""
    start, end = span(chance, text)
    return text[:end] + text[start:end] * chance.choice((1, 2, 30)) + text[end:]


def move(chance: random.Random, text: str) -> str:
    """A line stands elsewhere."""
    lines = text.splitlines(keepends=True) or [""]
    line = lines.pop(chance.randrange(len(lines)))
    lines.insert(chance.randint(0, len(lines)), line)
    return "".join(lines)


def swap(chance: random.Random, text: str) -> str:
    """A word or a number is of another kind."""
    found = list(WORD.finditer(text))
    start, end = chance.choice(found).span() if found else (0, 0)
    return text[:start] + chance.choice(TOKENS) + text[end:]


def nest(chance: random.Random, text: str) -> str:
    """A part stands in brackets, in many, or in some that are never closed."""
    start, end = span(chance, text, 10)
    left, right = chance.choice(("[]", "{}", "()", ("{a: ", "}"), ('{"a": ', "}")))
    depth = chance.choice((1, 2, 30, 3000))
    closed = right * (depth - chance.choice((0, 0, 1)))
    return text[:start] + left * depth + text[start:end] + closed + text[end:]


MUTATIONS: tuple[Mutation, ...] = (insert, change, leave_out, repeat, move, swap, nest)
USUAL = (0, 1, 1, 1, 2, 3)  # mutations of one text


def spoiled(chance: random.Random, text: str) -> str:
    """A text after some mutations; now and then it stays as it is."""
    for _ in range(chance.choice(USUAL)):
        text = chance.choice(MUTATIONS)(chance, text)
    return text


RAW = (  # JSON that is no text, or that is not there to be read
    *(
        "null",
        "0",
        "1.5",
        "true",
        "[]",
        "{}",
        '[""]',
        '""',
        "NaN",
        "1e999",
        '"\\u0000"',
    ),
    *("9" * 4000, "-" + "9" * 5000, "[" * 3000 + "]" * 3000, '{"a": ' * 2000 + "1"),
    *('"\\ud83d"', '"\\ud83d\\ude00"', "{", '"', '{"a": 1, "a": 2}', " " * 1_000_001),
)


def spoiled_json(chance: random.Random, row: dict) -> str:
    """An object as JSON of which a key is gone, or comes twice, or has another value."""
    parts = {key: json.dumps(row[key], ensure_ascii=False) for key in row}
    key, kind = chance.choice(list(parts)), chance.randrange(4)
    more = ""
    if kind == 0:
        del parts[key]
    elif kind == 1:
        more = f', "{key}": {parts[key]}'
    else:
        parts[key] = chance.choice(RAW)
    text = ", ".join(f'"{name}": {value}' for name, value in parts.items())
    return f"{{{text}{more}}}"


def spoiled_bytes(chance: random.Random, content: bytes) -> bytes:
    """Bytes of which some are others, or that end too early."""
    found = bytearray(content)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        if found:
            found[chance.randrange(len(found))] = chance.randrange(256)
    cut = chance.choice((0, 0, 0, 0, chance.randint(0, 30)))
    return bytes(found[: len(found) - cut])
