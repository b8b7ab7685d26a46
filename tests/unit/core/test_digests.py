"""An inventory tells whether a folder still holds what it held."""

import os
from pathlib import Path

import pytest

from helpers.core.digests import content_digest, damage, folder_digest, inventory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.bin").write_bytes(bytes(1000))
    (tmp_path / "sub" / "b.txt").write_text("text")
    return tmp_path


def flip(path: Path) -> None:
    """Change one bit of a file and leave its size and time as they are."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_what_is_as_it_was_is_not_damaged(folder: Path) -> None:
    held = inventory(folder)
    assert list(held) == ["a.bin", "sub/b.txt"]
    (folder / "later.txt").write_text("came later")
    os.utime(folder / "a.bin")  # touched, and the same
    assert damage(folder, held) == damage(folder, held, thorough=False) == []


def test_each_kind_of_damage_is_named(folder: Path) -> None:
    held = inventory(folder)
    (folder / "sub" / "b.txt").write_text("tex")
    assert damage(folder, held, thorough=False) == ["sub/b.txt is damaged"]
    (folder / "sub" / "b.txt").unlink()
    assert damage(folder, held) == ["sub/b.txt is missing"]


def test_a_bit_that_flipped_unseen_is_found_by_reading(folder: Path) -> None:
    held = inventory(folder)
    flip(folder / "a.bin")
    assert damage(folder, held, thorough=False) == []
    assert damage(folder, held) == ["a.bin is damaged"]


@pytest.mark.parametrize("entry", [None, [1, 2, 3], ["1", "a", 1], [1, "a"], {}])
def test_what_is_no_inventory_is_refused(folder: Path, entry: object) -> None:
    with pytest.raises(ValueError, match=r"a\.bin: expected size"):
        damage(folder, {"a.bin": entry})


def test_a_copy_has_the_same_content_and_another_fingerprint(folder: Path) -> None:
    content, listed = content_digest(folder), folder_digest(folder)
    os.utime(folder / "a.bin", ns=(1, 1))
    assert content_digest(folder) == content
    assert folder_digest(folder) != listed
    flip(folder / "a.bin")
    assert content_digest(folder) != content
