"""The page of the book that shows the ledger of claims, with the rule that decides."""

import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import isnan
from pathlib import Path

from helpers.analysis import run_notes
from helpers.core import escape
from helpers.core.markdown_tables import markdown_table, stacked
from helpers.ledger import claims
from helpers.ledger.checks import Evidence
from helpers.ledger.entries import ClaimError, Ledger, read_ledger
from helpers.ledger.rule import CONSTRUCTED, RULE, UNTESTED, Decision

PAGE = """\
# The claims

What this book asks and what others have said of these methods, in our words, and what
this copy can say of it. Every status is computed from this run when the book is built:
from intervals in its records, from a check of what it did, or from a test of the project,
which is run for it. The data of this run: {source}; its models: {models}. So a status
tells what happens **here**; it neither replicates nor refutes a paper. In all: {counts}.
[How a claim is decided](how-a-claim-is-decided) stands below.
"""
DECIDED = """
(how-a-claim-is-decided)=
## How a claim is decided

{rule}
### Families and smallest effects of interest

{families}

{least}
"""


def claims_page(
    run: Path, root: Path, elsewhere: Mapping[str, str] | None = None
) -> str:
    """The page "The claims", with the statuses of a run.

    elsewhere: by id, what another run said of claims that this one cannot test. Raises
    ClaimError, naming the claim, if the ledger or a backing is wrong.
    """
    ledger, evidence = read_ledger(root / "book" / "claims.yml"), Evidence(run)
    found = decisions(ledger, evidence, root)
    parts, told = [], elsewhere or {}
    for title, own in ledger.sections.items():
        rows = [
            {
                "": number,
                "claim": f"{claim['claim']} {cited(claim['source'])}".strip(),
                "tested by": claim["how"],
                "family": claim.get("family", "–"),
                "status": status(found[title, number], told.get(claim.get("id"), "")),
            }
            for number, claim in enumerate(own, start=1)
        ]
        parts += [f"\n## {title}\n", stacked(rows, "claims")]
    setting = run_notes.setting(run)
    kinds = {name: escape.markdown(str(setting[name])) for name in ("source", "models")}
    page = PAGE.format(counts=tally(found), **kinds)
    tables = {"families": families_table(ledger), "least": least_table(ledger)}
    return "\n".join([page, *parts, DECIDED.format(rule=RULE, **tables)])


def decisions(
    ledger: Ledger, evidence: Evidence, root: Path
) -> dict[tuple[str, int], Decision]:
    """The decision on every claim, by section and number; ClaimError names the claim.

    Tests run in processes of their own, while the rest is decided.
    """
    recorded, found = claims.decide(evidence, root), {}
    every = {
        (title, number): claim
        for title, own in ledger.sections.items()
        for number, claim in enumerate(own, start=1)
    }
    tests = [place for place, claim in every.items() if "test" in claim]
    with ThreadPoolExecutor() as pool:
        decide = partial(pool.submit, claims.judge)
        begun = {at: decide(every[at], recorded, evidence, root) for at in tests}
        for place in sorted(every, key=begun.__contains__):  # stable: these come last
            try:
                if place in begun:
                    found[place] = begun[place].result()
                else:
                    found[place] = claims.judge(every[place], recorded, evidence, root)
            except ClaimError as error:
                where = "claims.yml: {}, {}".format(*place)
                raise ClaimError(f"{where}: {error}") from None
    return {place: found[place] for place in every}


def status(decision: Decision, elsewhere: str = "") -> str:
    """A decision in the table: bold, with what it rests on and its p.

    elsewhere: what another run said, of use where this one tested nothing.
    """
    shown = f"**{decision.status}**: {decision.evidence}"
    if elsewhere and decision.status == UNTESTED:
        return f"{shown}; {elsewhere}"
    if isnan(decision.p):
        return shown
    return f"{shown}; {in_short(decision.p)} by Holm"


def in_short(p: float) -> str:
    """A p-value with as many digits as a reader needs."""
    if p < 0.001:
        return "p < 0.001"
    return f"p {p:.3f}" if p < 0.1 else f"p {p:.2f}"


def tally(found: Mapping[object, Decision]) -> str:
    """How many claims have which status; without what is true by construction."""
    counts = Counter(each.status for each in found.values())
    counts.pop(CONSTRUCTED, None)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def families_table(ledger: Ledger) -> str:
    """The families of claims, how many are in each, and why they belong together."""
    sizes = Counter(claim["family"] for claim in ledger.recorded())
    rows = [
        {"family": name, "claims": sizes[name], "why together": why}
        for name, why in ledger.families.items()
    ]
    return markdown_table(rows)


def least_table(ledger: Ledger) -> str:
    """The smallest effects of interest, and why."""
    rows = [
        {"of": name, "smallest effect of interest": str(each["value"]), **each}
        for name, each in ledger.least.items()
    ]
    return markdown_table(
        [{k: v for k, v in row.items() if k != "value"} for row in rows]
    )


def cited(source: str) -> str:
    """A source as Markdown: the key of a reference becomes a citation."""
    return f"{{cite}}`{source}`" if re.fullmatch(r"[a-z]+\d{4}\w*", source) else ""
