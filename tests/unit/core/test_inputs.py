"""What errors quote stays one line; names of runs stay in their folder."""

from pathlib import Path

import pytest

from helpers.core.inputs import InputError, decimal, integer, quoted, shown
from helpers.core.paths import Project, checked_name, in_runs


def test_what_is_quoted_is_one_short_line() -> None:
    texts = ["a\nb", "\x1b[31m", "x" * 10**6, "\u202e", "\ud800"]
    for value in [*texts, 10**5000, [10**5000], texts]:
        assert quoted(value).isprintable() and len(quoted(value)) <= 80
    for text in texts:
        assert shown(text).isprintable() and len(shown(text)) <= 120


def test_what_is_harmless_is_quoted_as_it_is() -> None:
    assert (quoted("a b"), quoted([1]), shown("runs/é b")) == (
        "'a b'",
        "[1]",
        "runs/é b",
    )


@pytest.mark.parametrize("text", ["", "1_0", "٣", " 1", "1\n", "0x1", "1e", "9" * 500])
def test_what_python_may_read_as_a_number_is_none_here(text: str) -> None:
    for read in (integer, decimal):
        with pytest.raises(ValueError, match="expected a"):
            read(text)


def test_numbers() -> None:
    assert [integer(text) for text in ("0", "-7", "+12")] == [0, -7, 12]
    assert [decimal(text) for text in ("1e-3", ".5", "2.", "-Inf")] == [
        *(0.001, 0.5, 2.0, float("-inf"))
    ]
    with pytest.raises(ValueError, match="leading zeros"):
        integer("010")


@pytest.mark.parametrize(
    "name", ["cpu", "real_2026", "my-run.2", "beta/00", "beta/123456", "x" * 100]
)
def test_names(name: str, tmp_path: Path) -> None:
    assert checked_name(name) == name and in_runs(f"runs/{name}")
    assert Project(tmp_path).run(name) == tmp_path / "runs" / name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/..", "a/../b", "/etc", "/", "a/", "//a", "~", "-x"),
        *("a/b", "a/b/c", "a/1/2", "a/1234567", "a b", "a\n", "a\nb", "a\0", "a\x1b"),
        *(
            ".hidden",
            "é",
            "a/٣",
            "٣",
            "x" * 101,
            "x" * 99 + "/0",
            "C:\\x",
            "a\\b",
            "a%2f",
        ),
    ],
)
def test_what_is_no_name_is_refused(name: str, tmp_path: Path) -> None:
    assert not in_runs(f"runs/{name}") and not in_runs(name)
    for read in (
        lambda: checked_name(name, "--run"),
        lambda: Project(tmp_path).run(name),
    ):
        with pytest.raises(InputError, match="expected a name of at most 100") as error:
            read()
        assert str(error.value).isprintable() and len(str(error.value)) < 250


@pytest.mark.parametrize(
    "folder", ["runs", "cpu", "/runs/cpu", "./runs/cpu", "Runs/cpu"]
)
def test_a_folder_elsewhere_is_no_run(folder: str) -> None:
    assert not in_runs(folder)
