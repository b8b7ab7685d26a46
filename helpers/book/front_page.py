"""The answer as the front page has it: three questions by kind of evidence, then the rest.

Verdicts are the ledger's. A number stands once: what the first table asks, the second
does not.
"""

from collections.abc import Mapping
from math import isnan
from pathlib import Path

from helpers.analysis import run_notes
from helpers.book.side_by_side import FULL, evidence_of, recorded_numbers
from helpers.core import escape
from helpers.core.markdown_tables import markdown_table, stacked
from helpers.data.synthetic.corpus import SUBSETS
from helpers.ledger import claims
from helpers.ledger.checks import Evidence
from helpers.ledger.entries import read_ledger, read_reported
from helpers.ledger.rule import OPEN, Decision
from helpers.statistics import estimates
from helpers.statistics.formats import cell, unbroken

# claim of the ledger, by its id without the subset -> the question that it answers
ASKED_FIRST = {
    "codepmp_reward_model": (
        "Does pretraining on code preferences (CodePMP) make a better reward model?"
    ),
    "ppo_over_dpo_equal_kl": "Is PPO worth it over DPO?",
    "ppo_over_best_of_n_equal_kl": "Is PPO worth it over the best of N replies?",
}
FURTHER = {
    "codepmp_in_ppo": "Does CodePMP lead to better replies inside PPO?",
    "codepmp_best_of_n": "Does CodePMP choose better among N replies?",
    "dpo_over_sft": "Is SFT+DPO better than SFT?",
    "ppo_over_sft": "Is PPO better than SFT?",
    "best_of_n_over_sft": (
        "Is the best of N replies better than SFT, without training a policy?"
    ),
    "ppo_over_dpo": "Is PPO better than SFT+DPO, as trained?",
}
NOT_YET = "not decided: no run on real pairs is recorded"
SUPERSEDED = "not decided: the recorded run was made before a fix ([why](real))"
NO_PAPER = "not asked in the papers that are cited here"


def answer_table(run: Path, root: Path) -> str:
    """Three questions as a Markdown table, a column for each kind of evidence."""
    columns = {
        "real pairs": real_answers(root),
        this_run(run): answers(Evidence(run), root),
        "papers": of_papers(root),
    }
    rows = [
        {"question": words, **{name: found[c] for name, found in columns.items()}}
        for c, words in ASKED_FIRST.items()
    ]
    return markdown_table(rows) + "\n"


def this_run(run: Path) -> str:
    """What kind of evidence a run gives: the title of its column."""
    found = run_notes.setting(run)
    synthetic = "synthetic" in str(found["source"])
    pairs = "synthetic pairs" if synthetic else "real pairs"
    return escape.markdown(f"this run: {pairs}, models {found['models']}")


def answers(evidence: Evidence, root: Path) -> dict[str, str]:
    """What some evidence says, by claim: verdict and interval on each subset."""
    decisions, records = claims.decide(evidence, root), first_records(root)
    found = {}
    for claim in ASKED_FIRST:
        own = {subset: f"{claim}_{subset}" for subset in SUBSETS}
        said = {
            subset: in_cell(decisions[name], estimate(records[name], evidence))
            for subset, name in own.items()
        }
        apart = "<br>".join(f"*{subset}*: {words}" for subset, words in said.items())
        found[claim] = apart if len(set(said.values())) > 1 else said[SUBSETS[0]]
    return found


def in_cell(decision: Decision, interval: str) -> str:
    """A verdict with its interval, if it was tested; why it is open is said elsewhere."""
    if isnan(decision.p):
        return decision.words
    words = "not decided" if decision.status == OPEN else decision.words
    return f"{words}, {interval}"


def real_answers(root: Path) -> dict[str, str]:
    """What the latest recorded run on real pairs says, by claim; or why none does."""
    real = [
        each
        for each in recorded_numbers(root)
        if each.name != FULL and "synthetic" not in each.about["kind"]
    ]
    valid = [each for each in real if not each.about.get("superseded")]
    if not valid:
        return dict.fromkeys(ASKED_FIRST, SUPERSEDED if real else NOT_YET)
    last = max(valid, key=lambda each: each.about["date"])
    return answers(evidence_of(last.table, root), root)


def of_papers(root: Path) -> dict[str, str]:
    """What papers answer, with their numbers, by claim."""
    found = dict.fromkeys(ASKED_FIRST, NO_PAPER)
    for each in read_reported(root / "book" / "reported.yml"):
        if claim := each.get("question"):
            source = f"{{cite}}`{each['source']}`"
            found[claim] = f"{each['verdict']}; {each['reported']} {source}"
    return found


def further_table(run: Path, root: Path) -> str:
    """The other questions as a Markdown table: an estimate for each subset, the verdict.

    The estimate is the first that the claim rests on. Where the judge of replies may not
    decide there is no number.
    """
    evidence = Evidence(run)
    decisions, records = claims.decide(evidence, root), first_records(root)
    rows = []
    for claim, words in FURTHER.items():
        shown = {
            subset: estimate(records[f"{claim}_{subset}"], evidence)
            for subset in SUBSETS
        }
        verdict = claims.by_subset(decisions, claim)
        rows.append({"question": words, **shown, "verdict": verdict})
    return stacked(rows, "further")


def first_records(root: Path) -> Mapping[str, dict]:
    """The first record that each claim rests on, by id."""
    ledger = read_ledger(root / "book" / "claims.yml")
    return {claim["id"]: claim["records"][0] for claim in ledger.recorded()}


def estimate(record: dict, evidence: Evidence) -> str:
    """The interval that a claim's record asks for; none that its judge may not give."""
    if record["metric"] in claims.JUDGED and evidence.gate(record["subset"]):
        return "–"
    kept = ("metric", "method", "opponent", "subset")
    wanted = {name: record[name] for name in kept if name in record}
    found = estimates.find_interval(evidence.records(record["stage"]), **wanted)
    return "–" if found is None else unbroken(cell(found))
