"""The house: rooms on floors, no arrow up, no circle, and pages that load no trainer."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from helpers.book.reference_pages import ROOMS  # from the ground up
from helpers.core.paths import ROOT
from helpers.runs.code_digests import Layout, from_helpers

PACKAGE = ROOT / "helpers"
FLOORS = 11  # longest way down from the command line


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module of the package by its dotted name, rooms' own files left out."""
    files = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    return {
        ".".join(each.relative_to(package).with_suffix("").parts): each
        for each in files
    }


def imports(module: str, path: Path, package: Path = PACKAGE) -> set[str]:
    """The modules that a module imports anywhere, also inside functions."""

    def found() -> Iterator[str]:
        layout = Layout.of(package)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for _, place in from_helpers(node, module.rpartition(".")[0]):
                yield layout.located(*place)[0]

    return set(found())


def graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """What every module imports."""
    return {
        name: imports(name, path, package) for name, path in modules(package).items()
    }


def room(module: str) -> str:
    return module.partition(".")[0]


def arrows(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Between rooms: those that each imports from."""
    down: dict[str, set[str]] = {}
    for module, used in found.items():
        others = {room(each) for each in used} - {room(module)}
        down.setdefault(room(module), set()).update(others)
    return down


def upward(found: dict[str, set[str]]) -> list[str]:
    """Imports of a room that does not stand before the importing one."""
    return [
        f"{module} imports {each}"
        for module, used in found.items()
        for each in used
        if room(each) != room(module)
        and ROOMS.index(room(each)) > ROOMS.index(room(module))
    ]


def floors(down: dict[str, set[str]], at: str) -> int:
    return 1 + max((floors(down, below) for below in down.get(at, ())), default=0)


def test_rooms_stand_on_floors_and_no_arrow_runs_up() -> None:
    found = graph()
    assert {room(each) for each in found} == set(ROOMS)
    assert upward(found) == []
    assert floors(arrows(found), "cli") <= FLOORS


def test_no_module_imports_itself_through_others() -> None:
    list(TopologicalSorter(graph()).static_order())  # raises CycleError


def test_an_arrow_that_runs_up_is_seen(tmp_path: Path) -> None:
    for name, text in {
        "core/paths.py": "def later():\n    from helpers.book import build",
        "book/build.py": "from helpers.core import paths",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    found = graph(tmp_path)
    assert upward(found) == ["core.paths imports book.build"]
    with pytest.raises(ValueError, match="cycle"):
        list(TopologicalSorter(found).static_order())


def test_every_room_says_what_is_in_it() -> None:
    for path in PACKAGE.rglob("*/"):
        if path.name != "__pycache__":
            text = (path / "__init__.py").read_text("utf-8")
            assert ast.get_docstring(ast.parse(text)), path
    for name, path in modules().items():
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), name


def test_a_name_leads_to_one_module() -> None:
    """Two modules called alike would be imported under one name."""
    last = [name.rpartition(".")[2] for name in modules()]
    assert {each for each in last if last.count(each) > 1} == set()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("helpers.cli", ("torch", "pandas")),
        ("helpers.planning.tables", ("torch", "scipy")),
        ("helpers.runs.pipeline", ("torch", "scipy")),
        ("helpers.book.build", ("torch", "transformers", "trl", "datasets")),
    ],
)
def test_a_page_loads_no_trainer(module: str, heavy: tuple[str, ...]) -> None:
    asked = f"import sys, {module}; print(*(m for m in {heavy!r} if m in sys.modules))"
    command = [sys.executable, "-c", asked]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == []
