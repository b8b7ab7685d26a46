"""The cell that every notebook begins with, and what it does where."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from helpers.core.inputs import InputError
from helpers.core.paths import PROJECT, ROOT, STAGES
from helpers.publish import colab

ADDRESS = colab.address_in(ROOT / "_config.yml")
CELL = colab.install_cell(ADDRESS)


@pytest.mark.parametrize("stage", STAGES)
def test_every_notebook_begins_with_the_same_cell(stage: str) -> None:
    cells = json.loads(PROJECT.notebook(stage).read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert "".join(code[0]["source"]) == CELL
    assert code[0]["metadata"]["tags"] == ["remove-cell"]
    assert code[1]["metadata"]["tags"] == ["parameters"]


def test_an_address_is_written_into_every_notebook(tmp_path) -> None:
    paths = [tmp_path / f"{stage}.ipynb" for stage in STAGES]
    for stage, path in zip(STAGES, paths):
        path.write_bytes(PROJECT.notebook(stage).read_bytes())
    assert colab.write_cells(ADDRESS, paths) == 0
    before, fork = paths[0].read_text(), "https://example.org/fork"
    assert colab.write_cells(ADDRESS._replace(url=fork), paths) == len(paths)
    assert paths[0].read_text() == before.replace(ADDRESS.url, fork)


def test_the_readme_leads_to_the_same_place(tmp_path) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes((ROOT / "README.md").read_bytes())
    assert not colab.write_link(ADDRESS, readme)
    fork = ADDRESS._replace(url="https://github.com/some/fork")
    assert colab.write_link(fork, readme)
    assert "/github/some/fork/blob/main/notebooks/00_data.ipynb" in readme.read_text()


@pytest.mark.parametrize("text", ["", "repository:\n", "repository:\n  url: 3\n"])
def test_a_missing_address_is_said_in_one_line(tmp_path, text) -> None:
    (tmp_path / "_config.yml").write_text(text)
    with pytest.raises(InputError, match=r"_config.yml: repository.url is .*a text"):
        colab.address_in(tmp_path / "_config.yml")


def test_the_address_stands_in_one_place() -> None:
    tracked = (
        "helpers/**/*.py",
        "book/*.md",
        "Makefile",
        "pyproject.toml",
        "tests/**/*.py",
    )
    files = [path for pattern in tracked for path in ROOT.glob(pattern)]
    assert files and not [each for each in files if ADDRESS.url in each.read_text()]


def run_cell(folder: Path, colab_is_there: bool) -> subprocess.CompletedProcess[str]:
    """The cell in a new Python, where git finds this repository at the address."""
    clone = folder / "remote.git"
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, clone], check=True)
        branch = ["git", "-C", clone, "branch", "--force", "main", "HEAD"]
        subprocess.run(branch, check=False, capture_output=True)
        settings = f'[url "file://{clone}"]\n    insteadOf = {ADDRESS.url}\n'
        (folder / "gitconfig").write_text(settings)
        (folder / "google" / "colab").mkdir(parents=True)
        (folder / "google" / "colab" / "__init__.py").touch()
    first = "import google.colab\n" if colab_is_there else ""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        "PREFBOOK_HOME": str(folder / "prefbook"),
    }
    last = "\nimport os; print('in', os.getcwd())"
    return subprocess.run(
        [sys.executable, "-c", first + CELL + last],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


needs_git = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="needs a git checkout, which this copy is not"
)


@needs_git
def test_on_colab_the_project_is_fetched_and_nothing_installed_again(tmp_path) -> None:
    for _ in range(2):  # readers run cells twice
        done = run_cell(tmp_path, colab_is_there=True)
        assert done.returncode == 0, done.stderr
        assert "installing" not in done.stdout  # this environment has all
        assert "kept as they were: torch" in done.stdout
        assert "end with the session" in done.stdout
        assert f"in {tmp_path / 'prefbook'}" in done.stdout
    assert (tmp_path / "prefbook" / "notebooks" / "00_data.ipynb").is_file()


@needs_git
def test_elsewhere_the_cell_does_nothing(tmp_path) -> None:
    done = run_cell(tmp_path, colab_is_there=False)
    assert (done.returncode, done.stdout) == (0, f"in {tmp_path}\n")
    assert not (tmp_path / "prefbook").exists()


# --- packages --------------------------------------------------------------------------


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    """A runtime like Colab's and a project with pins; collects pip's commands."""
    have = {"torch": "2.11.0", "numpy": "2.1.3", "pandas": "2.2.3", "datasets": "4.0.0"}
    have |= {"transformers": "5.15.0"}
    monkeypatch.setattr(colab, "installed", have.get)
    monkeypatch.setattr(colab, "version", have.__getitem__)
    needs = ["torch>=2.6", "numpy>=2", "pandas>=2.2", "datasets>=4.7", "trl>=1.12,<2"]
    needs.append("transformers>=5.0")
    (tmp_path / "pyproject.toml").write_text(f"[project]\ndependencies = {needs}\n")
    pins = ["# pins", "torch==2.13.0", "numpy==2.4.6", "datasets==5.2.0", "trl==1.16.0"]
    pins += ["transformers==5.23.0", "tabulate==0.10.0"]
    (tmp_path / "constraints.txt").write_text("\n".join(pins))
    return have


def test_only_what_is_missing_or_too_old_is_installed(runtime, tmp_path, monkeypatch):
    missing = colab.lacking(tmp_path / "pyproject.toml")
    assert set(missing) == {"datasets", "trl"}
    given: dict[str, object] = {}

    def pip(command: list[str], check: bool) -> None:
        given["command"] = command
        given["pins"] = Path(command[command.index("-c") + 1]).read_text().split()

    monkeypatch.setattr(colab.subprocess, "run", pip)
    colab.install(tmp_path, missing)
    assert given["command"][-2:] == ["datasets>=4.7", "trl<2,>=1.12"]
    own = {"torch==2.11.0", "numpy==2.1.3", "pandas==2.2.3"}  # as the runtime has them
    assert set(given["pins"]) == own | {
        "datasets==5.2.0",
        "trl==1.16.0",
        "tabulate==0.10.0",
    }


def test_a_runtime_that_is_too_old_is_refused_not_changed(runtime, tmp_path) -> None:
    runtime["numpy"] = "1.26.4"
    with pytest.raises(RuntimeError, match="numpy 1.26.4, the project needs numpy>=2"):
        colab.lacking(tmp_path / "pyproject.toml")


def test_a_library_that_was_loaded_before_asks_for_a_restart(runtime, monkeypatch):
    module = type(sys)("datasets")
    module.__version__ = "3.0.0"
    monkeypatch.setitem(sys.modules, "datasets", module)
    assert "datasets" in colab.outdated_modules()


def test_the_project_needs_what_its_ranges_say() -> None:
    needs = {each.name for each in colab.requirements(ROOT / "pyproject.toml")}
    assert {"torch", "trl", "papermill"} <= needs
    assert all(isinstance(Requirement(name), Requirement) for name in needs)


# --- runs ------------------------------------------------------------------------------


def test_runs_are_kept_on_drive_where_it_is_mounted(tmp_path) -> None:
    root, drive = tmp_path / "prefbook", tmp_path / "drive"
    root.mkdir()
    assert "end with the session" in colab.keep_runs(root, "", drive)
    drive.mkdir()
    for _ in range(2):
        assert str(drive) in colab.keep_runs(root, "", drive)
    (root / "runs" / "cpu").mkdir()
    assert (drive / "prefbook-runs" / "cpu").is_dir()
    # another session, another clone: what was there is there
    other = tmp_path / "again"
    other.mkdir()
    colab.keep_runs(other, "", drive)
    assert (other / "runs" / "cpu").is_dir()


def test_runs_that_are_there_are_not_hidden(tmp_path) -> None:
    (tmp_path / "runs" / "cpu").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="holds runs: move them"):
        colab.keep_runs(tmp_path, str(tmp_path / "kept"), tmp_path / "no drive")
