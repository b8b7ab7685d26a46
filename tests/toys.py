"""The toy project of `make_project` at work: in this process, or as a command."""

import sys
from pathlib import Path

import nbformat
from click.testing import Result
from typer.testing import CliRunner

from helpers.cli import app
from helpers.config.settings import all_values, select
from helpers.core.paths import Project
from helpers.runs.pipeline import run_stages

GRAPH = {"00_a": (), "01_b": ("00_a",), "02_c": ("01_b",), "03_d": ("00_a",)}
COMMAND = """\
from pathlib import Path
from helpers.cli import app
from helpers.core.paths import Project
app(obj=Project(Path({root!r}), {stages!r}, Path({package!r}), {answer!r}))
"""


def execute(source: Path, out: Path, parameters: dict, cwd: Path) -> None:
    """What Papermill does, in this process: fast, and enough to see what is stale."""
    notebook = nbformat.read(source, as_version=4)
    namespace: dict[str, object] = {"__name__": "__main__"}
    nbformat.write(notebook, out)
    for cell in notebook.cells:
        exec(cell.source, namespace)  # noqa: S102 - our own cells
        namespace |= parameters
    nbformat.write(notebook, out)


def run(project: Project, *given: str, only: tuple[str, ...] = ()) -> list[str]:
    """Run the toy project; the stages that ran."""
    selected = select(list(project.stages), only)
    values = all_values(project, selected, "runs/cpu", given=given)
    said: list[str] = []
    ran = run_stages(project, project.run("cpu"), values, said.append, execute)
    project.root.joinpath("said.txt").write_text("\n".join(said))
    return ran


def said(project: Project) -> str:
    """What the last run said."""
    return project.root.joinpath("said.txt").read_text()


def command(project: Project, *arguments: str) -> Result:
    """The command `prefbook` on the toy project, in this process."""
    return CliRunner().invoke(app, list(arguments), obj=project)


def command_line(project: Project, *arguments: str) -> list[str]:
    """The same as a command for a process of its own."""
    about = {"root": str(project.root), "package": str(project.package)}
    about |= {"stages": dict(project.stages), "answer": project.answer}
    return [sys.executable, "-c", COMMAND.format(**about), *arguments]
