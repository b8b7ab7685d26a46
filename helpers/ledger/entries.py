"""What stands in `book/claims.yml` and `book/reported.yml`: read, and held to its form.

Families, smallest effects of interest and claims are fixed there, before a run.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.core.inputs import MOST_LETTERS, InputError, cut, quoted, shown
from helpers.core.paths import ROOT, STAGES
from helpers.core.shapes import misfit
from helpers.core.yaml_files import Lined, read_yaml
from helpers.data.synthetic.corpus import SUBSETS
from helpers.ledger import rule
from helpers.methods import check_names, names
from helpers.statistics import estimates

BACKINGS = ("records", "check", "test", "untestable")  # a claim has one of these
FACTORS = ("label_factor",)  # decided by their logarithms; so is what is of interest
RECORDED = {"id", "family", "least"}  # what a claim on records has besides
TEST = re.compile(r"tests/[a-z0-9_/]{1,100}\.py::[a-z0-9_]{1,100}")

# --- the shapes of both files: see `misfit` ----------------------------------------------

ESTIMATE = {"metric": str, "method": str, "opponent?": str, "subset?": str}
ESTIMATE |= {"judge?": str}
CLAIM = {
    "claim": str,
    "source": str,
    "how": str,
    **{f"{name}?": str for name in (*RECORDED, *BACKINGS[1:])},
    "records?": [{"stage": str, **ESTIMATE, "above?": float, "below?": float}],
    "subsets?": [str],
    "words?": {f"{key}?": str for key in rule.KEYS},
}
LEDGER = {
    "families?": {str: str},
    "least?": {str: {"value": float, "why?": str}},
    "sections": {str: [CLAIM]},
}
REPORTED = {"quantity": str, "reported": str, "source?": str}
REPORTED |= {"question?": str, "verdict?": str}
REPORTED |= {"record": {"stage?": str, **ESTIMATE}}


class ClaimError(InputError):
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

    Raises ClaimError, naming the line and the claim, for one that lacks a field or its
    backing, has an unknown or a wrong one, or an id that another has.
    """
    given = read_shaped(path, LEDGER)
    families, least = given.get("families", {}), given.get("least", {})
    if small := [name for name, each in least.items() if each["value"] <= 0]:
        raise ClaimError(f"{path.name}: least {quoted(small[0])}: expected a value > 0")
    ledger = Ledger(families, least, {})
    for title, claims in given["sections"].items():
        ledger.sections[title] = []
        for claim in claims:
            parts = spread(claim)
            if wrong := next(filter(None, (fault(each, ledger) for each in parts)), ""):
                raise ClaimError(f"{place(path, claim)}: {wrong}")
            ledger.sections[title] += parts
    ids = Counter(claim["id"] for claim in ledger.recorded())
    if twice := [name for name, count in ids.items() if count > 1]:
        raise ClaimError(f"{path.name}: several claims have the id {quoted(twice[0])}")
    return ledger


def read_reported(path: Path) -> list[dict]:
    """The papers' numbers of a file: quantity, reported, record and, of most, source.

    question, verdict: of those that answer a question of the front page, in words.

    Raises ClaimError, naming the line, for what is none or is compared with no record.
    """
    found = read_shaped(path, [REPORTED])
    for each in found:
        if wrong := unknown_names({"stage": "09_compare", **each["record"]}):
            raise ClaimError(f"{place(path, each)}: {wrong}")
    return found


def read_shaped(path: Path, shape: object) -> Any:
    """What a YAML file holds; ClaimError unless it is one and has this shape."""
    try:
        given = read_yaml(path)
    except InputError as error:
        raise ClaimError(str(error)) from None
    if wrong := misfit(given, shape):
        raise ClaimError(cut(f"{path.name}: {wrong}", MOST_LETTERS // 2))
    return given


def place(path: Path, entry: Lined) -> str:
    """Where an entry stands: file, line, and what it begins with."""
    line, text = min(entry.lines.values()), next(iter(entry.values()))
    return f"{path.name}: line {line}: {quoted(text, 60)}"


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
    """What is wrong with a claim of the right shape, in words; "" if nothing is."""
    backed = [name for name in BACKINGS if name in claim]
    if len(backed) != 1:
        return f"got {backed}, expected one of {', '.join(BACKINGS)}"
    if "test" in claim and not TEST.fullmatch(claim["test"]):
        return f"test: got {quoted(claim['test'])}, expected tests/FILE.py::NAME"
    if backed != ["records"]:
        return ""
    if missing := RECORDED - claim.keys():
        return f"lacks {sorted(missing)}"
    for key, known in (("family", ledger.families), ("least", ledger.least)):
        if claim[key] not in known:
            listed = shown(", ".join(known), 200)
            return f"no {key} {quoted(claim[key])}; known: {listed}"
    return next(filter(None, map(record_fault, claim["records"])), "")


def record_fault(record: dict) -> str:
    """What is wrong with a record that a claim asks for, in words; "" if nothing is."""
    if ("above" in record) == ("below" in record):
        return "expected one of `above` and `below`"
    if record["metric"] in FACTORS and record.get("above", record.get("below")) <= 0:
        return f"expected an edge above 0 for {record['metric']}"
    return unknown_names(record)


def unknown_names(record: dict) -> str:
    """Which name in a record stands for nothing here, in words; "" if none."""
    try:
        check_names(list(STAGES), "stage", record["stage"])
        check_names([*SUBSETS, "both"], "subset", record.get("subset", "both"))
        check_names(list(estimates.ESTIMATES), "estimate", record["metric"])
        sides = [record["method"], record.get("opponent", "")]
        check_names(sorted(names()), "model", *filter(None, sides))
    except KeyError as error:
        return cut(str(error.args[0]), 300)
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
