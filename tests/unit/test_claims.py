"""The ledger of claims: statuses from intervals, nothing without a backing."""

import pandas as pd
import pytest
import yaml

from helpers import checks, claims, compare
from helpers.checks import FAILS, HOLDS, OPEN, UNTESTED, Evidence
from helpers.claims import ClaimError
from helpers.project import ROOT
from helpers.records import tidy, write_records
from helpers.stats import Interval

LEDGER = claims.read_claims(ROOT / "book" / "claims.yml")
EVERY = [each for section in LEDGER.values() for each in section]


@pytest.fixture
def evidence(tmp_path):
    """Evidence of a run that found one gain, one loss and one null result."""
    found = {"up": (2, 1, 3), "down": (-2, -3, -1), "null": (0.5, -1, 2)}
    tables = [compare.one_row(name, Interval(*each)) for name, each in found.items()]
    rows = compare.as_records(pd.concat(tables), "difference")
    (tmp_path / "09_compare").mkdir()
    frame = tidy(rows).assign(stage="09_compare")
    write_records(frame, tmp_path / "09_compare" / "records.parquet")
    return Evidence(tmp_path)


def status(evidence, *wanted: dict) -> str:
    common = {"stage": "09_compare", "metric": "difference"}
    return claims.from_records([{**common, **each} for each in wanted], evidence).status


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        ("up", {"above": 0}, HOLDS),
        ("up", {"below": 0}, FAILS),
        ("up", {"above": 1.5}, OPEN),
        ("up", {"above": 3.5}, FAILS),
        ("down", {"below": 0}, HOLDS),
        ("down", {"above": 0}, FAILS),
        ("null", {"above": 0}, OPEN),
        ("null", {"below": 0}, OPEN),
        ("not run", {"above": 0}, UNTESTED),
    ],
)
def test_an_interval_decides_a_claim_only_beyond_its_edge(
    evidence, name, side, expected
):
    assert status(evidence, {"name": name, **side}) == expected


def test_a_claim_on_several_differences_holds_if_all_do(evidence):
    up, null = {"name": "up", "above": 0}, {"name": "null", "above": 0}
    down = {"name": "down", "above": 0}
    assert status(evidence, up, up) == HOLDS
    assert status(evidence, up, null) == OPEN
    assert status(evidence, up, null, down) == FAILS
    assert status(evidence, up, {"name": "not run", "above": 0}) == UNTESTED


def test_evidence_shows_the_interval(evidence):
    wanted = {"stage": "09_compare", "metric": "difference", "name": "up", "above": 0}
    assert (
        claims.from_records([wanted], evidence).evidence == "up: 2.000 [1.000, 3.000]"
    )


def test_few_seeds_decide_nothing(evidence, monkeypatch):
    wanted = {"stage": "09_compare", "metric": "difference", "name": "up", "above": 0}
    for seeds, expected in ((1, OPEN), (3, HOLDS)):
        manifest = {"parameters": {"seeds": seeds}}
        monkeypatch.setattr(checks, "read_manifest", lambda *_, it=manifest: it)
        assert claims.judge({"records": [wanted]}, evidence, ROOT).status == expected


BASE = {"claim": "c", "source": "report", "how": "h"}


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (BASE, "expected one of records, check, test, untestable"),
        (BASE | {"check": "four_models", "untestable": "why"}, "expected one of"),
        (BASE | {"untestable": "why", "status": "holds"}, "no field is called"),
        ({"claim": "c", "how": "h", "untestable": "why"}, "lacks ['source']"),
    ],
)
def test_a_claim_without_one_backing_is_refused(tmp_path, claim, says):
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump({"Section": [claim]}))
    with pytest.raises(ClaimError) as error:
        claims.read_claims(path)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("backing", "says"),
    [
        ({"check": "four_modells"}, "no check 'four_modells'"),
        ({"test": "tests/unit/test_claims.py::test_of_nothing"}, "no test"),
        ({"test": "tests/unit/test_nothing.py::test_of_nothing"}, "no test"),
        ({"records": [{"stage": "09_compare", "metric": "m", "name": "n"}]}, "above"),
    ],
)
def test_a_status_that_nothing_backs_is_refused(evidence, backing, says):
    with pytest.raises(ClaimError, match=says):
        claims.judge(BASE | backing, evidence, ROOT)


def test_every_test_and_check_of_the_ledger_exists():
    for claim in EVERY:
        if "test" in claim:
            assert claims.from_test(claim["test"], ROOT).status == HOLDS
        assert claim.get("check", "four_models") in claims.CHECKS
    backed = {claim["check"] for claim in EVERY if "check" in claim}
    assert backed == claims.CHECKS.keys()


def test_every_source_is_in_the_references():
    known = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert all(f"{{{claim['source']}," in known for claim in EVERY)


def test_the_report_has_thirteen_claims():
    assert len(next(iter(LEDGER.values()))) == 13
