"""Commands for what a run has left: build, record, push, address, clean."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.commands.options import Run, Stale
from helpers.commands.terminal import one_line_errors, project_of, run_name

if TYPE_CHECKING:
    from helpers.core.paths import Project

app = typer.Typer()


@contextmanager
def finished_run(project: "Project", run: str, stale: bool) -> Iterator[Path]:
    """A run's folder, held, and refused if its stages are stale, unless told otherwise."""
    from helpers.runs.locks import held
    from helpers.runs.staleness import check_fresh, check_there

    folder = project.run(run_name(run))
    check_there(project, folder)
    with held(folder, project):
        check_fresh(project, folder, stale)
        yield folder


@app.command()
def build(context: typer.Context, run: Run = "cpu", stale: Stale = False) -> None:
    """Build the book of a run and print where it is."""
    with one_line_errors():
        from helpers.book.build import build_book

        with finished_run(project_of(context), run, stale) as folder:
            print(build_book(folder))


@app.command()
def record(context: typer.Context, run: Run = "cpu", stale: Stale = False) -> None:
    """Keep the tables of a run's comparison with the sources: the book shows them."""
    with one_line_errors():
        from helpers.book.recorded_runs import record_run
        from helpers.core.paths import whole_name

        project, name = project_of(context), run_name(run)
        out = project.root / "book" / "recorded" / "runs"
        out /= whole_name(project.run(name))
        with finished_run(project, run, stale) as folder:
            record_run(folder, out, project)
        print(f"recorded in {project.shown(out)}")


@app.command()
def push(
    context: typer.Context,
    run: Run = "cpu",
    to: Annotated[str, typer.Option(help="User or organisation on the hub.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cards, upload nothing.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="For all to see; default: private.")
    ] = False,
    stale: Stale = False,
) -> None:
    """Give models and code pairs to the hub, with cards; needs `hf auth login`."""
    with one_line_errors():
        from helpers.publish import model_cards

        with finished_run(project_of(context), run, stale) as folder:
            if dry_run:
                for each in model_cards.uploads(folder, to or "owner"):
                    files = ", ".join(each.files)
                    print(f"# {each.kind} {each.name}: {files}\n{each.card}")
                return
            hub = model_cards.logged_in(to)
            model_cards.push(folder, to, public, print, hub)


@app.command()
def address(context: typer.Context) -> None:
    """Write the address of _config.yml into the notebooks' first cells and the README."""
    with one_line_errors():
        from helpers.publish.colab import address_in, write_cells, write_link

        project = project_of(context)
        found = address_in(project.root / "_config.yml")
        paths = [project.notebook(stage) for stage in project.stages]
        print(f"{write_cells(found, paths)} of {len(paths)} notebooks changed")
        if write_link(found, project.root / "README.md"):
            print("README.md changed")


@app.command()
def clean(context: typer.Context, run: Run = "cpu") -> None:
    """Remove a run and the book built from it, without asking."""
    with one_line_errors():
        from helpers.runs.locks import held

        project = project_of(context)
        folder = project.run(run_name(run))
        if not folder.is_dir():
            print(f"nothing to remove: there is no {project.shown(folder)}")
            return
        with held(folder, project):
            files = [path for path in folder.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files) / 1024**2
            shutil.rmtree(folder)
        removed = f"{len(files)} files, {size:.0f} MiB, the book included"
        print(f"removed {project.shown(folder)}: {removed}")
