"""The parameters cell as schema: what is read from it, and what is refused by it."""

import json
import math
from pathlib import Path

import pytest
from papermill import inspect_notebook
from typer.testing import CliRunner

from helpers.cli import app
from helpers.config.parameters import (
    Parameter,
    ParameterError,
    check,
    json_schema,
    resolve,
)
from helpers.config.schema import parameters_cell, plain, read_schema
from helpers.config.texts import parse_text
from helpers.core.paths import PROJECT, STAGES
from tests.toys import write_notebook

CELL = """name: str = "a b"  # what it is called
steps: int = 10  # how long; in [1, 20]
beta: float = 0.1  # temperature, eq. 7; in (0, inf)
rate: float = 1.0e-3  # without a range
fast: bool = True  # a switch
sizes: list[int] = [250, 1000]  # how many; in [2, 4000)
inits: list[str] = ["base"]  # starts; one of: base, codepmp
"""


@pytest.fixture
def schema(tmp_path: Path) -> dict[str, Parameter]:
    return read_schema(write_notebook(tmp_path / "06_dpo.ipynb", CELL))


def test_everything_is_read(schema: dict[str, Parameter]) -> None:
    names = ["name", "steps", "beta", "rate", "fast", "sizes", "inits"]
    assert list(schema) == names
    beta, sizes, inits = schema["beta"], schema["sizes"], schema["inits"]
    assert (beta.type, beta.default, beta.help) == ("float", 0.1, "temperature, eq. 7")
    assert (beta.low, beta.high, beta.low_open, beta.high_open) == (
        0,
        math.inf,
        True,
        True,
    )
    assert (sizes.default, sizes.kind, sizes.is_list) == ([250, 1000], int, True)
    assert inits.choices == ("base", "codepmp")
    assert beta.allowed() == "in (0, inf)"
    assert sizes.allowed() == "in [2, 4000)"
    assert inits.allowed() == "one of base, codepmp"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x = 1  # a number", "no type"),
        ("x: int = 1", "comment"),
        ("x: int = 1  # ; in [0, 2]", "comment"),
        ("x: dict = {}  # a table", "got dict"),
        ("x: int = 1  # zero = none; in [0, 2]", "`=` in its comment"),
        ("x: int = 1  # in a [0, 2", None),
        ("x: int = 1  # a number; in [0, 2], see eq. 1", "comment"),
        ("x: int = 1  # a number; in [0, two]", "does not fit"),
        ("x: str = 'a'  # a word; in [0, 2]", "does not fit"),
        ("x: int = 3  # a number; in [0, 2]", "got 3, expected int in [0, 2]"),
        ("x: str = 'a'  # a word; any of: a, b", "does not fit"),
        ("x: list[str] = []  # words; one of: a, b", "expected list[str], each one of"),
        ("x: int = 1.0  # a number", "got 1.0, expected int"),
        ("x: float = float('inf')  # a number", "plain value"),
    ],
)
def test_declarations(tmp_path: Path, line: str, reason: str | None) -> None:
    notebook = write_notebook(tmp_path / "a.ipynb", line)
    if reason is None:
        assert read_schema(notebook)["x"].allowed() == ""
        return
    with pytest.raises(ParameterError) as error:
        read_schema(notebook)
    assert reason in str(error.value)
    assert str(error.value).startswith("a: x: ") and "\n" not in str(error.value)


def marker(parameter: Parameter) -> str:
    """What Colab reads behind a value: the kind of its field, or what to choose from."""
    if parameter.choices and not parameter.is_list:
        return json.dumps(list(parameter.choices))
    kinds = {int: "integer", float: "number", str: "string", bool: "boolean"}
    kind = "raw" if parameter.is_list else kinds[parameter.kind]
    return f'{{type:"{kind}"}}'


@pytest.mark.parametrize("stage", STAGES)
def test_form(stage: str) -> None:
    """Every parameter of one line has the field of its type, its meaning above it."""
    schema = read_schema(PROJECT.notebook(stage))
    source = parameters_cell(PROJECT.notebook(stage))
    lines = source.splitlines()
    for name, parameter in schema.items():
        (at,) = (at for at, line in enumerate(lines) if line.startswith(f"{name}: "))
        if lines[at].endswith("["):  # Colab's fields are of one line
            assert len(f"{name}: {parameter.type} = {parameter.default}") + 24 > 88
            continue
        assert lines[at].endswith(f"  # @param {marker(parameter)}"), lines[at]
        first = at - 1
        while not lines[first].startswith(f"# @markdown {parameter.help}"):
            assert lines[first].startswith("# @markdown "), f"{name}: no such meaning"
            first -= 1
    assert "@" not in plain(source)


def test_papermill_reads_a_form_itself(tmp_path: Path) -> None:
    form = (
        '# @markdown how long; in [1, 20]\nsteps: int = 10  # @param {type:"integer"}'
    )
    notebook = write_notebook(tmp_path / "a.ipynb", form)
    read = inspect_notebook(str(notebook))["steps"]
    assert (read["inferred_type_name"], read["default"]) == ("int", "10")
    assert plain(form) == "steps: int = 10  # how long; in [1, 20]"
    assert read_schema(notebook)["steps"].meaning() == "how long; in [1, 20]"


def test_titles_group_what_stands_below_them(tmp_path: Path) -> None:
    form = "# @markdown ### First\n\nx: int = 1  # a\n# @markdown b\ny: int = 2  # @param {}"
    form += "\n\n# @markdown ### The rest\n\nz: int = 3  # c"
    schema = read_schema(
        write_notebook(tmp_path / "a.ipynb", f"w: int = 0  # d\n{form}")
    )
    found = {name: each.group for name, each in schema.items()}
    assert found == {"w": "", "x": "First", "y": "First", "z": "The rest"}
    assert "# First\n\nx" in plain(form) and schema["y"].help == "b"


GROUPS = ["Change these first", "Further settings", "Machine and folders"]


@pytest.mark.parametrize("stage", STAGES)
def test_what_one_changes_first_stands_first(stage: str) -> None:
    schema = read_schema(PROJECT.notebook(stage))
    groups = list(dict.fromkeys(each.group for each in schema.values()))
    assert groups == [each for each in GROUPS if each in groups]  # each in one piece
    assert {GROUPS[0], GROUPS[2]} <= set(groups)
    assert sum(each.group == GROUPS[0] for each in schema.values()) <= 8
    assert schema["run_dir"].group == GROUPS[2]


def test_a_meaning_may_go_over_several_lines(tmp_path: Path) -> None:
    form = (
        "# @markdown which; any of: long,\n# @markdown longer,\n# @markdown longest\n"
        'names: list[str] = ["long"]  # @param {type:"raw"}'
    )
    line = 'names: list[str] = ["long"]  # which; any of: long, longer, longest'
    assert plain(form) == line
    schema = read_schema(write_notebook(tmp_path / "a.ipynb", form))
    assert schema["names"].choices == ("long", "longer", "longest")


def test_a_list_may_be_empty_where_any_number_will_do(tmp_path: Path) -> None:
    line = "names: list[str] = []  # which; any of: a, b"
    names = read_schema(write_notebook(tmp_path / "a.ipynb", line))["names"]
    assert names.allowed() == "any of a, b" and names.default == []
    assert parse_text(names, "[]") == [] and parse_text(names, "b") == ["b"]
    for text in ("c", "a,a", "a,c"):
        with pytest.raises(ParameterError, match=r"expected list\[str\] any of a, b"):
            parse_text(names, text)


def test_a_list_of_any_number(tmp_path: Path) -> None:
    line = "names: list[str] = []  # which; any number"
    names = read_schema(write_notebook(tmp_path / "a.ipynb", line))["names"]
    assert names.allowed() == "any number" and names.meaning() == "which; any number"
    assert parse_text(names, "") == [] and parse_text(names, "b,a") == ["b", "a"]
    notebook = write_notebook(tmp_path / "b.ipynb", "x: int = 1  # which; any number")
    with pytest.raises(ParameterError, match="does not fit its type int"):
        read_schema(notebook)


def test_notebook_without_the_cell(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "a.ipynb", "")
    text = notebook.read_text().replace('"parameters"', '"other"')
    notebook.write_text(text)
    with pytest.raises(ParameterError, match="no cell is tagged"):
        read_schema(notebook)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "7", 7),
        ("beta", "1e-3", 0.001),
        ("beta", "2", 2.0),
        ("name", "1e-3", "1e-3"),
        ("name", "Anthropic/hh-rlhf", "Anthropic/hh-rlhf"),
        ("fast", "false", False),
        ("sizes", "10,20,30", [10, 20, 30]),
        ("sizes", "[10, 20]", [10, 20]),
        ("sizes", "10", [10]),
        ("inits", "base, codepmp", ["base", "codepmp"]),
        ("inits", "['base', \"codepmp\"]", ["base", "codepmp"]),
    ],
)
def test_text(
    schema: dict[str, Parameter], name: str, text: str, value: object
) -> None:
    parsed = parse_text(schema[name], text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("steps", "ten"),
        ("steps", "1.5"),
        ("steps", "21"),
        ("steps", "0"),
        ("beta", "0"),
        ("beta", "inf"),
        ("beta", "nan"),
        ("rate", "inf"),
        ("fast", "yes"),
        ("sizes", "10,x"),
        ("sizes", "10,4000"),
        ("sizes", "[]"),
        ("sizes", "[10"),
        ("sizes", "10]"),
        ("sizes", "[[10]]"),
        ("sizes", "10,"),
        ("sizes", "10,20,10"),
        ("inits", "base,other"),
        ("inits", "'base\""),
        ("inits", "[base]]"),
        ("steps", "9" * 5000),
        ("steps", "010"),
        ("steps", "1_0"),
        ("steps", "\u0663"),  # Arabic three
        ("beta", "9" * 5000),
        ("beta", "1" + "0" * 390),
        ("name", "a\nb"),
    ],
)
def test_text_refused(schema: dict[str, Parameter], name: str, text: str) -> None:
    with pytest.raises(ParameterError) as error:
        parse_text(schema[name], text)
    assert str(error.value).startswith(f"06_dpo: {name}: got ")
    assert "expected" in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", True),
        ("steps", 3.0),
        ("steps", "3"),
        ("steps", None),
        ("beta", True),
        ("fast", 1),
        ("name", 3),
        ("sizes", 3),
        ("sizes", [3, "4"]),
        ("sizes", (3, 4)),
    ],
)
def test_wrong_types(schema: dict[str, Parameter], name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"06_dpo: {name}: got"):
        check(schema[name], value)


def test_whole_numbers_are_floats(schema: dict[str, Parameter]) -> None:
    assert type(check(schema["beta"], 1)) is float


def test_a_text_that_is_a_value_is_one_line(schema: dict[str, Parameter]) -> None:
    assert check(schema["name"], "a" * 1000) == "a" * 1000
    for text, expected in {
        "a" * 1001: "str of at most 1000 characters",
        "a\nb": "str without control characters",
        "a\0b": "str without control characters",
        "a\u2028": "str without control characters",
        "\ud800": "expected str",
    }.items():
        with pytest.raises(ParameterError, match=expected) as error:
            check(schema["name"], text)
        assert "\n" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize("stage", STAGES)
def test_every_number_has_a_range(stage: str) -> None:
    assert without_range(read_schema(PROJECT.notebook(stage))) == []


def test_a_number_without_a_range_is_seen(schema: dict[str, Parameter]) -> None:
    assert without_range(schema) == ["rate"]


def without_range(schema: dict[str, Parameter]) -> list[str]:
    numbers = [each for each in schema.values() if each.kind in (int, float)]
    return [each.name for each in numbers if each.low is None]


def test_unknown_name_suggests_the_nearest(schema: dict[str, Parameter]) -> None:
    with pytest.raises(ParameterError, match="did you mean beta?"):
        resolve(schema, {"betta": 0.1})
    assert resolve(schema, {"beta": 1})["beta"] == 1.0
    assert resolve(schema, {})["sizes"] == [250, 1000]


def test_the_schema_is_told_as_json() -> None:
    """What the JSON schema allows is what `check` takes."""
    schema = read_schema(PROJECT.notebook("06_dpo"))
    told = json_schema(schema)
    assert set(told["properties"]) == set(schema)
    beta, methods = told["properties"]["beta"], told["properties"]["methods"]
    assert (beta["exclusiveMinimum"], beta["maximum"], beta["default"]) == (0, 10, 0.1)
    assert methods["minItems"] == 1 and "sft_dpo" in methods["items"]["enum"]
    assert told["additionalProperties"] is False
    said = CliRunner().invoke(app, ["params", "06", "--json"])
    assert json.loads(said.stdout) == {"06_dpo": told}
