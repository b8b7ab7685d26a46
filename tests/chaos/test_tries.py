"""A try is made once on a commit, and again on another or on sources that differ."""

from types import SimpleNamespace

import pytest

from tests.chaos import subjects


@pytest.fixture
def made(tmp_path, monkeypatch) -> list[int]:
    """The numbers of the tries that were made, in a project of this test's own."""
    monkeypatch.setattr(
        subjects, "PROJECT", SimpleNamespace(run=lambda name: tmp_path / name)
    )
    return []


def sources(monkeypatch, **state: object) -> None:
    """Say what the sources are."""
    monkeypatch.setattr(subjects, "commit", lambda root: state)


def attempted(made: list[int], number: int) -> list[str]:
    """A try that notes that it was made."""
    made.append(number)
    return ["KILL to the kernel", f"try {number}"]


def kept(made: list[int], number: int) -> list[str]:
    """What `subjects.kept` says of a try."""
    return subjects.kept("kill", number, lambda each: attempted(made, each))


def test_once_on_a_commit(made, monkeypatch) -> None:
    sources(monkeypatch, commit="a", dirty=False)
    first = kept(made, 3)
    assert kept(made, 3) == first == ["KILL to the kernel", "try 3"]
    assert kept(made, 4) != first and made == [3, 4]


@pytest.mark.parametrize("state", [{"commit": "a", "dirty": True}, {}])
def test_never_on_sources_that_differ(made, monkeypatch, state) -> None:
    sources(monkeypatch, **state)
    kept(made, 3), kept(made, 3)
    assert made == [3, 3]


def test_again_on_another_commit(made, monkeypatch) -> None:
    for commit in ("a", "b"):
        sources(monkeypatch, commit=commit, dirty=False)
        kept(made, 3)
    assert made == [3, 3]
