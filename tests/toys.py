"""A project of tiny notebooks at work: in this process, or as a command."""

import sys
from collections.abc import Mapping
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


HEADER = """run_dir: str = "runs/cpu"  # folder of the run
workers: int = 1  # processes; in [0, 8]
"""
BODY = """from pathlib import Path
from tests.opening import Project, open_stage
project = Project(Path({root!r}), {stages!r}, Path({package!r}))
stage = open_stage({name!r}, globals(), project)
{work}
stage.close()
"""


def write_notebook(path: Path, parameters: str, *cells: str) -> Path:
    """A notebook with a cell tagged `parameters`, then the code cells."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    rest = [nbformat.v4.new_code_cell(cell) for cell in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[first, *rest], metadata=about), path)
    return path


def toy_project(
    root: Path, stages: Mapping[str, tuple[str, ...]], **work: str
) -> Project:
    """A project in `root` from stage -> inputs; each stage records its parameter `x`.

    work: other code for a stage.
    """
    project = Project(root, dict(stages), root / "helpers", answer=list(stages)[-1])
    for name in stages:
        body = BODY.format(
            root=str(root),
            stages=dict(stages),
            package=str(project.package),
            name=name,
            work=work.get(name, 'stage.add([{"metric": "x", "value": x}])'),
        )
        cell = HEADER + f"x: float = {len(name)}.0  # a number; in (0, 100]\n"
        write_notebook(project.notebook(name), cell, body)
    return project


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
