"""Names of runs: two runs never share one, and the hub and any disk take each."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.core.paths import whole_name
from helpers.publish.hub_rules import check_repository

RUNS = Path("/project/runs")
# runs that a careless rule gives one name, on the hub, on a disk or after a cut
ALIKE = [
    "a/1",
    "a-1",
    "a.1",
    "a_1",
    "a/01",
    "a-01",
    "A-1",
    "A/1",
    "a--1",
    "a..1",
    "a-1-",
    "1",
    "runs/1",
    "runs-1",
    "ä",
    "ö",
    "_",
    "a+1",
    "x" * 60,
    "x" * 61,
    "x" * 62,
    "x" * 200,
    "x.git",
    "x.ipynb",
]


def name(run: str) -> str:
    return whole_name(RUNS / run)


def test_no_two_runs_share_a_name() -> None:
    names = [name(run).lower() for run in ALIKE]
    again = [name(each) for each in names]  # nor with a run that is called so
    assert len(set(names)) == len(ALIKE)
    made = {each for each, run in zip(names, ALIKE) if each != run}
    assert made.isdisjoint(each for each, old in zip(again, names) if old in made)


@pytest.mark.parametrize("run", ["cpu", "real", "test-smoke", "opt.350m", "a_b-1", "7"])
def test_a_plain_name_stays(run: str) -> None:
    assert name(run) == run


def test_a_run_of_a_sweep_can_be_told() -> None:
    assert name("beta/00").startswith("beta-00-x")


@given(st.from_regex(r"\w[\w.-]*(/\d+)?", fullmatch=True))
def test_the_hub_takes_every_name(run: str) -> None:
    for model in ("rm-codepmp", "ppo-codepmp", "code-pairs"):
        check_repository(f"someone/prefbook-{name(run)}-{model}")
