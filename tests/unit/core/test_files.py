"""Files are whole or not there."""

import pytest

from helpers.core.atomic import whole, write_json, write_text


def test_what_fails_half_way_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file.txt"
    write_text("whole\n", path)
    with pytest.raises(OSError, match="disk"), whole(path) as aside:
        aside.write_text("ha")
        raise OSError("disk")
    assert path.read_text() == "whole\n"
    assert list(tmp_path.iterdir()) == [path]


def test_json_ends_with_a_line_and_takes_paths(tmp_path):
    write_json({"é": tmp_path}, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.endswith("}\n") and tmp_path.name in text
