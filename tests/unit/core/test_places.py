"""What is handed on names no place of this machine, and the run still finds its data."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from helpers.core import places
from helpers.core.atomic import read_json, write_json

NAMES = ["hh-rlhf", "two words", 'a "b" \\frac{x} <i>', "{cite}`x` | $y$", "ä/ö"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "planted-home" / "project"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_place_is_shown_by_name_and_found_again(root, tmp_path, name) -> None:
    place = tmp_path / "planted-data" / name
    place.mkdir(parents=True)
    said = places.shown(str(place), root)
    assert said.startswith(f"{place.name} (") and "planted" not in said
    assert places.shown(str(place), root) == said
    assert places.placed(said, root) == str(place)
    assert places.placed(said, root / "elsewhere") == said  # on another machine
    (place / "new.txt").write_text("more")
    assert places.shown(str(place), root) != said  # the digest is of what is there
    assert places.placed(said, root) == str(place)


def test_what_is_no_place_of_this_machine_stays(root) -> None:
    values = {
        "data_source": "Anthropic/hh-rlhf",
        "pretrained": "facebook/opt-350m@abc",
        "fetched": "data/mine",
        "data_note": "~40 % of it, cut... here/there",
        "empty": "",
        "size": 3,
        "names": ["a", "b"],
    }
    assert places.all_shown(values, root) == values
    assert not (root / "runs").exists()
    assert places.with_places({"parameters": values}, root) == {"parameters": values}


def test_paths_out_of_the_project_are_places_too(root, tmp_path) -> None:
    (tmp_path / "planted-home" / "hh").mkdir()
    for value in ("../hh", "a/../../hh", "~/hh", "~planted/hh", "/no/such/place/hh"):
        (said,) = places.shown([value], root)
        assert said.startswith("hh (") and places.placed([said], root) == [value]


def test_a_copy_of_a_folder_does_not_stand_for_it(root, tmp_path) -> None:
    first, second = tmp_path / "a" / "hh", tmp_path / "b" / "hh"
    first.mkdir(parents=True)
    (first / "x").write_text("x")
    shutil.copytree(first, second)
    said = [places.shown(str(each), root) for each in (first, second)]
    assert said[0] != said[1]
    assert [places.placed(each, root) for each in said] == [str(first), str(second)]


def test_a_file_of_this_machine_is_a_place(root, tmp_path) -> None:
    file = tmp_path / "planted-data" / "model.gguf"
    file.parent.mkdir()
    file.write_bytes(b"1")
    assert places.shown(str(file), root).startswith("model.gguf (")


@pytest.mark.parametrize("name", NAMES)
def test_no_text_of_a_notebook_names_a_place(root, tmp_path, monkeypatch, name) -> None:
    home, data = tmp_path / "planted-home", tmp_path / "planted-data" / name
    data.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    packages = next(each for each in sys.path if each.endswith("site-packages"))
    quoted = str(data).encode("unicode_escape").decode().replace('"', '\\"')
    texts = [
        f'data_source = "{quoted}"',
        f"DataError: {data}/helpful-base/train.jsonl, line 3: not JSON",
        f"\x1b[32m{root}/helpers/x.py:48\x1b[39m, in f(x)",
        f"File {packages}/torch/nn.py:1 and {home}/.cache/x",
        f"<p>{places.escape.html(str(data))}</p> {places.escape.markdown(str(data))}",
    ]
    file = tmp_path / "x.ipynb"
    cells = [{"source": text, "outputs": [{"traceback": [text]}]} for text in texts]
    about = {"papermill": {"parameters": {"data_source": str(data), str(data): 1}}}
    file.write_text(json.dumps({"cells": cells, "metadata": about}))
    values = {"data_source": str(data), "seeds": 3}
    write_json(places.without_places(read_json(file), values, root), file)
    text = file.read_text("utf-8")
    assert "planted" not in text and packages not in text
    content = json.loads(text)
    said = places.shown(str(data), root)
    assert content["metadata"]["papermill"]["parameters"]["data_source"] == said
    sources = [cell["source"] for cell in content["cells"]]
    assert sources[1].startswith(f"DataError: {said}/helpful-base/train.jsonl, line 3")
    assert sources[2] == "\x1b[32m./helpers/x.py:48\x1b[39m, in f(x)"
    assert sources[3] == "File site-packages/torch/nn.py:1 and ~/.cache/x"


def test_words_that_only_look_alike_stay(root, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    text = "/home/ab is not x/home/a-b, and x/home/a no home; https://x.org/home/axe"
    assert places.without_places(text, {}, root) == text
    monkeypatch.setenv("HOME", "/")
    assert places.without_places("a / b /c", {}, root) == "a / b /c"
