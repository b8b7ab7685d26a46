"""Sweeps: grids refused up front, dead jobs survived, one table of what was found."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from helpers.analysis import sweep_table
from helpers.cli import app
from helpers.config.parameters import ParameterError
from helpers.core.paths import ROOT, Project, RunError
from helpers.core.records import tidy
from helpers.runs import sweeps
from helpers.statistics import estimates
from helpers.statistics.intervals import Interval

STAGES = {"00_first": (), "01_last": ("00_first",)}
# the last stage fails where x is 9
WORK = """if x == 9: raise ValueError("nine is too many")
stage.add([{"metric": "x", "value": x}, {"metric": "y", "value": 2 * x}])"""
MakeProject = Callable[..., Project]


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project(STAGES, **{"01_last": WORK})


def sweep(project: Project, *arguments: str, cluster: str = "debug"):
    command = ["sweep", "--name", "s", "--cluster", cluster, *arguments]
    return CliRunner().invoke(app, command, obj=project)


# --- the grid --------------------------------------------------------------------------


def test_a_grid_is_every_combination(project: Project) -> None:
    grid = sweeps.parse_grid(["00_first.x=1, 2", "01_last.x=3,4,5"])
    found = sweeps.points(project, "s", grid)
    assert [point.run for point in found] == [f"s/0{at}" for at in range(6)]
    assert found[5].varied == {"00_first.x": "2", "01_last.x": "5"}
    assert found[5].values["01_last"]["x"] == 5.0
    assert found[5].values["00_first"]["run_dir"] == "runs/s/05"


def test_lists_are_values_too() -> None:
    assert sweeps.parse_grid(["a=[1,2],[3]"]) == {"a": ["[1,2]", "[3]"]}


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (["-g", "x=1,1000"], "x: got 1000"),
        (["-g", "z=1"], "z"),
        (["-g", "x"], "expected name=value"),
        (["-g", "x="], "expected name=value"),
        (["-g", "x=1", "-g", "x=2"], "varied twice"),
        (["-g", "x=1,2,1"], "s/00 and s/02 would be the same run, x=1"),
        (["-g", "x=1,1.0"], "s/00 and s/01 would be the same run, x=1.0"),
        (["-g", "x=[1,2"], "expected [ and ] in pairs"),
        (["-g", "x=1],2"], "expected [ and ] in pairs"),
        (["-g", "x=" + ",".join(map(str, range(2000)))], "got 2000 runs, expected at"),
        (["-g", "x=1", "--cluster", "moon"], "expected one of local, slurm, debug"),
        (["-g", "x=1", "--like", "none"], "there is no runs/none"),
        (["-g", "x=1", "--like", "../outside"], "--like ../outside: expected a name"),
        (["-g", "x=1", "--like", ".."], "--like ..: expected a name"),
        (["-g", "x=1", "--name", "s/.."], "--name s/..: expected a name"),
        (["-g", "x=1", "--name", "x" * 300], "expected a name of at most 100"),
    ],
)
def test_a_bad_grid_is_refused_before_anything_runs(project, grid, says) -> None:
    done = sweep(project, *grid)
    assert done.exit_code == 2 and says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (project.root / "runs").exists()


def test_a_tree_outside_is_no_run_to_begin_as(project) -> None:
    (project.root.parent / "outside").mkdir(exist_ok=True)
    for like in ("../..", "../../outside", str(project.root.parent / "outside")):
        done = sweep(project, "-g", "x=1", "--like", like)
        assert done.exit_code == 2 and "expected a name" in done.stderr
        assert not (project.root / "runs").exists()


def test_slurm_is_refused_where_there_is_none(project, monkeypatch) -> None:
    monkeypatch.setattr(sweeps.shutil, "which", lambda name: None)
    done = sweep(project, "-g", "x=1", cluster="slurm")
    assert done.exit_code == 2 and "no `srun`" in done.stderr


# --- running ---------------------------------------------------------------------------


def test_a_dead_run_leaves_the_others_alone(project: Project) -> None:
    done = sweep(project, "-g", "01_last.x=1,9,3", "--parallel", "2", cluster="local")
    assert done.exit_code == 1, done.output
    assert "s/01: failed: " in done.output and "nine is too many" in done.output
    assert "2 of 3 runs, runs/s/records.parquet" in done.output
    table = pd.read_parquet(project.root / "runs" / "s" / "records.parquet")
    assert list(table.columns[:2]) == ["run", "01_last.x"]
    found = table[table["metric"] == "y"].set_index("01_last.x")["value"]
    assert found.to_dict() == {"1": 2.0, "3": 6.0}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for SLURM's commands, and the folder in which they keep their jobs."""
    jobs = tmp_path / "slurm"
    jobs.mkdir()
    monkeypatch.setenv("SLURM_STAND_IN", str(jobs))
    commands = ROOT / "tests" / "slurm"
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    submitit = pytest.importorskip("submitit")
    submitit.SlurmJob.watcher.clear()  # it knows how job 1 of another test ended
    return jobs


def test_a_sweep_runs_on_slurm(project: Project, slurm: Path) -> None:
    options = ("--parallel", "2", "--minutes", "7", "--gpus", "1", "--partition", "p")
    done = sweep(project, "-g", "01_last.x=1,9,3", *options, cluster="slurm")
    assert done.exit_code == 1, done.output
    assert "nine is too many" in done.output and "2 of 3 runs" in done.output
    assert len(list(slurm.glob("*.pid"))) == 3
    (script,) = (project.root / "runs" / "s" / "logs" / "1").glob("*_submission.sh")
    asked = script.read_text()
    for option in ("--time=7", "--gpus-per-node=1", "--partition=p", "--job-name=s"):
        assert f"#SBATCH {option}" in asked


def test_a_run_that_slurm_lost_leaves_the_others_alone(
    make_project: MakeProject, slurm: Path
) -> None:
    kill = f"""import os, signal
if x == 9:
    job = os.environ["SLURM_JOB_ID"]
    os.killpg(int(open(f"{slurm}/{{job}}.pid").read()), signal.SIGKILL)
stage.add([{{"metric": "x", "value": x}}])"""
    project = make_project(STAGES, **{"01_last": kill})
    done = sweep(project, "-g", "01_last.x=9,3", cluster="slurm")
    assert done.exit_code == 1, done.output
    assert "s/00: failed: " in done.output and "s/01: done" in done.output


@pytest.mark.parametrize("status", [None, 1])
def test_slurm_without_accounts_is_said_to_lose_runs(
    status: int | None, project: Project, slurm: Path, tmp_path: Path, monkeypatch
) -> None:
    """There is no `sacct`, or it fails: the stand-ins of the others are in a folder."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("sbatch", "srun"):
        (commands / name).symlink_to(ROOT / "tests" / "slurm" / name)
    if status is None:
        if shutil.which("sacct", path="/usr/bin:/bin"):
            pytest.skip("there is an `sacct` beside the system's own commands")
    else:
        (commands / "sacct").write_text(f"#!/bin/sh\nexit {status}\n")
        (commands / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert not sweeps.keeps_accounts()
    done = sweep(project, "-g", "01_last.x=1", cluster="slurm")
    assert done.exit_code == 0, done.output + done.stderr
    assert "keeps no accounts" in done.output


def test_a_sweep_goes_on_where_it_was(project: Project) -> None:
    assert sweep(project, "-g", "01_last.x=1,2").exit_code == 0
    manifest = project.root / "runs" / "s" / "00" / "01_last" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    assert sweep(project, "-g", "01_last.x=1,2").exit_code == 0
    assert manifest.stat().st_mtime_ns == before
    other = sweep(project, "-g", "01_last.x=1,3")
    assert other.exit_code == 2 and "a sweep of other values" in other.stderr


def test_runs_begin_as_copies(project: Project) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["run", "--run", "base"], obj=project).exit_code == 0
    first = project.root / "runs" / "base" / "00_first" / "manifest.json"
    kept = first.read_text()
    done = sweep(project, "-g", "01_last.x=1,2", "--like", "base")
    assert done.exit_code == 0, done.output
    for run in ("00", "01"):
        copy = project.root / "runs" / "s" / run / "00_first" / "manifest.json"
        assert copy.read_text() == kept  # not run again
    last = project.root / "runs" / "base" / "01_last" / "manifest.json"
    assert json.loads(last.read_text())["parameters"]["x"] == len("01_last")


def test_a_run_of_a_sweep_is_a_run(project: Project) -> None:
    assert sweep(project, "-g", "01_last.x=1,2").exit_code == 0
    done = CliRunner().invoke(app, ["status", "--run", "s/01"], obj=project)
    assert done.exit_code == 0 and "01_last   done" in done.output
    for name in ("s/t", "../s", "s/01/02"):
        done = CliRunner().invoke(app, ["status", "--run", name], obj=project)
        assert done.exit_code == 2


def test_a_run_is_no_sweep(project: Project) -> None:
    (project.root / "runs" / "s").mkdir(parents=True)
    done = sweep(project, "-g", "x=1")
    assert done.exit_code == 2 and "is not a sweep" in done.stderr


# --- what it found ---------------------------------------------------------------------


def test_a_metric_across_a_sweep(tmp_path: Path) -> None:
    parts = [
        tidy(estimates.as_records(one, "difference")).assign(run=f"s/0{at}", beta=beta)
        for at, beta in enumerate(("0.1", "0.3"))
        for one in [estimates.one_row("sft_dpo", Interval(at, at - 1, at + 1), "sft")]
    ]
    pd.concat(parts).to_parquet(tmp_path / "records.parquet")
    with pytest.raises(RunError, match="no finished sweep"):
        sweep_table.across(tmp_path, "difference", [("sft_dpo", "sft")])
    (tmp_path / "sweep.json").write_text(json.dumps({"s/00": {"beta": "0.1"}}))
    table = sweep_table.across(tmp_path, "difference", [("sft_dpo", "sft")])
    assert table["interval"].to_dict() == {
        ("0.1", "sft_dpo − sft"): Interval(0.0, -1.0, 1.0),
        ("0.3", "sft_dpo − sft"): Interval(1.0, 0.0, 2.0),
    }
    assert sweep_table.across(tmp_path, "difference", [("sft", "base")]).empty


def test_a_grid_needs_something_that_varies() -> None:
    with pytest.raises(ParameterError, match="expected what varies"):
        sweeps.parse_grid([])
