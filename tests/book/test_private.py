"""What is handed on holds no secret, no home and no path of this machine.

The shared run was made and built where secrets are planted (`conftest.SECRETS`); all of
it that others get is searched, inside tables and archives too.
"""

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.utils import filter_repo_objects

from helpers.book.recorded_runs import record_run
from helpers.core.paths import ROOT
from helpers.publish import model_cards
from tests.book.conftest import HOME, SECRETS

PLANTED = (*SECRETS.values(), HOME.name, str(ROOT), str(Path.home()) + "/")


def texts(file: Path) -> Iterator[bytes]:
    """All that a file says: packed and in tables too, with what a table says of itself."""
    yield str(file).encode()
    content = file.read_bytes()
    if file.suffix == ".gz":
        content = gzip.decompress(content)
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        yield repr(table.schema.metadata).encode()
        for name, column in zip(table.column_names, table.columns):
            yield name.encode()
            if not pa.types.is_primitive(column.type):
                yield repr(column.to_pylist()).encode()
    yield content


def leaks(folder: Path, planted: tuple[str, ...] = PLANTED) -> list[str]:
    """Which planted text stands in which file of a folder."""
    return [
        f"{file.relative_to(folder)}: {each}"
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        for each in planted
        if any(each.encode() in text for text in texts_inside(file, folder))
    ]


def texts_inside(file: Path, folder: Path) -> Iterator[bytes]:
    first, *rest = texts(file)
    yield first.removeprefix(str(folder).encode())
    yield from rest


def test_the_book_holds_none(site: Path) -> None:
    assert len(list(site.rglob("*.html"))) > 11 and list(site.glob("_sources/**/*"))
    assert leaks(site) == []


def test_notebooks_and_manifests_hold_none(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "notebooks", tmp_path / "notebooks")
    for manifest in run.glob("*/manifest.json"):
        shutil.copy(manifest, tmp_path / f"{manifest.parent.name}.json")
    assert len(list(tmp_path.glob("*.json"))) == 11
    assert leaks(tmp_path) == []


def test_what_is_recorded_holds_none(run: Path, tmp_path: Path) -> None:
    record_run(run, tmp_path / "recorded")
    assert (tmp_path / "recorded" / "about.json").exists()
    assert leaks(tmp_path) == []


def test_what_is_uploaded_holds_none(run: Path, tmp_path: Path) -> None:
    for each in model_cards.uploads(run):
        own = tmp_path / each.name
        own.mkdir()
        (own / "README.md").write_text(each.card, encoding="utf-8")
        names = [path.name for path in each.folder.iterdir() if path.is_file()]
        for name in filter_repo_objects(names, allow_patterns=list(each.files)):
            shutil.copy(each.folder / name, own / name)
        assert len(list(own.iterdir())) > 1
    assert leaks(tmp_path) == []


@pytest.mark.parametrize("kind", ["text", "gz", "cell", "column", "metadata", "name"])
def test_a_leak_is_found(tmp_path: Path, kind: str) -> None:
    word = SECRETS["HF_TOKEN"]
    if kind == "text":
        (tmp_path / "a.html").write_text(f"<p>{word}</p>")
    elif kind == "gz":
        with gzip.open(tmp_path / "a.gz", "wt") as file:
            file.write(word)
    elif kind == "name":
        (tmp_path / word).write_text("x")
    else:
        told = pd.DataFrame({word if kind == "column" else "a": ["x", "y"]})
        told = told.replace("y", word) if kind == "cell" else told
        table = pa.Table.from_pandas(told)
        if kind == "metadata":
            table = table.replace_schema_metadata({"from": word})
        pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert len(leaks(tmp_path)) == 1
