"""The pipeline on tiny notebooks: what is refused, what is stale, what a failure leaves."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from papermill.exceptions import PapermillExecutionError

from helpers.book import meanwhile
from helpers.config.parameters import ParameterError
from helpers.config.settings import all_values, select, stage_name
from helpers.core.manifests import manifest_file
from helpers.core.paths import PROJECT, STAGES, Project, RunError
from helpers.runs.pipeline import StageError, first_line, run_stages
from helpers.runs.staleness import changes, status
from tests.toys import GRAPH, command, run, said

MakeProject = Callable[..., Project]


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project(GRAPH)


# --- what is stale --------------------------------------------------------------------


def test_only_what_is_stale_runs(project: Project) -> None:
    assert run(project) == list(GRAPH)
    assert "00_a: runs (never run)" in said(project)
    assert run(project) == []
    assert "02_c: skipped" in said(project)
    assert run(project, "01_b.x=7") == ["01_b", "02_c"]
    assert "01_b: runs (parameter x changed)" in said(project)
    assert "02_c: runs (input 01_b changed)" in said(project)
    assert run(project, "01_b.x=7") == []
    assert run(project, "workers=2", "01_b.x=7") == []


def test_who_asks_is_told_what_is_done(project: Project) -> None:
    told: list[list[str]] = []

    def again(*given: str, only: tuple[str, ...] = ()) -> None:
        told.clear()
        selected = select(list(project.stages), only)
        values = all_values(project, selected, "runs/cpu", given=given)
        run_stages(project, project.run("cpu"), values, ended=told.append)

    again()
    stages = list(GRAPH)
    assert told == [stages[: count + 1] for count in range(len(stages))]
    again()
    assert told == []
    again("01_b.x=7", only=("01_b",))  # 02 is there, but stale; it is not asked for
    assert [sorted(done) for done in told] == [stages]
    again("01_b.x=8")
    assert told == [stages[:2], stages[:3]]  # the last is skipped


def test_pages_are_built_meanwhile_if_asked_for(project: Project, monkeypatch) -> None:
    (project.root / "builder.py").write_text("import sys; print(sys.argv[2:])")
    monkeypatch.setattr(meanwhile, "BUILDER", "builder")
    monkeypatch.setattr(meanwhile.EarlyBook, "close", lambda book: book.thread.join())
    assert "pages of" not in command(project, "run").stdout
    done = command(project, "run", "--pages", "-p", "01_b.x=7")
    assert done.exit_code == 0
    assert "pages of what is done: ['00_a', '01_b']" in done.stdout


def test_what_looks_wrong_is_said_once(make_project: MakeProject) -> None:
    rows = [
        {"metric": "flag_far_from_reference", "method": "ppo", "value": 99.0},
        {"metric": "seconds", "value": 1.0},
    ]
    project = make_project({"00_a": (), "01_b": ()}, **{"01_b": f"stage.add({rows})"})
    run(project)
    (line,) = [each for each in said(project).splitlines() if "flagged" in each]
    assert line.startswith("01_b: flagged: 1 of 1 jobs: its policy is far from its")
    run(project)  # nothing is stale
    assert "flagged" not in said(project)


def test_edited_helpers_count_where_they_are_reached(make_project: MakeProject) -> None:
    reads = "if False:\n    from helpers import near\n    near.x\nstage.add([])"
    project = make_project({"00_a": (), "01_b": ()}, **{"01_b": reads})
    project.package.mkdir()
    for name in ("near", "far", "lonely"):
        (project.package / f"{name}.py").write_text("")
    (project.package / "near.py").write_text("from helpers.far import x, y")
    assert run(project) == ["00_a", "01_b"]
    (project.package / "lonely.py").write_text("x = 1")
    assert run(project) == []
    (project.package / "far.py").write_text("x = 1")
    assert run(project) == ["01_b"]
    assert "01_b: runs (helpers/far.py changed)" in said(project)


def test_edited_code_and_lost_notebook_are_noticed(make_project: MakeProject) -> None:
    project = make_project({"00_a": ()})
    run(project)
    notebook = project.notebook("00_a")
    notebook.write_text(notebook.read_text().replace("stage.add", "1; stage.add"))
    assert run(project) == ["00_a"]
    assert "00_a: runs (its code changed)" in said(project)
    (project.run("cpu") / "notebooks" / "00_a.ipynb").unlink()
    assert run(project) == ["00_a"]
    assert "its executed notebook is not in the run" in said(project)


def test_another_version_of_a_library_is_said(make_project: MakeProject) -> None:
    project = make_project({"00_a": ()})
    run(project)
    assert status_of(project)[0][1] == "done"
    manifest = manifest_file(project.run("cpu"), "00_a")
    content = json.loads(manifest.read_text())
    own = content["versions"]["torch"]
    content["versions"] |= {"torch": "1.0", "numpy": "1.0"}
    manifest.write_text(json.dumps(content))
    assert status_of(project)[0][1] == f"done, with torch 1.0 (now {own})"
    assert run(project) == []


def test_changing_06_touches_08_and_09_only() -> None:
    stale = {"06_dpo"}
    for stage, inputs in STAGES.items():
        stale |= {stage} if stale & set(inputs) else set()
    assert stale == {"06_dpo", "08_evaluate", "09_compare"}


def test_changes_are_named() -> None:
    parts = {"parameters": {"x": 1}, "inputs": {}, "data": {}, "helpers": {}}
    old = {**parts, "parameters": {"y": 1, "workers": 4}, "notebook": "1"}
    assert changes(old, {**parts, "notebook": "1"}) == [
        "parameter x changed",
        "parameter y changed",
    ]


# --- failures -------------------------------------------------------------------------


def test_missing_input_is_said_before_anything_runs(project: Project) -> None:
    with pytest.raises(RunError, match="`prefbook run --run cpu --only 01_b`"):
        run(project, only=("00_a", "02_c"))
    assert not project.run("cpu").exists()


def test_a_stage_that_is_never_closed_has_failed(make_project: MakeProject) -> None:
    project = make_project({"00_a": ()}, **{"00_a": "raise SystemExit('early')"})
    notebook = project.notebook("00_a")
    closing = notebook.read_text().replace("raise SystemExit('early')", "")
    notebook.write_text(closing.replace("stage.close()", ""))
    with pytest.raises(StageError, match="00_a is not done"):
        run(project)


def test_a_failed_stage_in_a_real_kernel(make_project: MakeProject) -> None:
    work = f"import sys\nassert sys.executable == {sys.executable!r}\nprint('before')"
    project = make_project(
        {"00_a": (), "01_b": ("00_a",), "02_c": ()},
        **{"00_a": work, "01_b": "print('here')\nraise ValueError('too\\nmuch')"},
    )
    result = command(project, "run", "-p", "00_a.x=7")
    assert result.exit_code == 1
    kept = project.run("cpu") / "notebooks"
    assert result.stderr == (
        "prefbook: 01_b failed: ValueError: too; open runs/cpu/notebooks/01_b.ipynb\n"
    )
    assert "00_a: done in" in result.stdout and "02_c" not in result.stdout
    assert sorted(path.name for path in kept.iterdir()) == ["00_a.ipynb", "01_b.ipynb"]
    assert "here" in (kept / "01_b.ipynb").read_text()
    done = json.loads((kept / "00_a.ipynb").read_text())
    assert "before" in json.dumps(done["cells"][-1]["outputs"])
    assert done["cells"][1]["source"] == ["# Parameters\n", "x = 7.0\n"]
    assert str(project.root) not in json.dumps(done["metadata"])
    rows = {stage: state for stage, state, *_ in status_of(project)}
    assert rows == {"00_a": "done", "01_b": "not done", "02_c": "not done"}


def test_bad_data_in_a_kernel_are_named_in_one_line() -> None:
    said = "train.jsonl, line 3: not JSON; expected one object"
    error = PapermillExecutionError(0, 1, "source", "DataError", said, ["a", "trace"])
    assert first_line(error) == f"DataError: {said}"


def status_of(project: Project) -> list[tuple[str, str, str, str]]:
    """The rows of `prefbook status`."""
    return status(project, project.run("cpu"), project.stages)


@pytest.mark.parametrize("left", [b"\xff", b"not JSON", b"[]", b"{}", None])
def test_what_a_dead_kernel_leaves_hides_no_error(
    project: Project, left: bytes | None
) -> None:
    def dies(source: Path, out: Path, parameters: dict, cwd: Path) -> None:
        if left is not None:
            out.write_bytes(left)
        raise RuntimeError("the kernel died")

    values = all_values(project, ["00_a"], "runs/cpu")
    with pytest.raises(StageError, match="00_a failed: RuntimeError: the kernel died"):
        run_stages(project, project.run("cpu"), values, print, dies)
    assert not list((project.run("cpu") / "notebooks").iterdir())


# --- values ---------------------------------------------------------------------------


def test_later_values_win(project: Project, tmp_path: Path) -> None:
    project.tiers.mkdir()
    tier = "all: {x: 2, workers: 2}\n01_b: {x: 3}\n02_c: {x: 4.0}\n"
    (project.tiers / "smoke.yaml").write_text(tier)
    file = tmp_path / "more.yaml"
    file.write_text("02_c:\n  x: 5\n")

    def xs(*given: str, files: tuple[Path, ...] = (), tier: str = "smoke") -> list:
        values = all_values(project, list(GRAPH), "runs/r", tier, files, given)
        assert {each["run_dir"] for each in values.values()} == {"runs/r"}
        return [each["x"] for each in values.values()]

    assert xs(tier="cpu") == [4.0, 4.0, 4.0, 4.0]
    assert xs() == [2.0, 3.0, 4.0, 2.0]
    assert xs(files=(file,)) == [2.0, 3.0, 5.0, 2.0]
    assert xs("03_d.x=9", "x=6", files=(file,)) == [6.0, 6.0, 6.0, 9.0]
    (project.tiers / "next.yaml").write_text("extends: smoke\n01_b: {x: 7}\n")
    (project.tiers / "last.yaml").write_text("extends: next\n02_c: {x: 8}\n")
    assert xs(tier="next") == [2.0, 7.0, 4.0, 2.0]
    assert xs(tier="last") == [2.0, 7.0, 8.0, 2.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("extends: nothing", "tier nothing: not a tier; known: cpu, one, two"),
        ("extends: [one]", r"tier \['one'\]: not a tier"),
        ("extends: two", "extends: one: got a tier that extends itself"),
        ("extends: one", "extends: one: got a tier that extends itself"),
    ],
)
def test_what_a_tier_cannot_extend(project: Project, text: str, reason: str) -> None:
    project.tiers.mkdir()
    (project.tiers / "one.yaml").write_text(text)
    (project.tiers / "two.yaml").write_text("extends: one")
    with pytest.raises(ParameterError, match=reason):
        all_values(project, list(GRAPH), "runs/r", "one")


def test_only_a_tier_extends(project: Project, tmp_path: Path) -> None:
    (file := tmp_path / "mine.yaml").write_text("extends: smoke")
    with pytest.raises(ParameterError, match="mine.yaml: line 1: stage extends"):
        all_values(project, list(GRAPH), "runs/r", files=[file])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-p", "y=1"], "y: not a parameter there; known: run_dir, workers, x"),
        (["-p", "worker=1"], "did you mean workers?"),
        (["-p", "x=many"], "00_a: x: got 'many', expected float in (0, 100]"),
        (["-p", "x=0"], "00_a: x: got 0.0, expected float in (0, 100]"),
        (["-p", "workers=1.5"], "00_a: workers: got '1.5', expected int in [0, 8]"),
        (["-p", "x"], "-p x: got no `=`"),
        (["-p", "04_e.x=1"], "stage 04_e: not a stage"),
        (["-p", "b.x=1", "--only", "a"], "01_b is not among those to run"),
        (["-p", "run_dir=/tmp"], "use --run NAME"),
        (["--seeds", "2"], "seeds: not a parameter"),
        (["--only", "04"], "stage 04: not a stage"),
        (["--only", "a", "--from", "b"], "exclude each other"),
        (["--only", "c"], "02_c reads 01_b"),
        (["--tier", "hundred"], "tier hundred: not a tier; known: cpu"),
        (["--run", "../other"], "--run ../other: expected a name"),
        (["--run", "a\nb"], r"--run a\nb: expected a name"),
        (["--run", "x" * 300], "expected a name of at most 100"),
        (["-p", "x=" + "9" * 5000], "00_a: x: got '9999"),
        (["-p", "y" * 5000 + "=1"], "not a parameter there"),
        (["-f", "none.yaml"], "none.yaml: No such file"),
    ],
)
def test_refused(project: Project, arguments: list[str], reason: str) -> None:
    result = command(project, "run", *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""
    assert not (project.root / "runs").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("all: {x: 1e-3, workers: 1e-3}", "00_a: workers: got 0.001, expected int"),
        ("00_a: {x: yes}", "00_a: x: got 'yes', expected float"),
        ("00_a:\n  x: 5\n  x: 6", "values.yaml: line 3: the key 'x' comes twice"),
        ("00_a:\n  x: 010", "values.yaml: line 2: got '010', expected no leading zero"),
        (
            "00_a:\n  x: 1:30",
            "values.yaml: line 2: 00_a: x: got '1:30', expected float",
        ),
        ("00_a:\n  x: 2026-01-01", "line 2: 00_a: x: got '2026-01-01', expected float"),
        ("00_a: {x: !!float 5}", "line 1: the tag 'tag:yaml.org,2002:float'"),
        ("00_a: {x: '3'}", "00_a: x: got '3', expected float"),
        ("00_a: {x: 500}", "00_a: x: got 500, expected float in (0, 100]"),
        ("00_a: {xs: 5}", "00_a: xs: not a parameter there"),
        ("00_b: {x: 5}", "stage 00_b: not a stage"),
        ("00_a: 5", "00_a: got 5, expected name: value lines"),
        ("x: [", "line 1: "),
        ("- x", "sections `all:` or the name of a stage"),
        ("all: {run_dir: x}", "use --run NAME"),
    ],
)
def test_refused_files(project: Project, text: str, reason: str) -> None:
    file = project.root / "values.yaml"
    file.write_text(text)
    result = command(project, "run", "-f", str(file))
    assert result.exit_code == 2
    assert reason in result.stderr and result.stderr.count("\n") == 1
    assert not (project.root / "runs").exists()


def test_files_are_checked_for_stages_that_do_not_run(project: Project) -> None:
    file = project.root / "values.yaml"
    file.write_text("03_d: {x: -1}")
    with pytest.raises(ParameterError, match="values.yaml: line 1: 03_d: x: got -1"):
        all_values(project, ["00_a"], "runs/cpu", files=[file])


def test_stages_have_short_names() -> None:
    assert {stage_name(text, STAGES) for text in ("06_dpo", "06", "dpo")} == {"06_dpo"}
    assert select(list(STAGES), ["dpo", "00"]) == ["00_data", "06_dpo"]
    assert select(list(STAGES), start="09") == ["09_compare", "10_ppo_curves"]


@pytest.mark.parametrize("tier", ["cpu", "full", "smoke", "laptop", "t4", "h100"])
def test_every_tier_fits_the_notebooks(tier: str) -> None:
    values = all_values(PROJECT, list(STAGES), f"runs/{tier}", tier, planned=True)
    assert set(values) == set(STAGES)


# --- the other commands ---------------------------------------------------------------


def test_params_lists_all(project: Project) -> None:
    result = command(project, "params", "b")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["01_b"]
    assert lines[-1] == ["x", "float", "4.0", "a", "number;", "in", "(0,", "100]"]


def test_clean_removes_one_run(project: Project) -> None:
    assert "nothing to remove" in command(project, "clean").stdout
    for name in ("cpu", "other"):
        folder = project.run(name) / "book"
        folder.mkdir(parents=True)
        (folder / "index.html").write_text("")
    result = command(project, "clean")
    assert "removed runs/cpu: 1 files" in result.stdout
    assert project.run("other").exists() and not project.run("cpu").exists()


def test_build_without_a_run_says_what_to_do(project: Project) -> None:
    result = command(project, "build", "--run", "none")
    assert result.exit_code == 2
    assert "prefbook run --run none" in result.stderr
    assert not (project.root / "runs").exists()
