"""The book of a run that goes on: chapters that are done, and of the others the source.

Pages are built aside while stages run, at the place of the whole book, so that a reader
who has the front page open reads on as chapters come. Nothing in them is decided yet: the
answer, the claims and the costs come with the last stage.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import nbformat

from helpers.book import full_run
from helpers.book.build import (
    BookError,
    lay_out,
    pages_of_no_run,
    stage_chapter,
    stage_notebook,
    write_pages,
)
from helpers.core.manifests import load_manifest
from helpers.core.markdown_tables import markdown_table
from helpers.core.parents import follow_parent
from helpers.core.paths import ROOT, STAGES, Project

WAITS = """
:::{note}
This run has not come to this chapter yet: it is shown as it stands in the project, without
what it finds. Reload the page in a while.
:::
"""
LATER = """\
# {title}

This page comes when all stages of the run are done.
"""
TITLES = {
    "claims": "The claims",
    "costs": "What it costs",
    "real": "On real pairs",
    "reproducibility": "Reproducibility",
}
FRONT = """
**This run goes on**: {done} of {all} chapters have their results, the answer comes with the
last. Reload this page in a while.

{chapters}

Meanwhile: [The question](question) · [The methods](methods) · [Run it yourself](run)
"""

# --- one build -------------------------------------------------------------------------


def build_early(run: Path, done: Sequence[str], root: Path = ROOT) -> Path:
    """Build the pages of a run of which some stages are done; returns the front page."""
    tree = run / "book"
    lay_out(root, tree)
    (tree / "built.sha256").unlink(missing_ok=True)
    full = full_run.full_values(Project(root))
    for stage in STAGES:
        if stage in done:
            stage_chapter(run, root, tree, load_manifest(run, stage), full)
        else:
            name = f"{stage}.ipynb"
            stage_notebook(root / "notebooks" / name, tree / "notebooks" / name, WAITS)
    pages = {name: LATER.format(title=title) for name, title in TITLES.items()}
    pages["index"] = front_page(root, tree, done)
    write_pages(tree, pages | pages_of_no_run(root))
    sphinx_here(tree)
    return tree / "_build" / "html" / "index.html"


def front_page(root: Path, tree: Path, done: Sequence[str]) -> str:
    """The question, and which chapters have their results."""
    title, question, *_ = (root / "book" / "index.md").read_text("utf-8").split("\n\n")
    rows = [
        {
            "chapter": f"[{heading(tree, stage)}](../notebooks/{stage}.ipynb)",
            "results": "there" if stage in done else "not yet",
        }
        for stage in STAGES
    ]
    count = {"done": len(set(done)), "all": len(STAGES)}
    said = FRONT.format(chapters=markdown_table(rows), **count)
    return f"{title}\n\n{question}\n{said}"


def heading(tree: Path, stage: str) -> str:
    """The title of a chapter, without its sign."""
    notebook = nbformat.read(tree / "notebooks" / f"{stage}.ipynb", as_version=4)
    return notebook.cells[0].source.split("\n")[0].lstrip("# ")


# --- in a process aside ------------------------------------------------------------------


def sphinx_here(tree: Path) -> None:
    """Build within this process, so that nothing lives on when it is ended.

    Warnings are none: what a page refers to may come later. Raises BookError.
    """
    from jupyter_book.cli.main import main

    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            main(["build", str(tree), "--keep-going", "--all", "-q"])
        except SystemExit as end:
            if end.code:
                raise BookError(said.getvalue().strip()[-300:]) from None
        except Exception as error:  # of Jupyter Book, which ends by any kind
            raise BookError(
                f"{type(error).__name__}: {error}".split("\n")[0]
            ) from error


def main(run: str, *done: str) -> None:
    """What `meanwhile` starts: it gives way to the run, and ends with it."""
    follow_parent()
    if hasattr(os, "nice"):
        os.nice(10)
    print(build_early(Path(run), done))


if __name__ == "__main__":
    main(*sys.argv[1:])
