"""The ledger of claims: statuses from records, nothing without a backing."""

import json
import re
from contextlib import nullcontext

import pandas as pd
import pytest
from typer.testing import CliRunner

from helpers.analysis import answer, gate, run_notes
from helpers.analysis.opt350m_rates import CONTRASTS
from helpers.book import build, side_by_side
from helpers.cli import app
from helpers.core.paths import ROOT
from helpers.core.records import tidy
from helpers.data.opt350m_prompts import MODELS
from helpers.ledger import claims, claims_page
from helpers.ledger.checks import CHECKS, Evidence
from helpers.ledger.claims_page import decisions, status, tally
from helpers.ledger.entries import ClaimError, contrasts, read_ledger, read_reported
from helpers.ledger.rule import (
    CONSTRUCTED,
    EQUIVALENT,
    FAILS,
    HOLDS,
    OPEN,
    UNTESTED,
    Decision,
)
from helpers.runs import locks, staleness
from helpers.statistics import estimates
from helpers.statistics.intervals import Interval

LEDGER = read_ledger(ROOT / "book" / "claims.yml")
EVERY = [each for section in LEDGER.sections.values() for each in section]
SUBSETS = ("helpful", "harmless")


def estimate(
    value: float,
    method: str = "ppo (base)",
    opponent: str = "sft_dpo",
    metric: str = "difference",
    seeds: int = 3,
    subset: str = "helpful",
    error: float = 0.01,
) -> dict:
    """A record of an estimate, its interval two standard errors wide on each side."""
    own = Interval(value, value - 2 * error, value + 2 * error, error=error)
    table = estimates.one_row(method, own, opponent).assign(subset=subset)
    (row,) = estimates.as_records(table, metric)
    return {**row, "stage": "09_compare", "seeds": seeds, "n": 100}


def gated(low: float = 0.6, name: str = "judge") -> list[dict]:
    """What 09 records of a judge: whether it is better than chance and two rules."""
    rows = []
    for subset in SUBSETS:
        rows.append(estimate(low + 0.02, name, "", gate.RIGHT, subset=subset))
        for rule, metric in gate.BETTER.items():
            rows.append(estimate(low - 0.5, name, rule, metric, subset=subset))
    return rows


TRUTH = [estimate(1.0, "truth", "", gate.RIGHT, subset=each) for each in SUBSETS]


@pytest.fixture
def decided(tmp_path):
    """Decides a claim on some records: `decided(records, part, part, ..., field=...)`.

    `others` more claims of the same family are of what was not run.
    """

    def decide(rows, *parts, others=0, subsets=None, **fields) -> Decision:
        claim = {"claim": "c", "source": "here", "how": "h", "id": "own", "family": "f"}
        claim |= {"least": "reward", "records": list(parts), **fields}
        claim |= {"subsets": subsets} if subsets else {}
        absent = {"method": "grpo (base)", "opponent": "rloo (base)"}
        more = [
            claim | {"id": f"c{k}", "records": [{**parts[0], **absent}]}
            for k in range(others)
        ]
        book = {"families": {"f": "why"}, "least": {"reward": {"value": 0.1}}}
        book["least"]["factor"] = {"value": 1.25}
        book["sections"] = {"Section": [claim, *more]}
        (tmp_path / "book").mkdir(exist_ok=True)
        (tmp_path / "book" / "claims.yml").write_text(json.dumps(book))
        evidence = Evidence(tmp_path, {"09_compare": tidy(rows)})
        found = claims.decide(evidence, tmp_path)
        return found if subsets else found["own"]

    return decide


def part(method="ppo (base)", opponent="sft_dpo", **more) -> dict:
    own = {"stage": "09_compare", "metric": "difference", "subset": "helpful"}
    side = {} if "below" in more else {"above": 0}
    return {**own, "method": method, "opponent": opponent, **side, **more}


# --- claims on records -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "side", "expected"),
    [
        (2.0, {"above": 0}, HOLDS),
        (2.0, {"below": 0}, FAILS),
        (2.0, {"above": 1.5}, HOLDS),
        (2.0, {"above": 3.5}, FAILS),
        (-2.0, {"below": 0}, HOLDS),
        (-2.0, {"above": 0}, FAILS),
        (0.0, {"above": 0}, EQUIVALENT),
        (0.09, {"below": 0.1}, EQUIVALENT),
    ],
)
def test_an_interval_decides_a_claim_only_beyond_its_edge(
    decided, value, side, expected
):
    rows = [*TRUTH, estimate(value)]
    assert decided(rows, part(**side)).status == expected


def test_a_claim_on_several_differences_holds_if_all_do(decided):
    rows = [*TRUTH, estimate(2.0), estimate(0.0, "sft", "base", error=0.2)]
    rows += [estimate(-2.0, "dpo", "base")]
    up, null, down = part(), part("sft", "base"), part("dpo", "base")
    assert decided(rows, up, up).status == HOLDS
    assert decided(rows, up, null).status == OPEN
    assert decided(rows, up, null, down).status == FAILS
    missing = decided(rows, up, part("grpo (base)", "sft"))
    assert missing.status == UNTESTED
    assert missing.words == "not testable here: GRPO − SFT was not run"


def test_evidence_shows_the_interval_and_the_page_its_p(decided):
    found = decided([*TRUTH, estimate(2.0)], part())
    assert found.evidence == "PPO − SFT+DPO, helpful: 2.000 [1.980, 2.020]"
    assert status(found).startswith("**holds here**: PPO − SFT+DPO, helpful: 2")
    assert status(found).endswith("; p < 0.001 by Holm")


def test_claims_that_were_not_run_count_in_their_family(decided):
    close = {**estimate(0.5, error=0.2), "p": 0.02}
    assert decided([*TRUTH, close], part()).status == HOLDS
    assert decided([*TRUTH, close], part(), others=2).status == OPEN


@pytest.mark.parametrize("seeds", [1, 2, None])
def test_few_seeds_of_its_own_interval_decide_nothing(decided, seeds):
    rows = [*TRUTH, estimate(2.0, seeds=seeds)]
    found = decided(rows, part())
    assert found.status == OPEN and "seeds" in found.words
    assert decided([*TRUTH, estimate(2.0, seeds=3)], part()).status == HOLDS


def test_one_part_with_few_seeds_is_enough(decided):
    rows = [*TRUTH, estimate(2.0), estimate(2.0, "sft", "base", seeds=1)]
    found = decided(rows, part(), part("sft", "base"))
    assert found.words == "not decided: 1 of the 3 seeds that it takes"


@pytest.mark.parametrize(
    ("judges", "status", "says"),
    [
        (gated(0.6), HOLDS, ""),
        (TRUTH, HOLDS, ""),
        (gated(0.45), OPEN, "the judge fails its gate on helpful pairs"),
        ([], OPEN, "no judge was tested on helpful pairs"),
    ],
)
def test_a_judge_that_fails_its_gate_decides_nothing_on_replies(
    decided, judges, status, says
):
    found = decided([*judges, estimate(2.0)], part(), words={"holds": "PPO is better"})
    assert found.status == status and says in found.why
    assert (found.words == "PPO is better") == (status == HOLDS)
    # what was not decided for its judge's sake shows no number of the difference
    assert ("2.000" in found.evidence) == (status == HOLDS)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ((2.0, 1.2, 3.4), HOLDS),
        ((0.5, 0.3, 0.8), FAILS),
        ((1.02, 0.9, 1.15), EQUIVALENT),
        ((2.0, 0.8, 5.0), OPEN),
        ((3.0, 0.0, float("inf")), OPEN),
        ((float("inf"), 0.0, float("inf")), OPEN),
    ],
)
def test_a_factor_is_decided_by_its_logarithm(decided, ends, status):
    row = estimate(0.0, "codepmp", "", "label_factor", subset="both")
    row |= dict(zip(("value", "low", "high"), ends))
    own = {"stage": "09_compare", "metric": "label_factor", "method": "codepmp"}
    found = decided([row | {"seeds": 12}], own | {"above": 1}, least="factor")
    assert found.status == status


def test_claims_on_accuracy_need_no_judge(decided):
    rows = [estimate(2.0, "codepmp", "base", "gain")]
    assert decided(rows, part("codepmp", "base", metric="gain")).status == HOLDS


def test_a_claim_on_both_subsets_needs_the_gate_on_both(decided):
    rows = [*TRUTH[:1], estimate(2.0, subset="both")]
    found = decided(rows, part(subset="both"))
    assert found.status == OPEN and "harmless" in found.why


def test_curves_that_do_not_overlap_are_said_to(decided):
    row = dict.fromkeys(("estimate", "low", "high", "p"), float("nan"))
    row |= {**estimates.contrast("ppo (base)", "sft_dpo"), "interval": None}
    table = pd.DataFrame([{**row, "subset": "helpful"}])
    (nothing,) = estimates.as_records(table, "difference_at_equal_kl")
    nothing |= {"stage": "09_compare"}
    at_kl = part(metric="difference_at_equal_kl")
    found = decided([*TRUTH, nothing], at_kl)
    assert found.status == OPEN and "no KL lies between" in found.words
    assert decided(TRUTH, at_kl).status == UNTESTED


def test_a_claim_with_subsets_is_decided_on_each(decided):
    rows = [*TRUTH, estimate(2.0), estimate(-2.0, subset="harmless")]
    own = {key: value for key, value in part().items() if key != "subset"}
    words = {"holds": "PPO is better", "fails": "SFT+DPO is better"}
    found = decided(rows, own, subsets=list(SUBSETS), words=words)
    assert found["own_helpful"].status == HOLDS
    assert found["own_harmless"].status == FAILS
    said = claims.by_subset(found, "own")
    assert said == "helpful: PPO is better; harmless: SFT+DPO is better"
    same = decided([*TRUTH, rows[2], estimate(3.0, subset="harmless")], own,
                   subsets=list(SUBSETS), words=words)  # fmt: skip
    assert claims.by_subset(same, "own") == "PPO is better"
    with pytest.raises(KeyError, match="no claim is called 'other'"):
        claims.by_subset(found, "other")


def test_an_estimate_that_stands_twice_is_no_evidence(decided):
    twice = [estimate(2.0) | {"judge": each} for each in ("a", "b")]
    with pytest.raises(ClaimError, match="own: .*2 records"):
        decided([*TRUTH, *twice], part())
    assert decided([*TRUTH, *twice], part(judge="a")).status == HOLDS


# --- the ledger --------------------------------------------------------------------------


BASE = {"claim": "c", "source": "report", "how": "h"}
FAMILY = {"id": "own", "family": "f", "least": "reward"}


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (BASE, "expected one of records, check, test, untestable"),
        (BASE | {"check": "four_models", "untestable": "why"}, "expected one of"),
        (BASE | {"untestable": "why", "status": "holds"}, "no field is called"),
        ({"claim": "c", "how": "h", "untestable": "why"}, "lacks ['source']"),
        (BASE | {"records": [part()]}, "lacks ['family', 'id', 'least']"),
        (BASE | FAMILY | {"family": "g", "records": [part()]}, "no family 'g'"),
        (BASE | FAMILY | {"least": "g", "records": [part()]}, "no least 'g'"),
        (BASE | FAMILY | {"words": {"wins": ""}, "records": [part()]}, "'wins'"),
        (BASE | FAMILY | {"records": [part(below=0, above=0)]}, "`above` and `below`"),
        (
            BASE | FAMILY | {"records": [part(protocol="x")]},
            "no field is called 'protocol'",
        ),
        (BASE | FAMILY | {"records": [part("ppo")]}, ""),
        (BASE | FAMILY | {"records": [part("ppoo")]}, "no model is called 'ppoo'"),
        (BASE | FAMILY | {"records": [part("ppo", "dop")]}, "no model is called 'dop'"),
        (BASE | FAMILY | {"records": [part(metric="m")]}, "no estimate is called 'm'"),
    ],
)
def test_a_claim_that_is_no_claim_is_refused(tmp_path, claim, says):
    path = tmp_path / "claims.yml"
    book = {"families": {"f": "why"}, "least": {"reward": {"value": 0.1}}}
    path.write_text(json.dumps(book | {"sections": {"Section": [claim]}}))
    if not says:
        assert read_ledger(path).recorded()
        return
    with pytest.raises(ClaimError) as error:
        read_ledger(path)
    assert str(error.value).startswith("claims.yml: line 1: ")
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "got None, expected name: value lines"),
        ("- a", "got ['a'], expected name: value lines"),
        ("families: {}", "lacks ['sections']"),
        ("sections: []", "line 1: 'sections': got [], expected name: value lines"),
        ("sections: {A: {}}", "line 1: 'A': got {}, expected a list"),
        ("sections: {A: [5]}", "line 1: 'A': 1: got 5, expected name: value lines"),
        ("sections:\n  A:\n  - {}", "line 2: 'A': 1: lacks ['claim', 'source', 'how']"),
        ("rest: 1\nsections: {}", "no field is called 'rest'"),
        ("families: {f: 5}\nsections: {}", "line 1: 'f': got 5, expected a text"),
        ("families: {f: [g]}\nsections: {}", "line 1: 'f': got ['g'], expected a text"),
        ("least: {r: 5}\nsections: {}", "line 1: 'r': got 5, expected name: value"),
        ("least: {r: {value: x}}\nsections: {}", "'value': got 'x', expected a number"),
        ("least: {r: {value: true}}\nsections: {}", "got True, expected a number"),
        ("least: {r: {value: .nan}}\nsections: {}", "got nan, expected a number"),
        ("least: {r: {value: 0}}\nsections: {}", "'r': expected a value > 0"),
        ("a: &x 1\nb: *x", "line 1: an anchor or alias"),
        ("sections: {}\nsections: {}", "line 2: the key 'sections' comes twice"),
        ("sections: " + "[" * 3000, "at most 20 levels"),
        ("sections: \x00", "line 1: the control character"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused(tmp_path, text, says):
    path = tmp_path / "claims.yml"
    path.write_text(text)
    with pytest.raises(ClaimError) as error:
        read_ledger(path)
    assert "claims.yml: " in str(error.value) and says in str(error.value)
    assert str(error.value).isprintable()


RECORDS = BASE | FAMILY | {"records": [part()]}


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (BASE | {"claim": 5, "untestable": "why"}, "'claim': got 5, expected a text"),
        (BASE | {"how": "a\nb", "untestable": "why"}, "expected a text of one line"),
        (BASE | {"check": ["four_models"]}, "'check': got ['four_models']"),
        (BASE | {"test": "../../etc/passwd::x"}, "expected tests/FILE.py::NAME"),
        (RECORDS | {"id": 5}, "'id': got 5, expected a text"),
        (RECORDS | {"family": {}}, "'family': got {}, expected a text"),
        (RECORDS | {"records": []}, "'records': got [], expected a list"),
        (RECORDS | {"records": {}}, "'records': got {}, expected a list"),
        (RECORDS | {"records": ["ppo"]}, "got 'ppo', expected name: value lines"),
        (
            RECORDS | {"records": [part(above="0")]},
            "'above': got '0', expected a number",
        ),
        (
            RECORDS | {"records": [part(stage="11_none")]},
            "no stage is called '11_none'",
        ),
        (RECORDS | {"records": [part(subset="h")]}, "no subset is called 'h'"),
        (RECORDS | {"records": [part(["ppo"])]}, "'method': got ['ppo']"),
        (
            RECORDS | {"records": [part("codepmp", "", metric="label_factor")]},
            "got '', expected a text",
        ),
        (RECORDS | {"subsets": "helpful"}, "'subsets': got 'helpful', expected a list"),
        (RECORDS | {"words": {"holds": 5}}, "'holds': got 5, expected a text"),
        (RECORDS | {"words": ["it does"]}, "'words': got ['it does']"),
    ],
)
def test_a_claim_of_another_shape_is_refused(tmp_path, claim, says):
    path = tmp_path / "claims.yml"
    book = {"families": {"f": "why"}, "least": {"reward": {"value": 0.1}}}
    path.write_text(json.dumps(book | {"sections": {"Section": [claim]}}))
    with pytest.raises(ClaimError, match="^claims.yml: line 1: ") as error:
        read_ledger(path)
    assert says in str(error.value) and str(error.value).isprintable()


def test_the_edge_of_a_factor_has_a_logarithm(tmp_path):
    path = tmp_path / "claims.yml"
    own = {"stage": "09_compare", "metric": "label_factor", "method": "codepmp"}
    claim = BASE | FAMILY | {"records": [own | {"above": 0}]}
    book = {"families": {"f": "why"}, "least": {"reward": {"value": 0.1}}}
    path.write_text(json.dumps(book | {"sections": {"Section": [claim]}}))
    with pytest.raises(ClaimError, match="expected an edge above 0 for label_factor"):
        read_ledger(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1", "got {'a': 1}, expected a list"),
        ("- quantity: Q\n  reported: r", "1: lacks ['record']"),
        ("- quantity: Q\n  reported: 0.7\n  record: {}", "line 2: 'reported': got 0.7"),
        (
            "- quantity: Q\n  reported: r\n  record: {metric: m, method: sft}",
            "line 1: 'Q': no estimate is called 'm'",
        ),
    ],
)
def test_reported_numbers_of_another_shape_are_refused(tmp_path, text, says):
    path = tmp_path / "reported.yml"
    path.write_text(text)
    with pytest.raises(ClaimError, match="reported.yml: ") as error:
        read_reported(path)
    assert says in str(error.value)


def test_a_ledger_that_is_none_ends_the_build_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "claims.yml"
    path.write_text("sections: 5")
    monkeypatch.setattr(build, "finished", lambda run, stage: {})
    monkeypatch.setattr(build, "stage_tree", lambda *_: read_ledger(path))
    monkeypatch.setattr(locks, "held", lambda *_: nullcontext())
    for name in ("check_there", "check_fresh"):  # as if there were a run
        monkeypatch.setattr(staleness, name, lambda *_: None)
    done = CliRunner().invoke(app, ["build"])
    said = (
        "prefbook: claims.yml: line 1: 'sections': got 5, expected name: value lines\n"
    )
    assert (done.exit_code, done.stderr) == (1, said)


def test_two_claims_with_one_id_are_refused(tmp_path):
    path = tmp_path / "claims.yml"
    claim = BASE | FAMILY | {"records": [part()]}
    book = {"families": {"f": "why"}, "least": {"reward": {"value": 0.1}}}
    path.write_text(json.dumps(book | {"sections": {"Section": [claim, claim]}}))
    with pytest.raises(ClaimError, match="several claims have the id 'own'"):
        read_ledger(path)


@pytest.mark.parametrize(
    ("backing", "says"),
    [
        ({"check": "four_modells"}, "no check 'four_modells'"),
        ({"test": "tests/unit/ledger/test_claims.py::test_of_nothing"}, "no test"),
        ({"test": "tests/unit/test_nothing.py::test_of_nothing"}, "no test"),
    ],
)
def test_a_status_that_nothing_backs_is_refused(tmp_path, backing, says):
    with pytest.raises(ClaimError, match=says):
        claims.judge(BASE | backing, {}, Evidence(tmp_path), ROOT)


def test_a_claim_in_the_page_is_named_by_section_and_number(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "decide", lambda *_: {})
    wrong = {"Section": [BASE | {"untestable": "why"}, BASE | {"check": "none"}]}
    ledger = LEDGER.__class__({}, {}, wrong)
    with pytest.raises(ClaimError, match="Section, 2: no check 'none'"):
        decisions(ledger, Evidence(tmp_path), ROOT)


def test_every_check_and_family_of_the_ledger_is_used():
    backed = {claim["check"] for claim in EVERY if "check" in claim}
    assert backed == CHECKS.keys()
    recorded = LEDGER.recorded()
    assert {each["family"] for each in recorded} == LEDGER.families.keys()
    assert {each["least"] for each in recorded} == LEDGER.least.keys()
    assert all(each["why"] for each in LEDGER.least.values())


def test_a_family_is_small_enough_for_the_least_p_to_decide():
    """Recorded p-values end at 0.001: Holm in 50 claims would never decide any."""
    sizes = pd.Series([each["family"] for each in LEDGER.recorded()]).value_counts()
    assert sizes.max() * 0.001 < 0.05


@pytest.fixture
def everything(tmp_path):
    """Evidence of a run that has all that the ledger asks for, and all as claimed."""
    rows = [{**each, "stage": "09_compare"} for each in TRUTH]
    asked = [each for claim in LEDGER.recorded() for each in claim["records"]]
    for record in {repr(each): each for each in asked}.values():
        sides = record["method"], record.get("opponent", ""), record["metric"]
        value = record["above"] + 2 if "above" in record else record["below"] - 2
        row = estimate(value, *sides, subset=record.get("subset", "both"))
        rows.append({**row, "stage": record["stage"]})
    found = tidy(rows)
    parts = {stage: own for stage, own in found.groupby("stage")}
    return Evidence(tmp_path, parts)


def test_the_whole_ledger_is_decided_where_everything_was_run(everything, monkeypatch):
    found = claims.decide(everything)
    assert {each.status for each in found.values()} == {HOLDS}
    asked = {*answer.VERDICTS.values(), *(claim for _, claim in side_by_side.SAID)}
    for name in asked:  # what other pages say of it
        assert "not" not in claims.by_subset(found, name)
    about = {"source": "real", "models": "small"}
    monkeypatch.setattr(run_notes, "setting", lambda _: about)
    monkeypatch.setattr(claims_page, "Evidence", lambda _: everything)
    monkeypatch.setattr(claims, "from_test", lambda *_: Decision(FAILS, "x"))
    checked = {name: lambda _: Decision(CONSTRUCTED, "y") for name in CHECKS}
    monkeypatch.setattr(claims, "CHECKS", checked)
    page = claims_page.claims_page(everything.run, ROOT)
    counts = page.partition("In all: ")[2].partition(".")[0]
    recorded, tests = len(found), sum("test" in each for each in EVERY)
    untested = sum("untestable" in each for each in EVERY)
    assert f"{recorded} {HOLDS}" in counts and f"{tests} {FAILS}" in counts
    assert f"{untested} {UNTESTED}" in counts and CONSTRUCTED not in counts
    assert page.count(f"**{CONSTRUCTED}**: y") == len(CHECKS)
    for name, why in LEDGER.families.items():
        assert f"| {name}" in page and why in page
    assert len(re.findall(r" by Holm +\|", page)) == recorded
    assert "{subset}" not in page


def test_better_than_every_other_model_is_compared_with_every_other_model():
    (claim,) = [each for each in EVERY if each.get("id") == "study_best"]
    found = {(each["opponent"], each["subset"]) for each in claim["records"]}
    others = set(MODELS) - {"sft_dpo_lora"}
    assert found == {(each, subset) for each in others for subset in SUBSETS}
    assert {("sft_dpo_lora", each) for each in others} <= set(CONTRASTS)


def test_claims_that_compare_methods_use_equal_kl_too():
    """As trained only: against SFT itself, and where both are equally far from it."""
    trained, equal = (
        set(contrasts(each)) for each in ("difference", "difference_at_equal_kl")
    )
    apart = {each for each in trained - equal if each[1] != "sft"}
    assert apart == {("best_of_n (codepmp)", "best_of_n (base)")}


def test_every_source_is_in_the_references():
    known = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    sources = {claim["source"] for claim in EVERY} - {"here"}
    assert all(f"{{{source}," in known for source in sources)


def test_the_report_has_thirteen_claims():
    (title,) = [each for each in LEDGER.sections if "seed report" in each]
    assert len(LEDGER.sections[title]) == 13


def test_what_is_by_construction_is_in_no_tally():
    found = {"a": Decision(HOLDS), "b": Decision(CONSTRUCTED), "c": Decision(HOLDS)}
    assert tally(found) == "2 holds here"


def test_another_run_is_quoted_only_where_this_one_cannot_test() -> None:
    said = "in the full run of 2026-01-02, commit abc: **holds here**, 0.1"
    untested = Decision(UNTESTED, "rloo − ppo was not run")
    shown = f"**{UNTESTED}**: rloo − ppo was not run"
    assert claims_page.status(untested) == shown
    assert claims_page.status(untested, said) == f"{shown}; {said}"
    assert said not in claims_page.status(Decision(OPEN, "2 seeds"), said)
