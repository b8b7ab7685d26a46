"""Run folders: keys, open stages, grids of jobs, and what is left of a broken run."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from helpers import jobs
from helpers.digests import reached
from helpers.params import ParameterError
from helpers.provenance import provenance
from helpers.records import COLUMNS
from helpers.runs import (
    STAGES,
    Project,
    RunError,
    Stage,
    key_parts,
    open_stage,
    read_manifest,
)

GRAPH = {"a": (), "b": ("a",)}
MakeProject = Callable[..., Project]


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project(GRAPH)


def opened(project: Project, name: str, **values: object) -> Stage:
    """A stage as its notebook would open it."""
    namespace = {"run_dir": "runs/cpu", "workers": 1, "x": 1.0} | values
    return open_stage(name, namespace, project)


# --- opening and closing --------------------------------------------------------------


def test_a_stage_is_done_when_it_is_closed(project: Project) -> None:
    stage = opened(project, "a", x=2)
    assert stage.params.x == 2.0 and stage.run == project.run("cpu")
    with pytest.raises(RunError, match="prefbook run --run cpu --only a"):
        read_manifest(stage.run, "a", project)
    stage.add([{"metric": "x", "value": 2.0, "stage": "other"}])
    stage.close()
    manifest = read_manifest(stage.run, "a", project)
    assert manifest["key"] == stage.key and manifest["records"] == 1
    assert manifest["parameters"] == {"run_dir": "runs/cpu", "workers": 1, "x": 2.0}
    assert manifest["seconds"] >= 0 and manifest["peak_memory_mib"] > 10
    assert {"versions", "python", "platform", "cpu_count", "device"} <= set(manifest)
    reader = opened(project, "b")
    assert reader.records("a")["stage"].tolist() == ["a"]
    assert reader.parts["inputs"] == {"a": stage.key}


def test_opening_again_forgets_what_was_there(project: Project) -> None:
    stage = opened(project, "a")
    (stage.dir / "old.txt").write_text("old")
    (stage.dir / "figures").mkdir()
    stage.close()
    again = opened(project, "a", x=3.0)
    assert list(again.dir.iterdir()) == []
    assert again.key != stage.key


def test_workers_and_place_do_not_change_the_key(project: Project) -> None:
    stage = opened(project, "a")
    assert opened(project, "a", workers=2, run_dir="runs/other").key == stage.key


def test_bad_value_is_refused_before_anything_is_touched(project: Project) -> None:
    opened(project, "a").close()
    with pytest.raises(ParameterError, match="a: x: got 'two'"):
        opened(project, "a", x="two")
    assert read_manifest(project.run("cpu"), "a", project)["parameters"]["x"] == 1.0


def test_missing_input_names_its_command(project: Project) -> None:
    with pytest.raises(RunError, match="prefbook run --run cpu --only a"):
        opened(project, "b")
    assert not (project.run("cpu") / "b").exists()


def test_reading_beside_the_graph_is_refused(project: Project) -> None:
    opened(project, "a").close()
    opened(project, "b").close()
    with pytest.raises(RunError, match="a reads b"):
        opened(project, "a").input("b")


def test_no_commit_without_a_repository(tmp_path: Path) -> None:
    assert "commit" not in provenance(tmp_path)


def test_the_graph_is_in_order() -> None:
    order = list(STAGES)
    for stage, inputs in STAGES.items():
        assert all(order.index(each) < order.index(stage) for each in inputs)


# --- the key --------------------------------------------------------------------------


def test_helpers_are_followed(tmp_path: Path) -> None:
    files = {
        "a": "from helpers import b",
        "b": "def f():\n    from helpers.c import g",
        "c": "import helpers.a",
        "d": "",
    }
    for name, source in files.items():
        (tmp_path / f"{name}.py").write_text(source)
    assert list(reached(["from helpers.a import x"], tmp_path)) == ["a", "b", "c"]
    assert list(reached(["import pandas"], tmp_path)) == []


def test_prose_does_not_change_the_key_but_code_does(project: Project) -> None:
    def parts() -> dict:
        values = {"run_dir": "runs/cpu", "workers": 1, "x": 1.0}
        return key_parts(project, project.run("cpu"), "a", values)

    notebook = project.notebook("a")
    before, content = parts(), json.loads(notebook.read_text())
    prose = {"cell_type": "markdown", "metadata": {}, "source": "words", "id": "m"}
    content["cells"].append(prose)
    content["cells"][0]["source"] += "# a comment"
    content["cells"][1]["outputs"] = [{"output_type": "stream", "text": "1"}]
    notebook.write_text(json.dumps(content))
    assert parts() == before
    content["cells"][1]["source"] += "\n1"
    notebook.write_text(json.dumps(content))
    assert parts() != before


def test_a_data_folder_is_part_of_the_key(project: Project, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    values = {"data_source": "data"}
    before = key_parts(project, tmp_path, "a", values)
    assert set(before["data"]) == {"data_source"}
    (tmp_path / "data" / "train.jsonl").write_text("{}")
    assert key_parts(project, tmp_path, "a", values) != before


# --- jobs -----------------------------------------------------------------------------


def double(out: Path, *, method: str, seed: int, factor: int) -> list[dict]:
    """A job: leaves a file and a record."""
    (out / "made.txt").write_text(method)
    jobs.Progress("doubling")(1, 2)
    return [{"metric": "double", "value": float(factor * seed)}]


def break_once(out: Path, *, seed: int, marks: Path) -> list[dict]:
    """A job that fails for seed 1 when it is first run, and counts its runs."""
    mark = marks / f"{seed}"
    runs = int(mark.read_text()) if mark.exists() else 0
    mark.write_text(str(runs + 1))
    if seed == 1 and runs == 0:
        raise ValueError("no luck")
    return []


GRID = [{"method": "m", "seed": seed} for seed in range(3)]


def test_jobs_fill_in_records_and_are_found(project: Project) -> None:
    stage = opened(project, "a")
    records = stage.run_jobs(double, GRID, factor=2)
    assert records.dtypes.astype(str).to_dict() == COLUMNS
    doubled = records[records["metric"] == "double"]
    assert doubled["value"].tolist() == [0.0, 2.0, 4.0]
    assert doubled["seed"].tolist() == [0, 1, 2]
    assert set(doubled["method"]) == {"m"} and set(doubled["stage"]) == {"a"}
    assert (records["metric"] == "seconds").sum() == 3
    folder = stage.job("a", seed=1)
    assert folder.name == "method=m,seed=1" and (folder / "made.txt").exists()
    state = json.loads((stage.dir / "progress.json").read_text())
    assert (state["done"], state["total"]) == (3, 3)
    stage.close()
    assert not (stage.dir / "progress.json").exists()
    assert opened(project, "b").job("a", seed=2).name == "method=m,seed=2"


def test_unclear_jobs_are_refused(project: Project) -> None:
    stage = opened(project, "a")
    stage.run_jobs(double, GRID, factor=2)
    with pytest.raises(RunError, match="no job with seed=7; there is: method=m,seed=0"):
        stage.job("a", seed=7)
    with pytest.raises(RunError, match="3 jobs with method=m"):
        stage.job("a", method="m")
    with pytest.raises(RunError, match="tell them apart"):
        stage.run_jobs(double, GRID, factor=3)


def test_a_broken_grid_resumes(project: Project, tmp_path: Path) -> None:
    grid = [{"seed": seed} for seed in range(3)]
    with pytest.raises(
        jobs.JobError, match="a: job seed=1 failed: ValueError: no luck"
    ):
        opened(project, "a").run_jobs(break_once, grid, marks=tmp_path)
    stage = opened(project, "a")
    stage.run_jobs(break_once, grid, marks=tmp_path)
    assert [(tmp_path / str(seed)).read_text() for seed in range(3)] == ["1", "2", "1"]
    stage.close()
    assert [path.name for path in stage.jobs_dir.parent.iterdir()] == [stage.key[:8]]
    assert sorted(path.name for path in stage.jobs_dir.iterdir()) == [
        "seed=0",
        "seed=1",
        "seed=2",
    ]


def test_older_jobs_go_when_a_newer_stage_is_done(project: Project) -> None:
    old = opened(project, "a")
    old.run_jobs(double, GRID, factor=2)
    new = opened(project, "a", x=5.0)
    assert old.jobs_dir.exists()
    new.run_jobs(double, GRID, factor=2)
    new.close()
    assert new.jobs_dir.exists() and not old.jobs_dir.exists()


def test_parallel_equals_serial(tmp_path: Path) -> None:
    frames = [
        jobs.run_grid(
            double,
            GRID,
            tmp_path / str(workers),
            stage="a",
            workers=workers,
            shared={"factor": 2},
        ).query("metric != 'seconds'")
        for workers in (1, 2)
    ]
    jobs.stop_workers()
    pd.testing.assert_frame_equal(*frames)


def test_a_worker_s_failure_names_its_job(tmp_path: Path) -> None:
    grid = [{"seed": seed} for seed in range(2)]
    with pytest.raises(
        jobs.JobError, match="a: job seed=1 failed: ValueError: no luck"
    ):
        jobs.run_grid(
            break_once,
            grid,
            tmp_path / "jobs",
            stage="a",
            workers=2,
            shared={"marks": tmp_path},
        )
    jobs.stop_workers()


def test_slugs_are_safe_and_distinct() -> None:
    assert jobs.slug({"init": "codepmp", "pairs": 1000, "seed": 0}) == (
        "init=codepmp,pairs=1000,seed=0"
    )
    slugs = {jobs.slug({"judge": name}) for name in ("a/b", "a_b", "a:b", "x" * 300)}
    assert len(slugs) == 4
    assert all(len(slug) < 140 and "/" not in slug for slug in slugs)


def test_line_tells_how_far(tmp_path: Path) -> None:
    line = jobs.Line("06_dpo", tmp_path / "progress.json")
    line.begin(total=6, done=3)
    line.step(40, 200, "training")
    assert line.text() == "06_dpo: 3/6 jobs, training 40/200, 0 s (3 already done)"
    line.one_done()
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 4
