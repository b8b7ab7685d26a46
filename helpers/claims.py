"""The ledger of claims: what others say, how this project tests it, what came out.

`book/claims.yml` lists the claims. Each names one thing that backs its status: records
of the comparison, one of `checks`, a test, or the reason why nothing here can
test it. The status is computed when the book is built; a claim that nothing backs fails
the build.
"""

import ast
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from helpers import answers, compare
from helpers.checks import CHECKS, FAILS, HOLDS, OPEN, UNTESTED, Evidence, Finding
from helpers.report import cell

BACKINGS = ("records", "check", "test", "untestable")  # a claim has one of these
FIELDS = {"claim", "source", "how", *BACKINGS}
SEEDS = 3  # the fewest that decide a claim about a method


class ClaimError(ValueError):
    """A claim that cannot be judged: says which, and what was expected."""


# --- the ledger ------------------------------------------------------------------------


def read_claims(path: Path) -> dict[str, list[dict]]:
    """The claims by section; ClaimError for one that lacks a field or its backing."""
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    for claim in (each for claims in sections.values() for each in claims):
        where = f"{path.name}: {str(claim.get('claim', claim))[:60]!r}"
        backed = [name for name in BACKINGS if name in claim]
        if len(backed) != 1:
            expected = ", ".join(BACKINGS)
            raise ClaimError(f"{where}: got {backed}, expected one of {expected}")
        if unknown := claim.keys() - FIELDS:
            raise ClaimError(f"{where}: no field is called {sorted(unknown)}")
        if missing := {"claim", "source", "how"} - claim.keys():
            raise ClaimError(f"{where}: lacks {sorted(missing)}")
    return sections


def judge(claim: dict, evidence: Evidence, root: Path) -> Finding:
    """The status of a claim in a run; ClaimError if its backing does not exist."""
    if "untestable" in claim:
        return Finding(UNTESTED, claim["untestable"])
    if "test" in claim:
        return from_test(claim["test"], root)
    if "check" in claim:
        if claim["check"] not in CHECKS:
            known = ", ".join(sorted(CHECKS))
            raise ClaimError(f"no check {claim['check']!r}; known: {known}")
        return CHECKS[claim["check"]](evidence)
    finding = from_records(claim["records"], evidence)
    seeds = evidence.parameters("05_sft")["seeds"]
    if seeds < SEEDS and finding.status in (HOLDS, FAILS):
        short = f"{finding.evidence}; seeds: {seeds}, it takes {SEEDS} to decide"
        return Finding(OPEN, short)
    return finding


def from_test(test: str, root: Path) -> Finding:
    """A claim that a test of the project holds to; ClaimError if there is none."""
    path, _, name = test.partition("::")
    file = root / path
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else None
    names = [each.name for each in tree.body if hasattr(each, "name")] if tree else []
    if name not in names:
        raise ClaimError(f"no test {test}")
    return Finding(HOLDS, f"held by a test in `{file.name}`")


def from_records(wanted: Sequence[dict], evidence: Evidence) -> Finding:
    """A claim about intervals in a stage's records: it holds if all of them agree.

    Each names stage, metric, method, opponent and subset, and whether the estimate is claimed to be
    `above` or `below` a number. An interval that holds the number decides nothing.
    """
    found = [one_record(evidence, **each) for each in wanted]
    statuses = {finding.status for finding in found}
    order = (FAILS, UNTESTED, OPEN, HOLDS)
    status = next(each for each in order if each in statuses)
    return Finding(status, "; ".join(finding.evidence for finding in found))


def one_record(
    evidence: Evidence,
    *,
    stage: str,
    metric: str,
    method: str,
    opponent: str = "",
    subset: str = "both",
    above: float | None = None,
    below: float | None = None,
) -> Finding:
    """One interval of a stage's records, held against what is claimed of it."""
    if (above is None) == (below is None):
        raise ClaimError(f"{stage}: {method}: expected one of `above` and `below`")
    wanted = {"opponent": opponent, "subset": subset}
    records = evidence.records(stage)
    interval = compare.find_interval(records, metric, method, **wanted)
    name = compare.called(method, opponent)["name"]
    if interval is None:
        return Finding(UNTESTED, f"{name}: this run does not hold it")
    edge, sign = (above, 1) if below is None else (below, -1)
    nearer, further = sorted((sign * interval.low, sign * interval.high))
    status = OPEN
    if nearer > sign * edge:
        status = HOLDS
    elif further < sign * edge:
        status = FAILS
    where = "" if subset == "both" else f", {subset}"
    return Finding(status, f"{name}{where}: {cell(interval)}")


# --- the page ----------------------------------------------------------------------------


def claims_page(run: Path, root: Path) -> str:
    """The page "The claims", with the statuses of a run.

    Raises ClaimError, naming the claim, if the ledger or a backing is wrong.
    """
    sections = read_claims(root / "book" / "claims.yml")
    setting, evidence = answers.setting(run), Evidence(run)
    parts, tally = [], Counter()
    for title, claims in sections.items():
        rows = []
        for number, claim in enumerate(claims, start=1):
            try:
                finding = judge(claim, evidence, root)
            except ClaimError as error:
                raise ClaimError(f"{title}, {number}: {error}") from None
            tally[finding.status] += 1
            rows.append(
                {
                    "": number,
                    "claim": f"{claim['claim']} {cited(claim['source'])}",
                    "tested by": claim["how"],
                    "status": f"**{finding.status}**: {finding.evidence}",
                }
            )
        table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
        parts += [f"\n## {title}\n", table]
    counts = ", ".join(f"{count} {status}" for status, count in tally.most_common())
    return "\n".join([PAGE.format(counts=counts, **setting), *parts])


def cited(source: str) -> str:
    """A source as Markdown: the key of a reference becomes a citation."""
    return f"{{cite}}`{source}`" if re.fullmatch(r"[a-z]+\d{4}\w*", source) else ""


PAGE = """\
# The claims

What others have said of these methods, in our words, and what this copy of the book can
say of it. Every status is computed from this run when the book is built: from an
interval in its records, from a check of what it did, or from a test of the project. The
data of this run: {source}; its models: {models}. So a status tells what happens
**here**; it neither replicates nor refutes a paper. *Undecided* means that the 95 %
interval holds both answers; intervals are not widened for the number of claims, of which
one in twenty may look decided by chance. In all: {counts}.
"""
