"""Every notebook as Colab runs it: its packages, its module, the project from git.

Not part of the ordinary tests: `make colab` makes the environment and runs this. The
kernel is that of the environment, in a folder where nothing of the project is; the
repository's address leads to a bare clone of this one.
"""

import os
import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.config.schema import declares, read_schema
from helpers.config.settings import from_yaml
from helpers.core.paths import PROJECT, ROOT, STAGES
from helpers.core.yaml_files import read_yaml
from helpers.runs.pipeline import ThisInterpreter

COLAB = ROOT / ".venv-colab" / "bin" / "python"
SMOKE = ROOT / "notebooks" / "tiers" / "smoke.yaml"
pytestmark = pytest.mark.skipif(
    not COLAB.exists(), reason="needs Colab's packages: run `make colab`"
)


class ColabKernel(ThisInterpreter):
    """A kernel of the environment that has Colab's packages."""

    @property
    def kernel_spec(self):
        spec = super().kernel_spec
        spec.argv[0] = str(COLAB)
        return spec


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine like Colab's: `google.colab` is loaded, Drive is mounted, git works."""
    root = tmp_path_factory.mktemp("content")
    clone = root / "remote.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, clone], check=True)
    url = read_yaml(ROOT / "_config.yml")["repository"]["url"]
    settings = f'[url "file://{clone}"]\n    insteadOf = {url}\n'
    (root / "gitconfig").write_text(settings)
    stand_in = root / "site" / "google" / "colab"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").write_text("")
    return root


def filled(source: str, values: dict) -> str:
    """The parameters with the values put into their fields, or below without a field."""
    for name, value in values.items():
        field = re.compile(rf"^({name}: .+ = ).+(  # @param .+)$", re.MULTILINE)
        written = field.sub(rf"\g<1>{value!r}\g<2>", source)
        source = written if field.search(source) else f"{source}\n{name} = {value!r}"
    return source


def run_cells(path: Path, values: dict, colab: Path) -> nbformat.NotebookNode:
    """The notebook as a reader would run it, with the values typed into its form."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if declares(cell):
            cell.source = filled(cell.source, values)
    loaded = nbformat.v4.new_code_cell("import google.colab")  # as Colab's kernels have
    notebook.cells.insert(0, loaded)
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        "PYTHONPATH": str(colab / "site"),
        "GIT_CONFIG_GLOBAL": str(colab / "gitconfig"),
        "PREFBOOK_HOME": str(colab / "prefbook"),
    }
    resources = {"metadata": {"path": str(colab)}}
    client = NotebookClient(
        notebook, km=ColabKernel(), timeout=900, resources=resources
    )
    return client.execute(env=environment)


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_runs_on_colab(stage: str, colab: Path) -> None:
    schemas = {each: read_schema(PROJECT.notebook(each)) for each in STAGES}
    values = from_yaml(SMOKE, schemas)[stage] | {"run_dir": "runs/colab"}
    done = run_cells(PROJECT.notebook(stage), values, colab)
    first = next(cell for cell in done.cells if "set_up" in cell.source)
    said = "".join(output.get("text", "") for output in first.outputs)
    assert "kept as they were: torch" in said, said
    assert "restart" not in said, said
    assert (colab / "prefbook" / "runs" / "colab" / stage / "manifest.json").exists()


def test_what_colab_has_was_not_replaced(colab: Path) -> None:
    wanted = (ROOT / "tests" / "colab" / "preinstalled.txt").read_text().splitlines()
    pins = [line for line in wanted if line.startswith(("torch=", "numpy", "pandas"))]
    freeze = [COLAB, "-m", "pip", "freeze"]
    found = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    assert all(pin in found.replace("+cpu", "") for pin in pins)
