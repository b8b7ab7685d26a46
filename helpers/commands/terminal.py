"""What the commands of `prefbook` share: names, tables and errors in one line."""

import signal
from collections.abc import Callable, Iterator, Sequence
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
    from helpers.core.escape import terminal

    rows = [[terminal(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)][:-1]
    for *cells, last in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths)]
        print("  ".join([*padded, last]).rstrip())


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End with one line on stderr: code 2 for what is refused, 1 for what failed."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("prefbook: interrupted", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        from helpers.core.escape import terminal

        code = exit_code(error)
        if code is None:
            raise
        said = disk_trouble(error) if isinstance(error, OSError) else str(error)
        typer.echo(f"prefbook: {terminal(said)}", err=True)
        raise typer.Exit(code) from None


class Terminated(KeyboardInterrupt):
    """The process was asked to end: SIGTERM, which is answered as Ctrl-C is."""


@contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """End an interrupted command with one line on stderr that says what is kept.

    With code 130 after Ctrl-C and 143 after SIGTERM, once what was started has ended.
    """

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as error:
        asked = isinstance(error, Terminated)
        typer.echo(f"prefbook: interrupted: {kept()}", err=True)
        raise typer.Exit(143 if asked else 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def disk_trouble(error: OSError) -> str:
    """What a disk refuses, in one line."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; what is finished is kept"


def exit_code(error: Exception) -> int | None:
    """2 for what is refused, 1 for what failed, None for what should not happen."""
    from helpers.book.build import BookError
    from helpers.core.atomic import Damaged
    from helpers.core.hub import SourceError
    from helpers.core.inputs import InputError
    from helpers.core.model_files import ModelError
    from helpers.core.paths import RunError
    from helpers.runs.jobs import JobError
    from helpers.runs.pipeline import StageError

    refused = InputError | RunError | SourceError | ModelError | Damaged
    if isinstance(error, refused):
        return 2
    failed = JobError | StageError | BookError | OSError
    return 1 if isinstance(error, failed) else None
