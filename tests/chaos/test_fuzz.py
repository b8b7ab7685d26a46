"""The short version of the fuzzing, and that it notices what is wrong."""

import json
from pathlib import Path

import pytest

from helpers.core import inputs
from tests.chaos import fuzz, parsers


def test_spoiled_input_is_accepted_or_refused_in_one_line() -> None:
    said: list[str] = []
    rows = fuzz.run(seed=0, inputs=600, say=said.append)
    assert said == []
    for row in rows:
        assert row["refused"] > 0 and row["wrong"] == 0, row
        assert row["refused"] + row["accepted"] == row["inputs"]
    assert sum(row["accepted"] for row in rows) > 100


def test_an_input_is_made_from_its_name_alone(capsys: pytest.CaptureFixture) -> None:
    said = []
    for _ in range(2):
        assert fuzz.main(["--only", "settings-0-1"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and len(said[0]) > len(parsers.SETTINGS) // 2


def raises(error: Exception):
    def read(made: object, folder: Path) -> None:
        raise error

    return read


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        RecursionError("too deep"),
        inputs.InputError("two\nlines of words"),
        inputs.InputError("long" * 200),
        inputs.InputError(""),
    ],
)
def test_what_is_no_refusal_in_one_line_is_wrong(error: Exception, monkeypatch) -> None:
    broken = parsers.Parser("names", 100, lambda chance: "", raises(error))
    monkeypatch.setattr(fuzz, "PARSERS", (broken,))
    monkeypatch.setattr(fuzz, "BY_NAME", {"names": broken})
    said: list[str] = []
    (row,) = fuzz.run(0, 3, said.append)
    assert row["wrong"] == 3 and said[2].startswith("wrong: names-0-2: ")
    assert fuzz.main(["--inputs", "3"]) == 1


def test_a_refusal_that_takes_long_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", -1.0)
    assert fuzz.outcome(lambda: None)[0] == "wrong"


@pytest.mark.parametrize(
    ("parser", "place", "broken"),
    [
        ("settings", "helpers.core.yaml_files.MOST_LEVELS", 10**6),
        ("rows", "helpers.data.hh.check_texts", lambda *_: None),
        ("texts", "helpers.config.parameters.quoted", repr),
        ("names", "tests.chaos.parsers.checked_name", lambda text, option: text),
    ],
)
def test_a_check_that_is_not_there_is_noticed(
    parser: str, place: str, broken: object, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(place, broken)
    names = (f"{parser}-0-{number}" for number in range(150))
    assert "wrong" in {fuzz.tried(name, tmp_path)[0] for name in names}


def test_the_result_is_written_as_rows_of_faults(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    assert fuzz.main(["--inputs", "20", "--json", str(file)]) == 0
    rows = json.loads(file.read_text("utf-8"))
    assert len(rows) == len(fuzz.PARSERS)
    assert all(row.keys() == {"fault", "tries", "wrong", "outcome"} for row in rows)
