"""The claims, decided: what is asked or said, how this project tests it, what came out.

`ledger` reads them. Each claim names one thing that backs its status: records of the
comparison, one of `checks`, a test, or the reason why nothing here can test it. Claims
on records are decided family by family, by the rule of `verdicts`; a claim that nothing
backs fails the build.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, isnan, log2, nan
from pathlib import Path

import pandas as pd

from helpers.core.paths import ROOT
from helpers.core.records import select
from helpers.ledger import rule
from helpers.ledger.checks import CHECKS, Evidence
from helpers.ledger.entries import FACTORS, ClaimError, read_ledger
from helpers.ledger.named_tests import NoTestError, from_test
from helpers.ledger.rule import OPEN, SEEDS, UNTESTED, Case, Decision, Part
from helpers.methods import title
from helpers.statistics import estimates
from helpers.statistics.formats import cell
from helpers.statistics.intervals import Interval

JUDGED = {  # estimates on replies: of no use where their judge is not
    "difference",
    "difference_at_equal_kl",
    "win_rate",
    "variant",
    "study_difference",
}


# --- claims on records -----------------------------------------------------------------


def decide(evidence: Evidence, root: Path = ROOT) -> dict[str, Decision]:
    """The decisions on all claims that records back, by id.

    A claim with `subsets` has one for each subset, ID_SUBSET; `by_subset` says them together.
    """
    ledger = read_ledger(root / "book" / "claims.yml")
    cases: dict[str, dict[str, Case]] = {name: {} for name in ledger.families}
    told = {}
    for claim in ledger.recorded():
        least = ledger.least[claim["least"]]["value"]
        try:
            case, told[claim["id"]] = case_of(claim, least, evidence)
        except ClaimError as error:
            raise ClaimError(f"claims.yml: {claim['id']}: {error}") from None
        cases[claim["family"]][claim["id"]] = case
    decisions = {}
    for family in cases.values():
        decisions |= rule.decide(family) if family else {}
    return {
        claim["id"]: complete(claim, decisions[claim["id"]], told[claim["id"]])
        for claim in ledger.recorded()
    }


def complete(claim: dict, decision: Decision, told: str) -> Decision:
    """A decision with what it rests on and with its words.

    What was left out of the tests shows no number: it is not to be read as a finding.
    """
    words = rule.in_words(decision, claim.get("words", {}))
    evidence = decision.why if isnan(decision.p) else told
    return replace(decision, evidence=evidence, words=words)


def case_of(claim: dict, least: float, evidence: Evidence) -> tuple[Case, str]:
    """A claim as a case of its family, and its intervals in words."""
    rows = [find_row(record, evidence) for record in claim["records"]]
    if left_out := why_left_out(claim["records"], rows, evidence):
        return Case((), least, left_out), ""
    if claim["records"][0]["metric"] in FACTORS:
        least = log2(least)
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
    rows = select(evidence.records(record["stage"]), **wanted)
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
    judged = [each for each in records if each["metric"] in JUDGED]
    for subset in dict.fromkeys(each.get("subset", "both") for each in judged):
        if why := evidence.gate(subset):
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
        return f"{name_of(record)}: no KL lies between measured strengths of both"
    return f"no interval could be given for {name_of(record)}"


def part_of(record: dict, row: dict) -> Part:
    """A record as a part of a claim; its p counts where the edge is what p is of: 0.

    A factor counts by its logarithm, of which no error is known.
    """
    sign = 1 if "above" in record else -1
    edge = float(record["above"] if sign > 0 else record["below"])
    interval = estimates.interval_of(row)
    if record["metric"] in FACTORS:
        return Part(logarithms(interval), log2(edge), sign)
    return Part(interval, edge, sign, float(row["p"]) if edge == 0 else nan)


def logarithms(factor: Interval) -> Interval:
    """The interval of the logarithm, of base 2; that of 0 is minus infinity."""
    ends = (factor.estimate, factor.low, factor.high)
    logs = (log2(each) if each > 0 else -inf for each in ends)
    names = ("estimate", "low", "high")
    return replace(factor, **dict(zip(names, logs)), error=nan)


def name_of(record: dict) -> str:
    """How the estimate that a claim asks for is called."""
    called = estimates.called(record["method"], record.get("opponent", ""))
    name = title(called["name"])
    return f"{name} at equal KL" if record["metric"].endswith("equal_kl") else name


def told(record: dict, row: dict) -> str:
    """One interval as the ledger shows it."""
    subset = record.get("subset", "both")
    where = "" if subset == "both" else f", {subset}"
    return f"{name_of(record)}{where}: {cell(estimates.interval_of(row))}"


def by_subset(decisions: Mapping[str, Decision], name: str) -> str:
    """The verdicts of a claim with `subsets`, in words, as one phrase.

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
