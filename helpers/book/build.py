"""From a finished run to a book: stage the executed notebooks, generate pages, build.

Jupyter Book builds in a folder of its own inside the run, where the executed notebooks
lie at the paths of their sources: pages show outputs, and the Colab button still opens
the clean source. Warnings are errors, and a page that is missing fails the build.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import nbformat
import pandas as pd

from helpers.book import full_run
from helpers.book.cost_page import costs_page
from helpers.book.front_page import answer_table, further_table
from helpers.book.recorded_runs import real_page
from helpers.book.reference_pages import api_page, changelog_page, cite_page
from helpers.book.reliability_page import reliability_page
from helpers.book.settings_page import settings_section
from helpers.config.parameters import Parameter
from helpers.config.schema import declares, plain, read_schema
from helpers.config.settings import Values
from helpers.core import escape
from helpers.core.manifests import read_manifest
from helpers.core.markdown_tables import markdown_table, stacked
from helpers.core.paths import ROOT, STAGES, Project
from helpers.core.yaml_files import read_yaml
from helpers.ledger.claims_page import claims_page
from helpers.ledger.entries import ClaimError

KEYS = """
The key of a stage is a digest of its notebook's code, of the code of `helpers` that it
reaches, of its parameters and of what the stages it reads have given. A job in it (one
model trained) has a key of its own, without what only draws or writes pages: a figure can
change without training. The same key on the same machine gives the same records; another
processor may differ in the last digits, and training carries such differences on.
"""

PARAMETERS = """\
# Parameters

Made from the `parameters` cells of the notebooks. Defaults are the `cpu` tier. In each
stage stand first what one changes first, then all else that the method has, then what says
where and how it runs. Each has an address: `parameters.html#06_dpo.beta`.
"""


class BookError(RuntimeError):
    """A book that cannot be built: says which page or stage is at fault."""


def build_book(run: Path, root: Path = ROOT) -> Path:
    """Build the book of a run; returns the path of its index.html.

    Does nothing if nothing has changed since the last build. Raises BookError if a stage
    has not finished, if nothing backs a claim, if Sphinx warns, or if a page of the table
    of contents is missing.
    """
    manifests = {stage: finished(run, stage) for stage in STAGES}
    tree = run / "book"
    try:
        stage_tree(run, root, tree, manifests)
    except ClaimError as error:
        raise BookError(str(error)) from None
    built = tree / "_build" / "html"
    stamp = tree / "built.sha256"
    digest = fingerprint(tree)
    if not (stamp.exists() and stamp.read_text() == digest):
        stamp.unlink(missing_ok=True)
        run_sphinx(tree)
        check_pages(tree, built)
        stamp.write_text(digest)
    return built / "index.html"


def finished(run: Path, stage: str) -> dict:
    """The manifest of a finished stage; BookError with the command that makes it."""
    try:
        return read_manifest(run, stage)
    except Exception as error:
        raise BookError(f"the book needs {stage}: {error}") from error


# --- staging ---------------------------------------------------------------------------


def stage_tree(run: Path, root: Path, tree: Path, manifests: dict[str, dict]) -> None:
    """Lay out sources, executed notebooks, figures and generated pages under `tree`."""
    lay_out(root, tree)
    full = full_run.full_values(Project(root))
    for stage in STAGES:
        stage_chapter(run, root, tree, manifests[stage], full)
    pages = {
        "costs": costs_page(run, manifests, root / "book" / "recorded"),
        "reproducibility": reproducibility_page(manifests)
        + settings_section(root / "book" / "recorded"),
        "real": real_page(run, root),
        "claims": claims_page(run, root, full_run.decided_there(root)),
        "answer": answer_table(run, root),
        "further": further_table(run, root),
    }
    write_pages(tree, pages | pages_of_no_run(root))


def lay_out(root: Path, tree: Path) -> None:
    """Copy the sources of the book to `tree`, in place of what was there."""
    tree.mkdir(parents=True, exist_ok=True)
    for part in ("book", "notebooks"):
        shutil.rmtree(tree / part, ignore_errors=True)
    shutil.copytree(root / "book", tree / "book")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, tree / name)
    (tree / "notebooks").mkdir()
    (tree / "book" / "figures").mkdir(exist_ok=True)


def pages_of_no_run(root: Path) -> dict[str, str]:
    """The generated pages that every book of this copy has alike, as Markdown."""
    return {
        "parameters": parameter_page(root),
        "reliability": reliability_page(root / "book" / "recorded"),
        "full": full_run.full_page(root),
        "api": api_page(ROOT / "helpers"),
        "changelog": changelog_page(ROOT),
        "cite": cite_page(ROOT),
    }


def write_pages(tree: Path, pages: Mapping[str, str]) -> None:
    """Write generated pages of the book, by name."""
    for name, text in pages.items():
        (tree / "book" / f"{name}.md").write_text(text, encoding="utf-8")


def stage_chapter(
    run: Path, root: Path, tree: Path, manifest: dict, full: Values
) -> None:
    """Lay out the executed notebook of a finished stage, and its figures.

    full: the values of the full run; the chapter says what it leaves out of that.
    """
    stage = manifest["stage"]
    note = full_run.note(stage, manifest["parameters"], full, Project(root))
    name = f"{stage}.ipynb"
    stage_notebook(run / "notebooks" / name, tree / "notebooks" / name, note)
    for figure in sorted((run / stage / "figures").glob("*.svg")):
        shutil.copy(figure, tree / "book" / "figures" / figure.name)


def stage_notebook(executed: Path, page: Path, note: str = "") -> None:
    """Copy an executed notebook; its parameters folded, without Colab's form.

    note: what is to stand below the chapter's first words.
    """
    notebook = nbformat.read(executed, as_version=4)
    notebook.cells[0].source += note
    for cell in notebook.cells:
        if declares(cell):
            cell.source = plain(cell.source)
        tags = cell.metadata.get("tags", [])
        if {"parameters", "injected-parameters"} & set(tags):
            cell.metadata["tags"] = [*tags, "hide-input"]
    nbformat.write(notebook, page)


def parameter_page(root: Path) -> str:
    """Every parameter of every notebook, from the cells that declare them."""
    parts = [PARAMETERS]
    for stage in STAGES:
        schema = read_schema(root / "notebooks" / f"{stage}.ipynb")
        parts.append(f"## {stage}\n")
        for title, group in groupby(schema.values(), lambda each: each.group):
            rows = map(parameter_row, group)
            parts += [f"**{title}**\n"] if title else []
            parts += [stacked(rows, "parameters"), ""]
    return "\n".join(parts)


def parameter_row(each: Parameter) -> dict[str, str]:
    """What the parameter reference says of one parameter, which has an address there."""
    return {
        "name": f'<span id="{each.stage}.{each.name}"></span>`{each.name}`',
        "type": f"`{each.type}`",
        "default": escape.code(repr(each.default)),
        "meaning": escape.markdown(each.help),
        "allowed": escape.markdown(each.allowed()),
    }


def reproducibility_page(manifests: dict[str, dict]) -> str:
    """Machine and versions of this copy of the book, and the key of every stage."""
    rows = [
        {
            "stage": stage,
            "started": each["started"][:16].replace("T", " "),
            "records": f"{each['records']:,}",
            "key": f"`{each['key'][:12]}`",
        }
        for stage, each in manifests.items()
    ]
    last = manifests[list(manifests)[-1]]
    machine = {
        "commit": last.get("commit") or "no repository",
        "platform": last["platform"],
        "python": last["python"],
        "device": last["device"],
        "processor cores": last["cpu_count"],
        **last["versions"],
    }
    told = {name: escape.markdown(str(value)) for name, value in machine.items()}
    facts = pd.DataFrame(told.items(), columns=["what", "value"])
    parts = [
        "# Reproducibility\n",
        "Made from the manifests that the stages of this run wrote.\n",
        "## Machine and versions\n",
        markdown_table(facts),
        "\n## Stages and their keys\n",
        markdown_table(rows),
        KEYS,
    ]
    return "\n".join(parts)


# --- building --------------------------------------------------------------------------


def fingerprint(tree: Path) -> str:
    """Digest of everything that the build reads."""
    digest = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        if path.is_file() and "_build" not in path.parts and path.suffix != ".sha256":
            digest.update(str(path.relative_to(tree)).encode() + path.read_bytes())
    return digest.hexdigest()


def run_sphinx(tree: Path) -> None:
    """Build with warnings as errors; BookError quotes them."""
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(tree)]
    command += ["-W", "-n", "--keep-going", "--all"]
    told = os.environ | {"NO_COLOR": "1", "PYTHONUTF8": "1"}
    utf8 = {"env": told, "encoding": "utf-8"}
    done = subprocess.run(command, capture_output=True, check=False, **utf8)
    if done.returncode:
        output = (done.stdout + done.stderr).splitlines()
        wrong = [line for line in output if re.search(r"WARNING|ERROR|Error", line)]
        raise BookError("the book does not build:\n" + "\n".join(wrong or output[-20:]))


def check_pages(tree: Path, built: Path) -> None:
    """Every page of the table of contents must be there and have a heading.

    BookError names those that are missing or empty.
    """
    toc = read_yaml(tree / "_toc.yml")
    chapters = [each["file"] for part in toc["parts"] for each in part["chapters"]]
    pages = [built / f"{name}.html" for name in (toc["root"], *chapters)]
    empty = [
        page
        for page in pages
        if not page.is_file() or "<h1" not in page.read_text("utf-8")
    ]
    if not (built / "index.html").is_file():
        empty.append(built / "index.html")
    if empty:
        names = ", ".join(page.relative_to(built).as_posix() for page in empty)
        raise BookError(f"pages are missing from the built book, or empty: {names}")
