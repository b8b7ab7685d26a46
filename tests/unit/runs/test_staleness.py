"""What is damaged is as good as not there: it is said, and made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.core.paths import HALF, SITTING, Project, RunError
from helpers.runs.staleness import check_fresh, kept, status
from tests.toys import command, run, said

WORK = """
def job(out, seed):
    (out / "weights.bin").write_bytes(bytes([seed]) * 200)
    return [{"metric": "x", "value": seed}]
stage.run_jobs(job, [{"seed": 0}, {"seed": 1}])
(stage.dir / "pairs.txt").write_text("pairs")
"""
STAGE = Path("00_a")
JOBS = STAGE / "jobs"


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    made = make_project({"00_a": (), "01_b": ("00_a",)}, **{"00_a": WORK})
    assert run(made) == ["00_a", "01_b"]
    return made


def state(project: Project, stage: str = "00_a") -> str:
    """How a stage stands."""
    (row,) = status(project, project.run("cpu"), [stage])
    return row[1]


def flip(path: Path) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def says(text: str) -> Callable[[Path], None]:
    """Replaces a file by a text."""
    return lambda path: path.write_text(text)


def cut(path: Path) -> None:
    """Lose the second half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = [
    (JOBS / "seed=0" / "weights.bin", flip, "jobs/seed=0/weights.bin is damaged"),
    (JOBS / "seed=1" / "weights.bin", remove, "jobs/seed=1/weights.bin is missing"),
    (JOBS, remove, "and 3 more"),
    (JOBS / "seed=0" / "job.json", says("[]"), "jobs/seed=0/job.json is damaged"),
    (JOBS / "seed=0" / "records.parquet", cut, "seed=0/records.parquet is damaged"),
    (STAGE / "pairs.txt", remove, "pairs.txt is missing"),
    (STAGE / "records.parquet", says(""), "records.parquet is damaged"),
    (STAGE / "manifest.json", cut, "00_a/manifest.json is damaged: it is not JSON"),
    (STAGE / "manifest.json", says(""), "00_a/manifest.json is damaged"),
    (STAGE / "manifest.json", says("[]"), "it is no JSON object"),
    (STAGE / "manifest.json", says("{}"), "it has no stage"),
    (Path("notebooks/00_a.ipynb"), cut, "notebooks/00_a.ipynb is damaged"),
    (Path("notebooks/00_a.ipynb"), says("{}"), "it has no metadata"),
    (Path("notebooks/00_a.ipynb"), remove, "notebook is not in the run"),
]


@pytest.mark.parametrize(("place", "harm", "words"), DAMAGE)
def test_damage_is_named_and_mended(
    project: Project, place: Path, harm: Callable[[Path], None], words: str
) -> None:
    folder = project.run("cpu")
    before = (folder / STAGE / "pairs.txt").read_text()
    harm(folder / place)
    assert state(project).startswith("stale: ") and words in state(project)
    with pytest.raises(RunError, match=r"00_a \(stale"):
        check_fresh(project, folder)
    assert run(project)[0] == "00_a"
    assert words in said(project)
    assert state(project) == "done" and run(project) == []
    assert (folder / STAGE / "pairs.txt").read_text() == before


def test_a_bit_that_flips_in_a_notebook_s_output_is_noticed(project: Project) -> None:
    path = project.run("cpu") / "notebooks" / "00_a.ipynb"
    path.write_text(path.read_text().replace("pairs.txt", "pairs.txs"))
    assert "notebooks/00_a.ipynb is damaged: it is not as it was executed" in state(
        project
    )


def test_only_the_job_that_is_damaged_is_done_again(project: Project) -> None:
    folder = project.run("cpu") / JOBS
    times = {
        n: (folder / n / "job.json").stat().st_mtime_ns for n in ("seed=0", "seed=1")
    }
    flip(folder / "seed=0" / "weights.bin")
    run(project)
    now = {n: (folder / n / "job.json").stat().st_mtime_ns for n in times}
    assert now["seed=0"] != times["seed=0"] and now["seed=1"] == times["seed=1"]


PARTS = """
def job(out, part):
    return [{"metric": "x", "value": part}]
stage.run_jobs(job, [{"part": 0}])
stage.job(stage.name, part=0)
stage.run_jobs(job, [{"part": 1}])
"""


def test_a_damaged_job_of_a_later_grid_is_in_nobody_s_way(
    make_project: Callable[..., Project],
) -> None:
    """The stage looks at what it has so far before it comes to the damaged one."""
    made = make_project({"00_a": ()}, **{"00_a": PARTS})
    run(made)
    (made.run("cpu") / JOBS / "part=1" / "job.json").write_text("[]")
    assert "part=1/job.json is damaged" in state(made)
    assert run(made) == ["00_a"] and state(made) == "done"


def test_an_input_that_is_damaged_is_not_read(project: Project) -> None:
    flip(project.run("cpu") / STAGE / "pairs.txt")
    with pytest.raises(RunError) as refused:
        run(project, only=("01_b",))
    words = "01_b reads 00_a, of which pairs.txt is damaged: `prefbook run --run cpu "
    assert words + "--only 00_a`" in str(refused.value)
    assert state(project, "01_b") == "done"  # for itself
    (project.run("cpu") / STAGE / "manifest.json").write_text("[]")
    assert state(project, "01_b").startswith("stale: input 00_a/manifest.json is dam")


def test_a_stale_run_is_not_built_unless_told_so(project: Project) -> None:
    folder = project.run("cpu")
    check_fresh(project, folder)
    run(project, "00_a.x=7", only=("00_a",))
    with pytest.raises(RunError, match=r"01_b \(stale: input 00_a changed\)"):
        check_fresh(project, folder)
    check_fresh(project, folder, allowed=True)
    for name in ("build", "record", "push"):
        done = command(project, name)
        assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "run cpu: 01_b (stale" in done.stderr and "--stale" in done.stderr


def test_what_is_kept_of_a_broken_run_is_said(project: Project) -> None:
    folder = project.run("cpu")
    assert kept(project, folder).startswith("runs/cpu keeps 2 finished stages; the")
    (folder / "00_a" / "manifest.json").unlink()
    words = "runs/cpu keeps 1 finished stages and 2 finished jobs of 00_a; the"
    assert kept(project, folder).startswith(words)
    half = folder / "00_a" / "jobs" / f"{HALF}seed=7"
    half.mkdir()
    assert kept(project, folder).startswith(words)
    (half / SITTING).touch()
    words = "runs/cpu keeps 1 finished stages and 2 finished jobs and 1 checkpoints of"
    assert kept(project, folder).startswith(words)


def test_a_manifest_is_one_of_its_stage(project: Project) -> None:
    content = json.loads((project.run("cpu") / STAGE / "manifest.json").read_text())
    assert set(content["files"]) >= {"pairs.txt", "records.parquet"}
    assert "manifest.json" not in content["files"]
