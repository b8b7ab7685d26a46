"""Run folders: keys, open stages, grids of jobs, and what is left of a broken run."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.config.parameters import ParameterError
from helpers.core.flops import aside
from helpers.core.manifests import read_manifest
from helpers.core.paths import HALF, PROGRESS, PROJECT, STAGES, Project, RunError
from helpers.core.progress import Line, Progress
from helpers.core.provenance import provenance
from helpers.core.records import COLUMNS, MEASURED
from helpers.recipes import online, reward_models
from helpers.runs import jobs, store
from helpers.runs.code_digests import (
    UnfollowedImport,
    reached_from_cells,
    reached_from_function,
)
from helpers.runs.keys import key_parts, named_folders
from helpers.runs.stage import Stage, open_stage
from helpers.runs.watch import progress
from tests.manifests import write_manifest
from tests.toys import HEADER, write_notebook

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


def test_a_stage_writes_nothing_outside_of_the_runs(project: Project) -> None:
    before = sorted(project.root.rglob("*"))
    for folder in (str(project.root / "x"), "../x", "runs/../x", "x", "runs/a\nb"):
        with pytest.raises(ParameterError, match="run_dir"):
            opened(project, "a", run_dir=folder)
    assert sorted(project.root.rglob("*")) == before


def test_a_long_text_is_no_folder(project: Project) -> None:
    """Of a text the key asks whether it is a folder of data: most are not."""
    text = f'note: str = "{"n" * 900}"  # a text\n'
    notebook = write_notebook(project.notebook("a"), HEADER + text)
    values = {"run_dir": "runs/cpu", "workers": 1, "note": "n" * 900}
    assert open_stage(notebook.stem, values, project).parts["data"] == {}


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
    assert manifest["results"].keys() == {"content", "seconds"}
    assert {"versions", "python", "platform", "cpu_count", "device"} <= set(manifest)
    reader = opened(project, "b")
    assert reader.records("a")["stage"].tolist() == ["a"]
    assert reader.parts["inputs"] == {"a": manifest["results"]}


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


FILES = {
    "a": """
from helpers import b
from helpers.c import LIMIT, unused
import numpy as np

def start(x):
    return b.middle(x) + np.pi

def other():
    return LIMIT
""",
    "b": """
import math

SCALE = 2.0
TABLE = {}
TABLE["x"] = 1

def middle(x):
    '''Docs.'''
    from helpers.d import end
    return end(x) * SCALE

def lonely():
    return TABLE
""",
    "c": "LIMIT = 3\n\ndef unused(): pass\n",
    "d": "def end(x):\n    return x\n",
}


@pytest.mark.parametrize(
    ("file", "old", "new", "noticed"),
    [
        ("d", "return x", "return -x", True),  # two calls away, imported when called
        ("b", "SCALE = 2.0", "SCALE = 3.0", True),
        ("b", "import math", "import math as np", False),  # nobody asks for it
        ("a", "import numpy as np", "import jax.numpy as np", True),
        ("b", "TABLE = {}", "TABLE = {1: 1}\nprint()", True),  # runs at import
        ("b", "return TABLE", "return {}", False),
        ("b", "Docs.", "Other docs.", False),
        ("b", "* SCALE", "*  SCALE  # as before", False),
        ("c", "LIMIT = 3", "LIMIT = 4", False),
    ],
)
def test_code_is_followed_name_by_name(
    tmp_path: Path, file: str, old: str, new: str, noticed: bool
) -> None:
    for name, source in FILES.items():
        (tmp_path / f"{name}.py").write_text(source)
    cells = ["from helpers.a import start", "start(1)"]
    before = reached_from_cells(cells, tmp_path)
    assert list(before) == ["a", "b", "d"]
    assert old in FILES[file]
    (tmp_path / f"{file}.py").write_text(FILES[file].replace(old, new))
    assert (reached_from_cells(cells, tmp_path) != before) == noticed


def test_what_cannot_be_told_apart_counts_whole(tmp_path: Path) -> None:
    for name, source in FILES.items():
        (tmp_path / f"{name}.py").write_text(source)

    def digests(cell: str) -> dict[str, str]:
        return reached_from_cells([cell], tmp_path)

    assert digests("import pandas") == {}
    assert digests("from helpers import c\nc.LIMIT").keys() == {"c"}
    # a module as a value may be asked for anything
    assert digests("from helpers import c\nprint(c)") != digests(
        "from helpers import c\nc.LIMIT"
    )
    assert digests("import helpers.c\nhelpers.c.LIMIT") == digests(
        "from helpers import c\nc.LIMIT"
    )
    # what a module passes on is followed to where it is made
    assert digests("from helpers.a import LIMIT\nLIMIT").keys() == {"a", "c"}


ROOMS = {
    "data/__init__.py": "",
    "data/hh.py": "from ..core import paths\n\ndef load():\n    return paths.ROOT\n",
    "data/code/__init__.py": "",
    "data/code/pairs.py": "from ..hh import load\nfrom . import edits\nedits.edit(load)\n",
    "data/code/edits.py": "def edit(x):\n    return x\n",
    "core/__init__.py": "",
    "core/paths.py": "ROOT = 1\n",
}


@pytest.mark.parametrize(
    "cell",
    [
        "from helpers.data.hh import load\nload()",
        "from helpers.data import hh\nhh.load()",
        "from helpers.data import hh as read\nread.load()",
        "from helpers import data\ndata.hh.load()",
        "import helpers.data.hh\nhelpers.data.hh.load()",
        "import helpers.data.hh as read\nread.load()",
        "from helpers.data.code import pairs\npairs",
    ],
)
def test_every_form_of_import_is_followed_into_rooms(tmp_path: Path, cell: str) -> None:
    for name, source in ROOMS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    before = reached_from_cells([cell], tmp_path)
    assert {"data.hh", "core.paths"} <= before.keys()
    (tmp_path / "core" / "paths.py").write_text("ROOT = 2\n")
    assert reached_from_cells([cell], tmp_path) != before
    (tmp_path / "core" / "paths.py").write_text("ROOT = 1\n")
    assert reached_from_cells([cell], tmp_path) == before
    # what a room itself runs is run by every import from it
    (tmp_path / "data" / "__init__.py").write_text("print()")
    assert reached_from_cells([cell], tmp_path) != before


@pytest.mark.parametrize(
    "cell",
    [
        "from helpers.core.path import ROOT",
        "from helpers.cores import paths",
        "import helpers.core.path",
        "from helpers import cores",
        "import helpers",
        "from helpers.core.paths import *",
        "def later():\n    from helpers.core.path import ROOT",
    ],
)
def test_an_import_that_leads_nowhere_is_refused(tmp_path: Path, cell: str) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "paths.py").write_text("ROOT = 1")
    assert reached_from_cells(["from helpers.core.paths import ROOT\nROOT"], tmp_path)
    with pytest.raises(UnfollowedImport):
        reached_from_cells([cell], tmp_path)


def test_jobs_of_the_package_know_their_code() -> None:
    reward, ppo = (
        reached_from_function(function, PROJECT.package)
        for function in (reward_models.reward_model, online.train)
    )
    asked = ("recipes.reward_models", "trainers.training", "models.prompt_sharing")
    assert set(asked) <= set(reward)
    assert "trainers.ppo.trainer" in ppo and "trainers.ppo.trainer" not in reward
    rooms = {module.split(".")[0] for module in ppo}
    assert not {"figures", "book", "analysis"} & rooms
    assert reached_from_function(double, PROJECT.package) == {}


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
    Progress("doubling")(1, 2)
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
    for metric in MEASURED:
        assert (records["metric"] == metric).sum() == 3
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
    assert sorted(path.name for path in stage.jobs_dir.iterdir()) == [
        "seed=0",
        "seed=1",
        "seed=2",
    ]


def test_jobs_of_other_settings_are_replaced(project: Project) -> None:
    old = opened(project, "a")
    old.run_jobs(double, GRID, factor=2)
    new = opened(project, "a", x=5.0)  # a function of the notebook counts with it
    with pytest.raises(RunError, match="no job with seed=2"):
        new.job("a", seed=2)
    assert set(new.run_jobs(double, GRID[1:], factor=3)["value"]) >= {3.0, 6.0}
    new.close()
    assert [path.name for path in sorted(new.jobs_dir.iterdir())] == [
        "method=m,seed=1",
        "method=m,seed=2",
    ]


def test_a_page_can_change_without_its_jobs(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.package.mkdir()
    source = "def work(out, *, seed, marks):\n    return []\n"
    (project.package / "work.py").write_text(source)
    monkeypatch.setattr(break_once, "__module__", "helpers.work")
    monkeypatch.setattr(break_once, "__name__", "work")

    def run(**values: object) -> Stage:
        stage = opened(project, "a", **values)
        stage.run_jobs(break_once, [{"seed": 0}], marks=tmp_path)
        stage.close()
        return stage

    def runs() -> int:
        return int((tmp_path / "0").read_text())

    first = run()
    given = read_manifest(first.run, "a", project)["results"]
    again = run(x=3.0)
    assert runs() == 1 and again.key != first.key
    # so what reads it has nothing new to read, not even another time
    assert read_manifest(first.run, "a", project)["results"] == given
    (project.package / "work.py").write_text(source.replace("[]", "list()"))
    run()
    assert runs() == 2
    after = read_manifest(first.run, "a", project)["results"]
    assert after["content"] == given["content"]


def test_settings_without_content_are_refused(project: Project) -> None:
    with pytest.raises(TypeError, match="object: cannot be told from another"):
        opened(project, "a").run_jobs(double, GRID, factor=object())


def work(out: Path, *, seed: int, seconds: float) -> list[dict]:
    """A job that computes for so long, in two threads, after it has slept; and holds."""
    held = np.ones(40 * 2**17)  # 40 MiB
    time.sleep(0.3)

    def compute() -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            hashlib.sha256(held[: 2**14]).digest()  # soon done, on any machine

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with aside():
        compute()
    return []


def test_a_job_s_processor_time_is_of_all_its_threads_and_of_no_sleep(tmp_path):
    jobs.stop_workers()  # so that it is measured in a process where nothing was before
    grid, call = [{"seed": 9}, {"seed": 0}], {"seconds": 0.2}
    found = jobs.run_grid(work, grid, tmp_path, stage="a", shared=call, workers=2)
    records = found[found["seed"] == 0].set_index("metric")["value"]
    assert 0.4 < records["cpu_seconds"] < 0.55  # what examines is not booked
    assert records["seconds"] > 0.3 + 0.4
    assert 35 < records["memory_above_idle_mib"] < 80 < records["peak_memory_mib"]


def hold(out: Path, *, seed: int, mib: int) -> list[dict]:
    """A job that fills so much memory, in small pieces, which a process keeps."""
    held = [bytearray(2**14) for _ in range(mib * 2**6)]
    time.sleep(0.2)
    return [{"metric": "pieces", "value": len(held)}]


def test_a_small_job_after_a_large_one_is_small(tmp_path) -> None:
    found = [
        jobs.run_grid(
            hold, [{"seed": mib}], tmp_path, stage="a", shared={"mib": mib}
        ).set_index("metric")["value"]["memory_above_idle_mib"]
        for mib in (1, 200, 2)
    ]
    assert found[1] - found[0] > 150
    assert found[2] - found[0] < 30


def test_parallel_equals_serial(tmp_path: Path) -> None:
    frames = [
        jobs.run_grid(
            double,
            GRID,
            tmp_path / str(workers),
            stage="a",
            workers=workers,
            shared={"factor": 2},
        ).query("metric not in @MEASURED")
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


def test_what_a_killed_job_left_is_removed(project: Project) -> None:
    stage = opened(project, "a")
    halves = [stage.jobs_dir / f"{HALF}{name}" for name in (jobs.slug(GRID[0]), "abc")]
    for half in halves:
        half.mkdir(parents=True)
        (half / "model.safetensors").write_bytes(b"half a model")
    stage.run_jobs(double, GRID[:1], factor=2)
    # the other may be of a grid that comes after this one, until the stage is done
    assert [half.exists() for half in halves] == [False, True]
    stage.close()
    (left,) = stage.jobs_dir.iterdir()
    assert left.name == jobs.slug(GRID[0])
    assert not (left / "model.safetensors").exists()


def telling(out: Path, *, seed: int, marks: Path) -> list[dict]:
    """A job that is at step 3 of 8 until both are."""
    Progress("training")(3 + seed, 8)
    (marks / str(seed)).touch()
    until = time.monotonic() + 120
    while len(list(marks.iterdir())) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    return []


def test_how_far_workers_are_is_told(tmp_path: Path) -> None:
    marks, stage = tmp_path / "marks", tmp_path / "a"
    marks.mkdir()
    line, found = Line("a", stage / PROGRESS), []
    stage.mkdir()

    def ask() -> None:
        until = time.monotonic() + 120
        while len(list(marks.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        found.append(progress(stage / PROGRESS))
        (marks / "asked").touch()

    asking = threading.Thread(target=ask)
    asking.start()
    grid, given = [{"seed": 0}, {"seed": 1}], {"marks": marks}
    place = stage / "jobs"
    jobs.run_grid(telling, grid, place, stage="a", workers=2, shared=given, line=line)
    asking.join()
    jobs.stop_workers()
    assert found == ["0/2 jobs, training 3/8, training 4/8, "]
    assert progress(stage / PROGRESS) == "2/2 jobs, "
    assert not list(place.rglob(PROGRESS))


def test_slugs_are_safe_and_distinct() -> None:
    assert jobs.slug({"init": "codepmp", "pairs": 1000, "seed": 0}) == (
        "init=codepmp,pairs=1000,seed=0"
    )
    slugs = {jobs.slug({"judge": name}) for name in ("a/b", "a_b", "a:b", "x" * 300)}
    assert len(slugs) == 4
    assert all(len(slug) < 140 and "/" not in slug for slug in slugs)


def test_line_tells_how_far(tmp_path: Path) -> None:
    line = Line("06_dpo", tmp_path / "progress.json")
    line.begin(total=6, done=3)
    line.step(40, 200, "training")
    assert line.text() == "06_dpo: 3/6 jobs, training 40/200, 0 s (3 already done)"
    line.one_done()
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 4


HELD = """
import time, numpy
from helpers.core.provenance import watched_memory
with watched_memory(interval=0.005) as small:
    time.sleep(0.03)
with watched_memory(interval=0.005) as large:
    held = numpy.ones(40 * 1024**2 // 8)  # 40 MiB, written to
    time.sleep(0.1)
    del held
print(small[0], large[0])
"""


def test_the_peak_of_memory_is_seen_while_it_is_held() -> None:
    # in a process of its own: one that ran other tests may hand out memory it kept
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, check=True)
    small, large = map(float, done.stdout.split())
    assert small > 10 and 30 < large - small < 50


def reads(out: Path, *, run: Path, seed: int) -> list[dict]:
    """A job that reads the pairs of 00."""
    return [{"metric": "pairs", "value": len(store.read_pairs(run, "train"))}]


def asks(out: Path, *, run: Path, seed: int) -> list[dict]:
    """A job that reads the manifest of 00."""
    return [{"metric": "seed", "value": read_manifest(run, "00_data")["seed"]}]


@pytest.mark.parametrize("function", [reads, asks])
def test_a_job_reads_the_inputs_of_its_stage_only(tmp_path: Path, function) -> None:
    (tmp_path / "00_data").mkdir()
    pairs = pd.DataFrame({"split": ["train"]})
    pairs.to_parquet(tmp_path / "00_data" / "pairs.parquet")
    write_manifest(tmp_path, "00_data", seed=1)
    call = {"grid": [{"seed": 0}], "folder": tmp_path, "shared": {"run": tmp_path}}
    found = jobs.run_grid(function, stage="05_sft", key="1", **call)
    assert found.set_index("metric")["value"].iloc[0] == 1
    with pytest.raises(
        jobs.JobError, match="job of 03_codepmp reads 00_data, which is"
    ):
        jobs.run_grid(function, stage="03_codepmp", key="2", **call)
    assert len(function(tmp_path, run=tmp_path, seed=0)) == 1  # outside of a job


def test_folders_in_a_list_are_data_too(project: Project) -> None:
    (project.root / "mine").mkdir()
    values = {"one": "mine", "several": ["a/hub", "mine"], "number": 3, "none": []}
    found = named_folders(project, values)
    assert found == dict.fromkeys(["one", "several 1"], project.root / "mine")
