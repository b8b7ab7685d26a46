"""What the commands of `prefbook` share: names, tables and errors in one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from helpers.core.paths import Project


def project_of(context: typer.Context) -> "Project":
    """The project that the command works on: this one, unless a test gives another."""
    from helpers.core.paths import PROJECT

    return context.obj or PROJECT


def run_name(text: str, option: str = "--run") -> str:
    """The name of a run as an option gives it; InputError if it is none."""
    from helpers.core.paths import checked_name

    return checked_name(text, option)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows in aligned columns; the last column may be of any width."""
    widths = [max(map(len, column)) for column in zip(*rows)][:-1]
    for *cells, last in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths)]
        print("  ".join([*padded, last]).rstrip())


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End with one line on stderr: code 2 for what is refused, 1 for what failed."""
    try:
        yield
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        typer.echo(f"prefbook: {error}", err=True)
        raise typer.Exit(code) from None


def exit_code(error: Exception) -> int | None:
    """2 for what is refused, 1 for what failed, None for what should not happen."""
    from helpers.book.build import BookError
    from helpers.core.hub import SourceError
    from helpers.core.inputs import InputError
    from helpers.core.paths import RunError
    from helpers.runs.jobs import JobError
    from helpers.runs.pipeline import StageError

    if isinstance(error, InputError | RunError | SourceError):
        return 2
    return 1 if isinstance(error, JobError | StageError | BookError) else None
