"""The commit of a copy is its own, never that of a repository around it."""

import subprocess
from pathlib import Path

import pytest

from helpers.core.provenance import commit


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, in a folder of which a copy can lie."""
    folder = tmp_path / "foreign"
    (folder / "copy").mkdir(parents=True)
    (folder / "copy" / "file.txt").write_text("x")
    who = ["-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", folder, *command], check=True)
    return folder


def test_a_repository_of_its_own_has_a_commit(repository: Path, tmp_path: Path) -> None:
    found = commit(repository)
    assert len(found["commit"]) == 40 and found["dirty"] is False
    (repository / "new.txt").write_text("y")
    assert commit(repository)["dirty"] is True
    (tmp_path / "link").symlink_to(repository)
    assert commit(tmp_path / "link")["commit"] == found["commit"]


def test_a_copy_inside_of_another_repository_has_none(repository: Path) -> None:
    assert commit(repository / "copy") == {}


def test_a_hook_of_another_repository_does_not_lend_its_commit(
    repository: Path, tmp_path: Path, monkeypatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    assert commit(own) == {}


def test_without_git_there_is_none(repository: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit(repository) == {}
