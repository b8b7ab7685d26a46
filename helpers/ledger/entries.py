"""The ledger of claims as it stands in `book/claims.yml`: read, and held to its form.

Families, smallest effects of interest and claims are fixed there, before a run.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from helpers.core.paths import ROOT
from helpers.ledger import rule
from helpers.methods import check_names, names
from helpers.statistics import estimates

BACKINGS = ("records", "check", "test", "untestable")  # a claim has one of these
NEEDED = {"claim", "source", "how"}
RECORDED = {"id", "family", "least"}  # what a claim on records has besides
FIELDS = {*NEEDED, *RECORDED, *BACKINGS, "subsets", "words"}
RECORD = {"stage", "metric", "method", "opponent", "subset", "judge", "above", "below"}


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


def read_ledger(path: Path) -> Ledger:
    """The ledger of a file, each claim with `subsets` as one of every subset.

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


def spread(claim: dict) -> list[dict]:
    """A claim with `subsets` as claims of one subset each; another as it is."""
    if "subsets" not in claim or "records" not in claim:
        return [claim]
    common = {key: value for key, value in claim.items() if key != "subsets"}
    return [
        common
        | {
            "claim": str(claim.get("claim")).replace("{subset}", subset),
            "id": f"{claim.get('id')}_{subset}",
            "records": [{"subset": subset, **each} for each in claim["records"]],
        }
        for subset in claim["subsets"]
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
    if unknown := claim.get("words", {}).keys() - rule.KEYS.keys():
        return f"no verdict is called {sorted(unknown)}: {', '.join(rule.KEYS)}"
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
        check_names(list(estimates.ESTIMATES), "estimate", record["metric"])
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
