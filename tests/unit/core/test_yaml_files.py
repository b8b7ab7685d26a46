"""YAML: what is read, and that all else is refused in one line with file and line."""

import math
from pathlib import Path

import pytest

from helpers.core.inputs import InputError
from helpers.core.paths import ROOT
from helpers.core.yaml_files import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5E+2", 150.0),
        (".5", 0.5),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("0o17", 15),
        ("0xfF", 255),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("Null", None),
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("2026-13-45", "2026-13-45"),
        ("0b11", "0b11"),
        ("=", "="),
        ("'010'", "010"),
        ('"a\\nb\\u00e9"', "a\nbé"),
        (">-\n  two\n  lines", "two lines"),
        ("[1, 2.0, a]", [1, 2.0, "a"]),
    ],
)
def test_scalars_are_those_of_version_1_2(text: str, value: object) -> None:
    read = parse_yaml(f"x: {text}", "f")["x"]
    assert read == value and type(read) is type(value)


def test_no_number_is_read_as_itself() -> None:
    assert math.isnan(parse_yaml("[.nan]", "f")[0])


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 010", 2, "'010', expected no leading zero"),
        ("a: -01", 1, "no leading zero"),
        ("a: " + "9" * 5000, 1, "at most 400 digits"),
        ("a: 1." + "9" * 5000, 1, "at most 400 digits"),
        ("a: 0x" + "f" * 5000, 1, "at most 400 digits"),
        ("a: 1\na: 2", 2, "the key 'a' comes twice"),
        ("a: {b: 1, b: 1}", 1, "the key 'b' comes twice"),
        ("1: 2", 1, "the key 1, expected text"),
        ("[a]: 2", 1, "the key ['a'], expected text"),
        ("a: &x 1\nb: *x", 1, "anchor or alias"),
        ("b: *x", 1, "anchor or alias"),
        ("<<: {a: 1}", 1, "a merge key"),
        ("a: !!int 1", 1, "the tag"),
        ("a: !!python/object/apply:os.system [ls]", 1, "the tag"),
        ("a: ! 1", 1, "the tag"),
        ("a: 1\n--- \nb: 1", 2, "single document"),
        ("\na: " + "[" * 5000, 2, "at most 20 levels"),
        ("- " * 5000, 1, "at most 20 levels"),
        ("a: 1\nb: \x00", 2, "the control character '\\x00'"),
        ("a: 1\nb: \x1b[31m", 2, "the control character"),
        ("a: \u202e", 1, "the control character"),
        ('a: 1\nb: "\\0"', 2, "the control character"),
        ('a: "\\ud800"', 1, "the control character"),
        ('a: "\\UFFFFFFFF"', 1, "an escape that stands for no character"),
        ("a: b: c", 1, "mapping values are not allowed"),
        ("a: [1", 1, "expected ',' or ']'"),
        ("\ta: 1", 1, "cannot start any token"),
    ],
)
def test_what_is_not_plain_is_refused(text: str, line: int, says: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(text, "f.yaml")
    said = str(error.value)
    assert said.startswith(f"f.yaml: line {line}: ") and says in said
    assert said.isprintable() and len(said) < 400


def test_twenty_levels_are_read() -> None:
    assert parse_yaml("[" * 20 + "]" * 20, "f")


def test_keys_know_their_lines() -> None:
    read = parse_yaml("# first\na: 1\nb:\n  c: 2\n", "f")
    assert read == {"a": 1, "b": {"c": 2}}
    assert read.lines == {"a": 2, "b": 3} and read["b"].lines == {"c": 4}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    for content, says in {
        b"a: 1\nb: \xff": "f.yaml: line 2: expected UTF-8 text",
        b"#" * 250_001: "f.yaml: expected a file of at most 250,000 bytes",
    }.items():
        file.write_bytes(content)
        with pytest.raises(InputError, match=says):
            read_yaml(file)
    with pytest.raises(InputError, match="Is a directory, expected a file"):
        read_yaml(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")
    for name in ("x" * 300, "a\0b", "a\nb"):
        with pytest.raises(InputError) as error:
            read_yaml(tmp_path / name)
        assert str(error.value).isprintable()


def test_no_other_loader_is_used() -> None:
    """PyYAML is imported where its loader is made stricter, and nowhere else."""
    for folder in ("helpers", "tests", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text("utf-8")
            own = file.name in ("yaml_files.py", "test_yaml_files.py", "test_cards.py")
            assert own or "import yaml" not in text, file
