"""Pages made from the sources: what `helpers` offers, what changed, how to cite."""

import ast
from collections.abc import Iterator
from pathlib import Path

from helpers.core import escape
from helpers.core.yaml_files import read_yaml, text_at

# modules and folders of the package, from the ground up
ROOMS = [
    "methods",
    "core",
    "config",
    "statistics",
    "data",
    "losses",
    "models",
    "rewards",
    "trainers",
    "runs",
    "recipes",
    "analysis",
    "ledger",
    "planning",
    "figures",
    "book",
    "publish",
    "commands",
    "cli",
]
API = """\
# The package

What `helpers` offers, room by room from the ground up, made from its sources. A room
imports from those before it only. The docstrings in the sources say more: shapes, units,
errors and the equation of the paper.
"""
CITE = """\
# How to cite

Cite the book by its name and commit, and the papers of the methods that you use
([References](references)). The commit of this copy is on
[Reproducibility](reproducibility).

```bibtex
{entry}
```
"""


def api_page(package: Path) -> str:
    """Every public function and class of the package, with what it is for."""
    parts = [API]
    for room in ROOMS:
        place = package / room
        files = (
            sorted(place.rglob("*.py"))
            if place.is_dir()
            else [place.with_suffix(".py")]
        )
        parts.append(f"\n## {room}\n")
        for file in files:
            parts += module_section(file, package)
    return "\n".join(parts)


def module_section(file: Path, package: Path) -> Iterator[str]:
    """A module as Markdown: its name, what it is for, and its public names."""
    tree = ast.parse(file.read_text("utf-8"))
    name = ".".join(file.relative_to(package.parent).with_suffix("").parts)
    name = name.removesuffix(".__init__")
    yield f"**`{name}`**: {summary(tree)}\n"
    for node in tree.body:
        kinds = (ast.FunctionDef, ast.ClassDef)
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield f"- {escape.code(signature(node))}: {summary(node)}"
    yield ""


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """How a function is called, without types; a class by its name."""
    if isinstance(node, ast.ClassDef):
        return node.name
    given = node.args
    names = [each.arg for each in (*given.posonlyargs, *given.args)]
    if given.vararg:
        names.append(f"*{given.vararg.arg}")
    elif given.kwonlyargs:
        names.append("*")
    names += [each.arg for each in given.kwonlyargs]
    names += [f"**{given.kwarg.arg}"] if given.kwarg else []
    return f"{node.name}({', '.join(names)})"


def summary(node: ast.AST) -> str:
    """The first paragraph of a docstring on one line, literal; code as code."""
    text = (ast.get_docstring(node) or "–").partition("\n\n")[0]
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick that is none of a pair
        return escape.markdown(text)
    shown = [
        escape.code(part) if at % 2 else in_line(part) for at, part in enumerate(parts)
    ]
    return "".join(shown)


def in_line(text: str) -> str:
    """A part of a line, literal, with the blanks around it."""
    before, after = (" " * (text != each) for each in (text.lstrip(), text.rstrip()))
    return f"{before}{escape.markdown(text)}{after}" if text.strip() else text


def changelog_page(root: Path) -> str:
    """What readers and users notice of each version; the file itself."""
    return (root / "CHANGELOG.md").read_text("utf-8")


def cite_page(root: Path) -> str:
    """The entry of a bibliography, from `CITATION.cff`."""
    about = read_yaml(root / "CITATION.cff")
    fields = {
        "title": about["title"],
        "author": " and ".join(f"{{{each['name']}}}" for each in about["authors"]),
        "version": about["version"],
        "note": text_at(root / "_config.yml", "repository.url"),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return CITE.format(entry="\n".join(["@software{preference_book,", *lines, "}"]))
