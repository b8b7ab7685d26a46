"""What may be read of a model's folder: each check with a folder that it refuses."""

import json
from pathlib import Path

import pytest

from helpers.config.constraints import SOURCES, check_models
from helpers.config.parameters import ParameterError
from helpers.core import hub, model_files
from helpers.core.model_files import ModelError, check_source

INDEX, WEIGHTS = model_files.INDEX, model_files.WEIGHTS


def safetensors(path: Path, length: int = 8) -> Path:
    """A file of one tensor of so many bytes."""
    about = {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": about}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(length))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as `save_pretrained` leaves it, as far as its files tell."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "opt"}')
    (folder / "generation_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    safetensors(folder / WEIGHTS)
    return folder


def indexed(folder: Path, *names: object) -> Path:
    """The folder with an index of these files in place of its one file."""
    (folder / WEIGHTS).unlink()
    content = {"metadata": {}, "weight_map": {f"w{i}": n for i, n in enumerate(names)}}
    (folder / INDEX).write_text(json.dumps(content))
    return folder


def refused(folder: Path, *said: str) -> None:
    """It is refused, in one line that says all of this."""
    with pytest.raises(ModelError) as error:
        check_source(str(folder))
    assert "\n" not in str(error.value)
    for each in said:
        assert each in str(error.value)


def test_a_folder_is_read(folder: Path) -> None:
    check_source(str(folder))
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name in names:
        safetensors(folder / name)
    indexed(folder, *names, names[0])
    check_source(str(folder))
    assert model_files.weight_files(folder) == names


def test_what_is_no_folder_is_looked_at_elsewhere() -> None:
    check_source("")
    check_source("some/model@abc")


def test_a_gguf_file_begins_like_one(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF and more")
    check_source(str(tmp_path / "a.gguf"))
    (tmp_path / "a.gguf").write_bytes(b"PK")
    refused(tmp_path / "a.gguf", "a.gguf", "no GGUF file")


@pytest.mark.parametrize(
    "name",
    [
        "../x/pytorch_model.bin",
        "../outside.safetensors",
        "/tmp/outside.safetensors",
        "sub/inside.safetensors",
        "sub\\inside.safetensors",
        "pytorch_model.bin",
        "..safetensors",
        ".safetensors",
        "a.safetensors\n",
        7,
        None,
    ],
)
def test_an_index_names_plain_files_only(folder: Path, name: object) -> None:
    safetensors(folder.parent / "outside.safetensors")
    (folder / "sub").mkdir()
    safetensors(folder / "sub" / "inside.safetensors")
    refused(indexed(folder, name), INDEX, "plain name", repr(name))


def test_an_index_beside_whole_weights_is_held_to_the_same(folder: Path) -> None:
    (folder / INDEX).write_text('{"weight_map": {"w": "../x.safetensors"}}')
    refused(folder, INDEX)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', "[" * 100_000])
def test_an_index_that_is_none(folder: Path, text: str) -> None:
    indexed(folder, "a.safetensors")
    (folder / INDEX).write_text(text)
    refused(folder, INDEX, "expected")


def test_a_part_that_is_not_there(folder: Path) -> None:
    refused(indexed(folder, "a.safetensors"), "a.safetensors", "not there")
    (folder / "a.safetensors").mkdir()
    refused(folder, "a.safetensors", "no file")


def test_pickled_weights_alone_are_none(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    refused(folder, "safetensors only")


def test_a_link_may_not_leave_the_folder(folder: Path, tmp_path: Path) -> None:
    outside = safetensors(tmp_path / "outside.safetensors")
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(outside)
    refused(folder, WEIGHTS, "leaves its folder")
    (folder / WEIGHTS).unlink()
    safetensors(folder / "other.safetensors")
    (folder / WEIGHTS).symlink_to("other.safetensors")
    check_source(str(folder))


def test_a_snapshot_of_the_hub_is_links_to_blobs(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--some--model"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for number, file in enumerate(folder.iterdir()):
        blob = file.rename(repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
    check_source(str(snapshot))
    (snapshot / WEIGHTS).unlink()
    (snapshot / WEIGHTS).symlink_to(safetensors(tmp_path / "outside.safetensors"))
    refused(snapshot, "leaves its folder")


def test_an_adapter_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "x/y"}')
    refused(folder, "adapter_config.json", "whole model")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected JSON"),
        ("{", "expected JSON"),
        ("[]", "JSON object, got list"),
        ("{}", "model_type"),
        ('{"model_type": 3}', "model_type"),
        (
            '{"model_type": "opt", "transformers_weights": "adapter_model.bin"}',
            "transformers_weights",
        ),
    ],
)
def test_a_configuration_that_is_none(folder: Path, text: str, said: str) -> None:
    (folder / "config.json").write_text(text)
    refused(folder, "config.json", said)


def test_a_configuration_that_is_not_there_or_not_text(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    refused(folder, "config.json", "expected JSON")
    (folder / "config.json").unlink()
    refused(folder, "config.json", "cannot be read")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage that is no header",
        (2**40).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"[1] ",
        (14).to_bytes(8, "little") + b'{"w": {"a":1}}',
        b"\x80\x02}q\x00.",
    ],
)
def test_weights_that_are_no_safetensors(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    refused(folder, WEIGHTS, "header cannot be read")


def test_weights_that_were_cut_short_or_grew(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    for content in (whole[:-1], whole + b"x"):
        (folder / WEIGHTS).write_bytes(content)
        refused(folder, WEIGHTS, "bytes, its header says")


@pytest.mark.parametrize("name", [*model_files.TOKENIZER, "generation_config.json"])
def test_a_broken_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text('{"a": ')
    refused(folder, name, "expected JSON")


@pytest.mark.parametrize("name", SOURCES)
def test_such_a_folder_is_refused_before_anything_runs(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_models("stage", {name: str(folder)})
    indexed(folder, "../x/pytorch_model.bin")
    with pytest.raises(ParameterError, match=f"stage: {name}: .*plain name"):
        check_models("stage", {name: str(folder)})
    monkeypatch.setattr(hub, "WEIGHTS", folder.parent)  # as `prefbook weights` names it
    with pytest.raises(ParameterError, match="plain name"):
        check_models("stage", {name: folder.name})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("\nfirst\nsecond"), "x: cannot be loaded as a model: first"),
        (KeyError(), "x: cannot be loaded as a model: KeyError"),
        (ModelError("own"), "own"),
    ],
)
def test_what_a_library_says_is_told_in_one_line(error: Exception, said: str) -> None:
    with (
        pytest.raises(ModelError, match=f"^{said}$"),
        model_files.told_in_one_line("x", "a model"),
    ):
        raise error
