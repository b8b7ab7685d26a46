"""The ledger of claims: what is asked or said, how this project tests it, what came out.

`book/claims.yml` lists the claims. Each names one thing that backs its status: records
of the comparison, one of `checks`, a test, or the reason why nothing here can
test it. Claims on records are decided family by family, by the rule of `verdicts`; a
claim that nothing backs fails the build.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path

import pandas as pd
import yaml

from helpers import compare, verdicts
from helpers.checks import CHECKS, Evidence
from helpers.methods import check_names, names
from helpers.named_tests import NoTestError, from_test
from helpers.project import ROOT
from helpers.report import cell
from helpers.verdicts import OPEN, SEEDS, UNTESTED, Case, Decision, Part

BACKINGS = ("records", "check", "test", "untestable")  # a claim has one of these
NEEDED = {"claim", "source", "how"}
RECORDED = {"id", "family", "least"}  # what a claim on records has besides
FIELDS = {*NEEDED, *RECORDED, *BACKINGS, "on", "words"}
RECORD = {"stage", "metric", "method", "opponent", "subset", "judge", "above", "below"}
JUDGED = {  # estimates on replies: of no use where their judge is not
    "difference",
    "difference_at_equal_kl",
    "win_rate",
    "variant",
    "study_difference",
}
NULL = {"label_factor": 1.0}  # what the p of a record is of, elsewhere 0


class ClaimError(ValueError):
    """A claim that cannot be judged: says which, and what was expected."""


@dataclass(frozen=True)
class Ledger:
    """The claims by section, their families, and the smallest effects of interest.

    families: what holds each together; least: value and why, by name.
    """

    families: dict[str, str]
    least: dict[str, dict]
    sections: dict[str, list[dict]]

    def recorded(self) -> list[dict]:
        """The claims that records decide."""
        every = (claim for claims in self.sections.values() for claim in claims)
        return [claim for claim in every if "records" in claim]


# --- the ledger ------------------------------------------------------------------------


def read_ledger(path: Path) -> Ledger:
    """The ledger of a file, each claim with `on` as one of every subset.

    Raises ClaimError, naming the claim, for one that lacks a field or its backing, has
    an unknown one, or an id that another has.
    """
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    families, least = given.get("families", {}), given.get("least", {})
    sections = {
        title: [each for claim in claims for each in spread(claim)]
        for title, claims in given["sections"].items()
    }
    ledger = Ledger(families, least, sections)
    for claim in (each for claims in sections.values() for each in claims):
        if wrong := fault(claim, ledger):
            where = f"{path.name}: {str(claim.get('claim', claim))[:60]!r}"
            raise ClaimError(f"{where}: {wrong}")
    ids = [claim["id"] for claim in ledger.recorded()]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise ClaimError(f"{path.name}: several claims have the id {twice[0]!r}")
    return ledger


def read_claims(path: Path) -> dict[str, list[dict]]:
    """The claims by section, as `read_ledger`."""
    return read_ledger(path).sections


def spread(claim: dict) -> list[dict]:
    """A claim with `on` as claims of one subset each; another as it is."""
    if "on" not in claim or "records" not in claim:
        return [claim]
    common = {key: value for key, value in claim.items() if key != "on"}
    return [
        common
        | {
            "claim": str(claim.get("claim")).replace("{subset}", subset),
            "id": f"{claim.get('id')}_{subset}",
            "records": [{"subset": subset, **each} for each in claim["records"]],
        }
        for subset in claim["on"]
    ]


def fault(claim: dict, ledger: Ledger) -> str:
    """What is wrong with a claim, in words; "" if nothing is."""
    backed = [name for name in BACKINGS if name in claim]
    if len(backed) != 1:
        return f"got {backed}, expected one of {', '.join(BACKINGS)}"
    if unknown := claim.keys() - FIELDS:
        return f"no field is called {sorted(unknown)}"
    needed = NEEDED | (RECORDED if backed == ["records"] else set())
    if missing := needed - claim.keys():
        return f"lacks {sorted(missing)}"
    if backed != ["records"]:
        return ""
    for key, known in (("family", ledger.families), ("least", ledger.least)):
        if claim[key] not in known:
            return f"no {key} {claim[key]!r}; known: {', '.join(known)}"
    if unknown := claim.get("words", {}).keys() - verdicts.KEYS.keys():
        return f"no verdict is called {sorted(unknown)}: {', '.join(verdicts.KEYS)}"
    return next(filter(None, map(record_fault, claim["records"])), "")


def record_fault(record: dict) -> str:
    """What is wrong with a record that a claim asks for, in words; "" if nothing is."""
    if unknown := record.keys() - RECORD:
        return f"a record has no field {sorted(unknown)}"
    if missing := {"stage", "metric", "method"} - record.keys():
        return f"a record lacks {sorted(missing)}"
    if ("above" in record) == ("below" in record):
        return "expected one of `above` and `below`"
    try:
        check_names(list(compare.ESTIMATES), "estimate", record["metric"])
        sides = [record["method"], record.get("opponent", "")]
        check_names(sorted(names()), "model", *filter(None, sides))
    except KeyError as error:
        return str(error.args[0])
    return ""


def contrasts(metric: str, root: Path = ROOT) -> list[tuple[str, str]]:
    """The contrasts of a metric that the ledger asks for: what a stage has to compute."""
    ledger = read_ledger(root / "book" / "claims.yml")
    asked = [
        (record["method"], record.get("opponent", ""))
        for claim in ledger.recorded()
        for record in claim["records"]
        if record["metric"] == metric
    ]
    return list(dict.fromkeys(asked))


# --- claims on records -----------------------------------------------------------------


def decide(evidence: Evidence, root: Path = ROOT) -> dict[str, Decision]:
    """The decisions on all claims that records back, by id.

    A claim with `on` has one for each subset, ID_SUBSET; `by_subset` says them together.
    """
    ledger = read_ledger(root / "book" / "claims.yml")
    cases: dict[str, dict[str, Case]] = {name: {} for name in ledger.families}
    told = {}
    for claim in ledger.recorded():
        least = ledger.least[claim["least"]]["value"]
        case, told[claim["id"]] = case_of(claim, least, evidence)
        cases[claim["family"]][claim["id"]] = case
    decisions = {}
    for family in cases.values():
        decisions |= verdicts.decide(family) if family else {}
    return {
        claim["id"]: complete(claim, decisions[claim["id"]], told[claim["id"]])
        for claim in ledger.recorded()
    }


def complete(claim: dict, decision: Decision, told: str) -> Decision:
    """A decision with what it rests on and with its words.

    What was left out of the tests shows no number: it is not to be read as a finding.
    """
    words = verdicts.in_words(decision, claim.get("words", {}))
    evidence = decision.why if isnan(decision.p) else told
    return replace(decision, evidence=evidence, words=words)


def case_of(claim: dict, least: float, evidence: Evidence) -> tuple[Case, str]:
    """A claim as a case of its family, and its intervals in words."""
    rows = [find_row(record, evidence) for record in claim["records"]]
    if left_out := why_left_out(claim["records"], rows, evidence):
        return Case((), least, left_out), ""
    pairs = list(zip(claim["records"], rows))
    parts = [part_of(record, row) for record, row in pairs]
    return Case(parts, least), "; ".join(told(*each) for each in pairs)


def find_row(record: dict, evidence: Evidence) -> dict | None:
    """The one record of a stage that a claim asks for; None if it was not made.

    Raises ClaimError if there are several.
    """
    keys = ("metric", "method", "opponent", "subset", "judge")
    given = {"opponent": "", "subset": "both"} | record
    wanted = {key: given[key] for key in keys if key in given}
    rows = compare.select(evidence.records(record["stage"]), **wanted)
    if len(rows) > 1:
        judges = ", ".join(map(repr, rows["judge"].unique()))
        raise ClaimError(f"{name_of(record)}: {len(rows)} records, judges {judges}")
    return None if rows.empty else rows.iloc[0].to_dict()


def why_left_out(
    records: list[dict], rows: list[dict | None], evidence: Evidence
) -> tuple[str, str] | None:
    """The status of a claim that is not tested, and why; None if it is."""
    for record, row in zip(records, rows):
        if row is None:
            return UNTESTED, f"{name_of(record)} was not run"
    for record in records:
        if record["metric"] in JUDGED:
            if why := evidence.gate(record.get("subset", "both")):
                return OPEN, why
    for record, row in zip(records, rows):
        if pd.isna(row["low"]):
            return OPEN, no_number(record)
        if pd.isna(row["seeds"]) or not row["seeds"]:
            return OPEN, "recorded without the number of its seeds"
        if row["seeds"] < SEEDS:
            return OPEN, f"{row['seeds']} of the {SEEDS} seeds that it takes"
    return None


def no_number(record: dict) -> str:
    """Why an estimate has no interval."""
    if record["metric"] == "difference_at_equal_kl":
        return f"the curves of {name_of(record)} do not overlap in KL"
    return f"no interval could be given for {name_of(record)}"


def part_of(record: dict, row: dict) -> Part:
    """A record as a part of a claim; its p counts where the edge is what p is of."""
    sign = 1 if "above" in record else -1
    edge = float(record["above"] if sign > 0 else record["below"])
    null = NULL.get(record["metric"], 0.0)
    p = float(row["p"]) if edge == null else nan
    return Part(compare.interval_of(row), edge, sign, p)


def name_of(record: dict) -> str:
    """How the estimate that a claim asks for is called."""
    name = compare.called(record["method"], record.get("opponent", ""))["name"]
    return f"{name} at equal KL" if record["metric"].endswith("equal_kl") else name


def told(record: dict, row: dict) -> str:
    """One interval as the ledger shows it."""
    subset = record.get("subset", "both")
    where = "" if subset == "both" else f", {subset}"
    return f"{name_of(record)}{where}: {cell(compare.interval_of(row))}"


def by_subset(decisions: Mapping[str, Decision], name: str) -> str:
    """The verdicts of a claim with `on`, in words, as one phrase.

    Said once where they are the same, else by subset. Raises KeyError for an unknown id.
    """
    if name in decisions:
        return decisions[name].words
    own = {
        key.removeprefix(f"{name}_"): each.words
        for key, each in decisions.items()
        if key.removeprefix(f"{name}_") in ("helpful", "harmless")
    }
    if not own:
        raise KeyError(f"no claim is called {name!r}; known: {', '.join(decisions)}")
    if len(set(own.values())) == 1:
        return next(iter(own.values()))
    return "; ".join(f"{subset}: {words}" for subset, words in own.items())


# --- all claims --------------------------------------------------------------------------


def judge(
    claim: dict, decisions: Mapping[str, Decision], evidence: Evidence, root: Path
) -> Decision:
    """The status of a claim in a run; ClaimError if its backing does not exist."""
    if "records" in claim:
        return decisions[claim["id"]]
    if "untestable" in claim:
        return Decision(UNTESTED, claim["untestable"])
    if "test" in claim:
        try:
            return from_test(claim["test"], root, evidence.run)
        except NoTestError as error:
            raise ClaimError(str(error)) from None
    if claim["check"] not in CHECKS:
        known = ", ".join(sorted(CHECKS))
        raise ClaimError(f"no check {claim['check']!r}; known: {known}")
    return CHECKS[claim["check"]](evidence)
