"""A folder that says it holds a model: what may be read of it, before any of it is.

A model may come from anywhere, so its files are looked at as text and headers first. What
is read of it are safetensors inside the folder, by plain names: no adapter, which names
another model, and no other file that a configuration names. No tensor is loaded here.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.core import hub
from helpers.core.paths import ROOT

CONFIG, ADAPTER = "config.json", "adapter_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
HEADER = 100_000_000  # bytes: the longest header that safetensors itself reads
PLAIN = re.compile(r"\w[\w.-]*\.safetensors")
# what JSON of a wrong shape raises where it is looked into
ODD = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
ODD += (ArithmeticError,)


class ModelError(ValueError):
    """A model or tokenizer that cannot be built or loaded as asked."""


def check_source(source: str) -> None:
    """Raise ModelError if `source` is a folder of a model that may not be loaded.

    So is a `.gguf` file that is none. "" and a hub name pass: what is on the hub is
    looked at when it is fetched.
    """
    if not source:
        return
    if hub.is_gguf(source):
        check_gguf(ROOT / source)
        return
    folder = Path(hub.located(source)[0])
    if folder.is_dir():
        check_model(folder)
        check_tokenizer(folder)


def check_model(folder: Path) -> None:
    """Raise ModelError, naming the file, unless a folder's model may be loaded."""
    check_adapter(folder / ADAPTER)
    check_config(folder / CONFIG)
    generation = folder / "generation_config.json"
    if generation.exists():
        read_object(generation)
    for name in weight_files(folder):
        check_header(inside(folder, name))


def check_tokenizer(folder: Path) -> None:
    """Raise ModelError, naming the file, if one of a tokenizer's is no JSON object."""
    for file in (folder / name for name in TOKENIZER):
        if file.exists():
            read_object(file)


# --- one file each --------------------------------------------------------------------


def check_adapter(file: Path) -> None:
    """Raise ModelError if an adapter's configuration is there: it names another model."""
    if file.exists():
        raise ModelError(
            f"{file}: an adapter, whose base model could be any: expected a whole model; "
            "merge it (`merge_and_unload` of PEFT) and save that"
        )


def check_config(file: Path) -> None:
    """Raise ModelError unless a configuration names its model, and no file of weights."""
    content = read_object(file)
    if not isinstance(content.get("model_type"), str):
        raise ModelError(
            f"{file}: expected a `model_type`, which says what model it is"
        )
    if content.get("transformers_weights") is not None:
        raise ModelError(
            f"{file}: names a file of weights (`transformers_weights`): expected them in "
            f"{WEIGHTS}, or in what {INDEX} names"
        )


def check_index(file: Path) -> list[str]:
    """The files of weights that an index names, each once.

    Raises ModelError unless all are plain names that end in `.safetensors`.
    """
    names = read_object(file).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelError(f"{file}: expected a `weight_map` from tensors to files")
    for tensor, name in names.items():
        if not isinstance(name, str) or not PLAIN.fullmatch(name):
            raise ModelError(
                f"{file}: puts {tensor} into {name!r}: expected the plain name of a "
                "file beside it that ends in .safetensors"
            )
    return sorted(set(names.values()))


def weight_files(folder: Path) -> list[str]:
    """The names of a folder's files of weights, by its index where it has one.

    Raises ModelError if there are none, or for an index that `check_index` refuses.
    """
    index = folder / INDEX
    named = check_index(index) if index.exists() else []
    if (folder / WEIGHTS).exists():  # the library prefers it to an index
        return [WEIGHTS]
    if not named:
        raise ModelError(
            f"{folder}: neither {WEIGHTS} nor {INDEX}: weights are read as safetensors "
            "only, no pickled ones; save the model anew with `save_pretrained`"
        )
    return named


def inside(folder: Path, name: str) -> Path:
    """A file of a folder; ModelError if it is not there, or a link that leaves it.

    The hub's cache keeps the files of a snapshot beside it, in `blobs`, and links them.
    """
    file, home = folder / name, folder.resolve()
    if not file.is_file():
        raise ModelError(f"{file}: not there, or no file: expected weights")
    homes = [home]
    if home.parent.name == "snapshots":
        homes.append(home.parent.parent / "blobs")
    if file.resolve().parent not in homes:
        raise ModelError(
            f"{file}: a link that leaves its folder: expected the file itself"
        )
    return file


def check_header(file: Path) -> None:
    """Raise ModelError unless a file is as long as its header of safetensors says."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if length <= min(size - 8, HEADER) else b""
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        end = max(
            (int(each["data_offsets"][1]) for each in tensors.values()), default=0
        )
    except ODD:
        raise ModelError(
            f"{file}: no safetensors, or cut short: its header cannot be read"
        ) from None
    if size != 8 + length + end:
        raise ModelError(
            f"{file}: {size} bytes, its header says {8 + length + end}: cut short, or "
            "changed; copy it again"
        )


def check_gguf(file: Path) -> None:
    """Raise ModelError unless a file begins as a `.gguf` file does."""
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise ModelError(f"{file}: no GGUF file: expected it to begin with GGUF")


def read_object(file: Path) -> dict:
    """The JSON object in a file; ModelError, naming it, if there is none."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: expected JSON: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(
            f"{file}: expected a JSON object, got {type(content).__name__}"
        )
    return content


@contextmanager
def told_in_one_line(source: object, what: str) -> Iterator[None]:
    """Whatever a library cannot read is a ModelError that says so in one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # tokenizers raises nothing more special
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:200] if lines else type(error).__name__
        raise ModelError(f"{source}: cannot be loaded as {what}: {reason}") from error
