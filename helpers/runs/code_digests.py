"""Digests of what results depend on: the code that is reached, and the files read.

Code is followed name by name from where it starts: a function, the names it uses, those
they use, across the modules of `helpers`. So an edit makes stale what can reach it and
nothing else; comments, docstrings and layout do not count. An import that cannot be
followed is an error: what it leads to would change unseen.
"""

import ast
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from helpers.core.digests import digest
from helpers.core.syntax import drop_docstrings, statements

# a module of helpers, as `data.hh`, and a name in it; "" is all of the module
Name = tuple[str, str]


class UnfollowedImport(ImportError):
    """An import from helpers that leads to no file, or does not say to which."""


# --- code -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Code:
    """The top level of a module, or of a notebook's cells."""

    module: str  # "" of cells
    definitions: dict[str, list[ast.stmt]]  # what each name is made by
    imports: dict[str, Name]  # names that come from helpers
    effects: list[ast.stmt]  # what runs and makes no name: it may change any of them

    def behind(self, name: str) -> list[ast.stmt]:
        """The statements that a name, or with "" all names, depend on directly."""
        made = [self.definitions.get(name, [])] if name else self.definitions.values()
        return [*(statement for each in made for statement in each), *self.effects]

    @property
    def is_empty(self) -> bool:
        """Whether nothing happens at the top level but prose."""
        return not (self.definitions or self.imports or self.effects)

    @cache  # noqa: B019 codes are kept for as long as the process lasts
    def step(self, name: str) -> tuple[list[str], set[Name]]:
        """What a name depends on directly, as texts, and the names that it leads to."""
        behind = self.behind(name)
        onward = used(behind, self)
        if name in self.imports:  # passed on from another module
            onward.add(self.imports[name])
        return [unparsed(statement) for statement in behind], onward


def code_cells(notebook: Path) -> list[str]:
    """Code cells normalised: values count, not how they look.

    Without the parameters, which have a part of the key to themselves, and without the
    cell that sets Colab up, which pages do not show.
    """
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return [
        ast.unparse(ast.parse("".join(cell["source"])))
        for cell in cells
        if cell["cell_type"] == "code"
        and not {"parameters", "remove-cell"} & set(cell["metadata"].get("tags", []))
    ]


def reached_from_cells(cells: Iterable[str], package: Path) -> dict[str, str]:
    """Digest, for each module of helpers, of what some cells reach in it.

    Raises UnfollowedImport.
    """
    layout = Layout.of(package)
    code = read("\n".join(cells), "", layout)
    names = {each for each in used(code.behind(""), code) if each[0]}  # "": the cells'
    return follow(names, package, layout)


def reached_from_function(function: Callable, package: Path) -> dict[str, str]:
    """The same from a function on; empty if it is not one of the package."""
    top, _, module = function.__module__.partition(".")
    layout = Layout.of(package)
    ours = top == "helpers" and layout.file(module)
    return follow({(module, function.__name__)}, package, layout) if ours else {}


def follow(start: set[Name], package: Path, layout: "Layout") -> dict[str, str]:
    """Digest, for each module, of the statements that some names lead to."""
    modules: dict[str, Code] = {}
    texts: dict[Name, list[str]] = {}
    waiting = set(start)
    while waiting:
        name = layout.located(*waiting.pop())
        if name in texts:
            continue
        module = name[0]
        if module not in modules:
            source = (package / layout.file(module)).read_text("utf-8")
            modules[module] = read(source, module, layout)
            waiting |= {(room, "") for room in layout.rooms_around(module)}
        texts[name], onward = modules[module].step(name[1])
        waiting |= onward
    reached: dict[str, list] = {module: [] for module in sorted(modules)}
    for (module, name), made_of in texts.items():
        reached[module].append((name, made_of))
    return {
        module: digest(sorted(found))
        for module, found in reached.items()
        if not modules[module].is_empty
    }


# --- where an import leads ------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Which files a package has; two of the same files are the same layout."""

    files: frozenset[str]  # of modules, as `data/hh.py`

    @staticmethod
    def of(package: Path) -> "Layout":
        """The layout of a package as it is now."""
        here = str(package)
        found = (
            os.path.relpath(os.path.join(place, name), here)
            for place, _, names in os.walk(here)
            for name in names
            if name.endswith(".py")
        )
        return layout_of(frozenset(each.replace(os.sep, "/") for each in found))

    @cache  # noqa: B019
    def file(self, module: str) -> str | None:
        """The file of a module, or of a room: its `__init__.py`; None if there is none."""
        place = module.replace(".", "/")
        files = (f"{place}.py", f"{place}/__init__.py") if place else ("__init__.py",)
        return next((each for each in files if each in self.files), None)

    @cache  # noqa: B019
    def located(self, module: str, name: str) -> Name:
        """Where a name of a module lies: a room's names are its modules first.

        Raises UnfollowedImport if helpers has no such module.
        """
        inside = ".".join(filter(None, [module, name]))
        is_module = f"{module.replace('.', '/')}.py" in self.files
        if name and not is_module and self.file(inside):
            return inside, ""
        if not module or not self.file(module):
            raise UnfollowedImport(
                f"helpers has no module {inside}: an import names it"
            )
        return module, name

    def rooms_around(self, module: str) -> list[str]:
        """The rooms that a module lies in: what they run is run when it is imported."""
        parts = module.split(".")[:-1]
        rooms = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
        return [room for room in rooms if self.file(room)]


@cache
def layout_of(files: frozenset[str]) -> Layout:
    """The one layout of these files, which remembers what it was asked."""
    return Layout(files)


@cache
def read(source: str, module: str, layout: Layout) -> Code:
    """Take the top level of some source apart; module: which one it is, "" of cells."""
    inside = layout.file(module) if module else None
    room = module if inside and inside.endswith("__init__.py") else ""
    room = room or module.rpartition(".")[0]
    definitions, effects, taken = taken_apart(source, room)
    imports = {name: layout.located(*place) for name, place in taken}
    return Code(module, definitions, imports, effects)


def taken_apart(
    source: str, room: str
) -> tuple[dict[str, list[ast.stmt]], list[ast.stmt], list[tuple[str, Name]]]:
    """What each name is made by, what makes none, and the names taken from helpers."""
    tree = ast.parse(source)
    drop_docstrings(tree)
    definitions: dict[str, list[ast.stmt]] = {}
    effects = []
    for statement in tree.body:
        names = made_by(statement)
        for name in names:
            definitions.setdefault(name, []).append(statement)
        if not names and not any(from_helpers(statement)):
            effects.append(statement)
    taken = [each for node in statements(tree) for each in from_helpers(node, room)]
    return definitions, effects, taken


@cache
def unparsed(statement: ast.stmt) -> str:
    """A statement as text: values count, not how they look."""
    return ast.unparse(statement)


@cache
def mentioned(statement: ast.stmt) -> list[ast.Name | ast.Attribute]:
    """The names and attributes of a statement, in the order of `ast.walk`."""
    kinds = ast.Name | ast.Attribute
    return [node for node in ast.walk(statement) if isinstance(node, kinds)]


def made_by(statement: ast.stmt) -> set[str]:
    """The names that a statement of the top level makes or changes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        ours = {name for name, _ in from_helpers(statement)}
        names = {(alias.asname or alias.name) for alias in statement.names}
        return {name.split(".")[0] for name in names - ours}
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        nodes = [node for target in targets for node in ast.walk(target)]
        return {node.id for node in nodes if isinstance(node, ast.Name)}
    return set()


def from_helpers(node: ast.AST, room: str = "") -> Iterable[tuple[str, Name]]:
    """The names that an import takes from helpers, and what they are there.

    room: where the importing module lies, for imports that begin with dots.
    """
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name == "helpers":
                raise UnfollowedImport("`import helpers` does not say which module")
            if alias.name.startswith("helpers."):
                yield alias.asname or alias.name, (alias.name[len("helpers.") :], "")
    if isinstance(node, ast.ImportFrom):
        above = room.split(".")[: len(room.split(".")) + 1 - node.level] if room else []
        source = ".".join(filter(None, ["helpers", *above])) if node.level else ""
        source = ".".join(filter(None, [source, node.module]))
        for alias in node.names if source.split(".")[0] == "helpers" else ():
            if alias.name == "*":
                raise UnfollowedImport(f"`from {source} import *` does not say what")
            place = source.partition(".")[2]
            yield alias.asname or alias.name, (place, alias.name)


def used(statements: Iterable[ast.stmt], code: Code) -> set[Name]:
    """The names of helpers that some statements of a module mention."""
    nodes = [node for statement in statements for node in mentioned(statement)]
    found, read_through = set(), set()
    for node in nodes:
        if isinstance(node, ast.Attribute):
            place = code.imports.get(dotted(node.value), ("", "-"))
            if place[1] == "":  # an attribute of a module
                found.add((place[0], node.attr))
                read_through.add(node.value)
    for node in nodes:
        if isinstance(node, ast.Name) and node not in read_through:
            if node.id in code.definitions:
                found.add((code.module, node.id))
            if node.id in code.imports:
                found.add(code.imports[node.id])
    return found


def dotted(node: ast.expr) -> str:
    """`a.b` for names joined by dots, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    before = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{before}.{node.attr}" if before else ""
