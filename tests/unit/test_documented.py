"""Every command that the README and the page "Run it yourself" show is one that works.

What takes long is replaced: here the commands are read, their options known, their
values allowed, their files there. What they do is tested elsewhere.
"""

import re
import shlex
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from helpers.analysis import tuning
from helpers.book import build, recorded_runs
from helpers.cli import app
from helpers.config.schema import read_schema
from helpers.config.texts import parse_text
from helpers.core import hub
from helpers.core.paths import PROJECT, ROOT
from helpers.core.yaml_files import read_yaml
from helpers.models import weights
from helpers.publish import model_cards
from helpers.runs import locks, pipeline, rerun, staleness, sweeps

PAGES = ("README.md", "book/run.md", "book/change.md")
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for page in PAGES
        for block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
        for line in block.splitlines()
        if line.strip()
    }
)


def of(program: str) -> list[str]:
    return [each for each in COMMANDS if each.split()[0] == program]


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The command without its heavy parts; what would have been done."""
    done: list[str] = []

    def does(name: str, result: object):
        return lambda *_, **__: (done.append(name), result)[1]

    monkeypatch.setattr(pipeline, "run_stages", does("run", []))
    monkeypatch.setattr(build, "build_book", does("build", tmp_path / "index.html"))
    monkeypatch.setattr(recorded_runs, "record_run", does("record", None))
    monkeypatch.setattr(tuning, "tune", does("tune", pd.DataFrame()))
    monkeypatch.setattr(sweeps, "check_cluster", does("check", None))
    monkeypatch.setattr(sweeps, "begin", does("begin", tmp_path))
    monkeypatch.setattr(sweeps, "executor_of", does("executor", None))
    monkeypatch.setattr(sweeps, "run_sweep", does("sweep", {}))
    monkeypatch.setattr(model_cards, "uploads", does("cards", []))
    monkeypatch.setattr(model_cards, "logged_in", does("log in", None))
    monkeypatch.setattr(staleness, "status", does("status", []))
    monkeypatch.setattr(staleness, "check_there", does("look", None))
    monkeypatch.setattr(locks, "held", lambda *_: nullcontext())
    about = {"run": "cpu", "stages": {}, "data": {}}
    monkeypatch.setattr(rerun, "read_run_manifest", does("read", about))
    monkeypatch.setattr(weights, "fetch", does("fetch", tmp_path))
    for name in (*weights.CATALOGUE, "my_model"):  # as if they were there
        folder = tmp_path / "weights" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        (folder / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    monkeypatch.setattr(hub, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr("helpers.config.constraints.ROOT", tmp_path)
    (tmp_path / "runs" / "beta").mkdir(parents=True)
    (tmp_path / "runs" / "beta" / "sweep.json").write_text("{}")
    return done


@pytest.mark.parametrize("command", of("prefbook"))
def test_a_command_of_prefbook(command: str, light: list[str]) -> None:
    found = CliRunner().invoke(app, shlex.split(command)[1:])
    assert found.exit_code == 0, found.output + str(found.exception)
    assert light or command.split()[1] in (
        "params",
        "plan",
        "weights",
    )  # light by themselves


def test_all_kinds_of_commands_are_shown() -> None:
    shown = {command.split()[1] for command in of("prefbook")}
    assert {"run", "plan", "build", "status", "params"} <= shown
    assert {"record", "sweep", "push", "tune", "weights", "rerun"} <= shown
    programs = {command.split()[0] for command in COMMANDS}
    assert programs == {"prefbook", "make", "papermill", "accelerate", ".", "python"}


@pytest.mark.parametrize("command", of("make"))
def test_a_target_of_make(command: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{command.split()[1]}:.*## ", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", of("papermill"))
def test_a_command_of_papermill(command: str) -> None:
    _, notebook, _, flag, name, value = command.split()
    schema = read_schema(ROOT / notebook)
    assert flag == "-p" and parse_text(schema[name], value) is not None


def test_the_command_in_a_cell_of_colab() -> None:
    (line,) = re.findall(
        r"`!python -m helpers.cli ([^`]+)`", Path(ROOT / PAGES[1]).read_text()
    )
    assert line in [command.removeprefix("prefbook ") for command in of("prefbook")]


def test_the_workflow_runs_what_there_is() -> None:
    path = ROOT / ".github" / "workflows" / "book.yml"
    jobs = read_yaml(path)["jobs"]
    runs = [
        step["run"] for job in jobs.values() for step in job["steps"] if "run" in step
    ]
    assert runs == ["make test", "make oracle", "make book"]
    assert jobs["book"]["needs"] == "test" and jobs["publish"]["needs"] == "book"
    (built,) = (
        step["with"]["path"]
        for step in jobs["book"]["steps"]
        if "upload" in step.get("uses", "")
    )
    assert PROJECT.run("cpu") / "book" / "_build" / "html" == ROOT / built


@pytest.mark.parametrize("command", of("python"))
def test_a_file_that_is_run_is_shown_on_its_page(command: str) -> None:
    file = Path(command.split()[1])
    page = (ROOT / "book" / "change.md").read_text(encoding="utf-8")
    assert (ROOT / file).is_file()
    assert f"{{literalinclude}} {file.relative_to('book')}\n" in page
