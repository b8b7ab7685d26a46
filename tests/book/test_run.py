"""The whole pipeline at the smoke tier: every stage does its work, once."""

import ast
import json
import re
import shutil

import nbformat
import pandas as pd
import pytest

from helpers.core.manifests import read_manifest
from helpers.core.paths import ROOT, STAGES
from helpers.core.records import COLUMNS, read_records, select
from helpers.methods import ONLINE, POLICIES, WEIGHTED
from tests.book.conftest import NAME, prefbook

JUDGES = ("truth", "judge 0", "judge 1", "words judge")
SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_leaves_records_and_a_manifest(run, stage):
    manifest = read_manifest(run, stage)
    records = read_records(run / stage / "records.parquet")
    assert list(records.columns) == list(COLUMNS)
    assert len(records) == manifest["records"] > 0
    told = records[records["metric"] != "difference_at_equal_kl"]  # or no number
    assert told["value"].notna().all()
    assert set(records["stage"]) == {stage}


@pytest.mark.parametrize("stage", STAGES)
def test_pages_show_results_and_no_noise(run, stage):
    notebook = nbformat.read(run / "notebooks" / f"{stage}.ipynb", as_version=4)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert outputs
    noise = [o for o in outputs if o.output_type in ("stream", "error")]
    assert not noise, noise
    assert str(ROOT) not in json.dumps(notebook), "a path of this machine"


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_that_ran_is_said_not_to_have_run(run, stage):
    """The smoke tier runs every method, so nobody may look for one by a wrong name."""
    notebook = nbformat.read(run / "notebooks" / f"{stage}.ipynb", as_version=4)
    outputs = [each.get("outputs", []) for each in notebook.cells]
    assert "not run" not in json.dumps(outputs)


def test_scorers_of_every_kind_meet_the_same_pairs(run):
    records = read_records(run / "08_evaluate" / "records.parquet")
    margins = records[records["metric"] == "margin"]
    test = pd.read_parquet(run / "00_data" / "pairs.parquet").query("split == 'test'")
    for method, part in margins.groupby("method"):
        assert set(part["example"]) == set(test["id"]), method
    assert {"rm", "judge", "dpo implicit", "sft_dpo implicit", "ppo implicit"} <= set(
        margins["method"]
    )
    assert {"sft log-prob", "length", "bag of words", "truth"} <= set(margins["method"])


def test_every_policy_is_measured_alike(run):
    records = read_records(run / "08_evaluate" / "records.parquet")
    trained = {"base", *POLICIES}
    greedy = select(records, "reward", judge="truth", decoding="greedy")
    assert set(greedy["method"]) == trained | {"chosen"}
    sampled = {"decoding": "sampled"}
    for measured in (
        *({"metric": "reward", "judge": name, **sampled} for name in JUDGES),
        {"metric": "proxy", "judge": "codepmp", **sampled},
        {"metric": "kl"},
    ):
        found = set(select(records, **measured)["method"])
        assert found - {"chosen"} == trained | {"best_of_n"}, measured
    assert records[records["metric"] == "distinct_2"]["value"].between(0, 1).all()
    kl = records[records["metric"] == "kl"]
    assert kl["value"].min() > -1e-4
    sft = kl[kl["method"] == "sft"]["value"]
    assert sft.abs().max() < 1e-4, "the SFT policy is its own reference"


def test_frontiers_have_more_than_one_strength(run):
    records = read_records(run / "08_evaluate" / "records.parquet")
    strengths = records[records["metric"] == "kl"].groupby("method")["strength"]
    counts = strengths.nunique()
    compared = {"sft_dpo", *WEIGHTED, *ONLINE, "best_of_n"}
    assert all(counts[each] > 1 for each in compared), counts


def test_a_second_run_runs_nothing(run):
    done = prefbook("run", "--tier", "smoke", "--run", NAME)
    assert done.returncode == 0, done.stderr
    assert f"0 of {len(STAGES)} stages ran" in done.stdout


def test_a_bad_value_is_refused_before_anything_runs(run):
    before = read_manifest(run, "06_dpo")
    done = prefbook("run", "--tier", "smoke", "--run", NAME, "-p", "beta=-1")
    assert done.returncode == 2 and "beta" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert read_manifest(run, "06_dpo") == before


def test_one_parameter_of_06_runs_06_08_and_09(run):
    own = run.with_name(f"{NAME}-beta")  # the shared run stays as it is
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(run, own)
    done = prefbook(
        "run", "--tier", "smoke", "--run", own.name, "-p", "06_dpo.beta=0.3"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"^(\w+): done", done.stdout, re.MULTILINE)
    assert ran == ["06_dpo", "08_evaluate", "09_compare"]
    shutil.rmtree(own)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_sources_are_clean_short_and_narrow(path):
    """Committed without outputs; cells of at most 15 lines and 88 columns.

    A cell may define one function, which says what it is: the method's mathematics.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        lines = cell.source.splitlines()
        assert not cell.outputs and cell.execution_count is None
        assert len(lines) <= 15 or "parameters" in cell.metadata.get("tags", [])
        assert max(map(len, lines)) <= 88, max(lines, key=len)
        assert not re.search(r"^\s*class ", cell.source, re.MULTILINE)
        defined = [n for n in ast.walk(ast.parse(cell.source)) if is_function(n)]
        assert len(defined) <= 1 and all(map(ast.get_docstring, defined))
    assert "Asks:" in notebook.cells[0].source
    assert "## Found" in [cell.source.splitlines()[0] for cell in notebook.cells]
    exercises, *solutions = notebook.cells[-3:]  # a run executes the solutions, too
    assert exercises.source.startswith("## Exercises")
    assert all(cell.metadata["tags"] == ["hide-cell"] for cell in solutions)


def is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def test_the_notebooks_are_the_stages():
    assert [path.stem for path in SOURCES] == list(STAGES)
