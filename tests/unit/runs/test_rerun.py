"""The same run again, from what it wrote of itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.config.parameters import ParameterError
from helpers.core.paths import Project
from helpers.runs import rerun
from tests.toys import GRAPH, command, run


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    made = make_project(GRAPH)
    run(made, "01_b.x=7")
    return made


def manifest(project: Project) -> Path:
    return project.run("cpu") / "manifest.json"


def test_a_run_is_made_again_with_its_values(project: Project) -> None:
    about = rerun.read_run_manifest(manifest(project))
    values = rerun.values_again(project, about, "runs/again")
    assert list(values) == list(GRAPH)
    assert values["01_b"]["x"] == 7 and values["01_b"]["run_dir"] == "runs/again"
    assert rerun.differences(project, about, values) == []
    changed = rerun.values_again(project, about, "runs/again", ["02_c.x=3"])
    assert changed["02_c"]["x"] == 3


def test_what_has_changed_since_is_said(project: Project, tmp_path: Path) -> None:
    data = tmp_path / "pairs"
    data.mkdir()
    (data / "a").write_text("1")
    values = {"00_a": {"source": str(data), "sweep": str(data), "x": 1.0}}
    held = rerun.data_of(project, values)
    assert set(held) == {"00_a.source"} and held["00_a.source"]["name"] == "pairs"
    about = json.loads(manifest(project).read_text()) | {"data": held}
    first = about["stages"]["00_a"]
    first |= {"commit": "abc", "python": "3.1", "dirty": True}
    first["versions"] = {**first["versions"], "torch": "0.1", "extinct": "1"}
    about["stages"] = {"00_a": first}
    found = "\n".join(rerun.differences(project, about, values))
    assert "commit: was abc, is none" in found and "python: was 3.1, is" in found
    assert "torch: was 0.1" in found and "extinct: was 1, is none" in found
    assert "changes that no commit holds: then" in found and "differs" not in found
    (data / "a").write_text("2")
    assert rerun.changed_data(held, rerun.data_of(project, values)) == [
        "00_a.source: the content of pairs differs"
    ]
    assert rerun.changed_data(held, {}) == [
        "00_a.source: the folder pairs is not there"
    ]


def test_whether_it_gave_the_same_is_said(project: Project) -> None:
    about = rerun.read_run_manifest(manifest(project))
    same = rerun.outcome(about, project.run("cpu"))
    assert same == [f"{stage}: the same results" for stage in GRAPH]
    run(project, "01_b.x=7", "02_c.x=9")
    other = rerun.outcome(about, project.run("cpu"))
    assert "02_c: other results" in other and "01_b: the same results" in other


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"run": "a", "stages": {"00_a": 3}}']
)
def test_what_is_no_manifest_of_a_run_is_refused(project: Project, text: str) -> None:
    manifest(project).write_text(text)
    with pytest.raises(ParameterError, match=r"expected the manifest\.json of a run"):
        rerun.read_run_manifest(manifest(project))


def test_refused_in_one_line(project: Project) -> None:
    about = json.loads(manifest(project).read_text())
    for wrong in (
        {"09_z": about["stages"]["00_a"]},
        {"00_a": {"parameters": {"y": 1}}},
    ):
        manifest(project).write_text(json.dumps(about | {"stages": wrong}))
        done = command(project, "rerun", str(manifest(project)))
        assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.stderr
    done = command(project, "rerun", str(project.root / "none.json"))
    assert done.exit_code == 2 and "No such file" in done.stderr
