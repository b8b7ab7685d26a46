"""The answer as the front page has it: one row a question, with the ledger's verdict."""

from pathlib import Path

import pandas as pd

from helpers.data.synthetic.corpus import SUBSETS
from helpers.ledger import claims
from helpers.ledger.checks import Evidence
from helpers.ledger.entries import read_ledger
from helpers.statistics import estimates
from helpers.statistics.formats import cell

# claim of the ledger, by its id without the subset -> the question that it answers
QUESTIONS = {
    "codepmp_reward_model": (
        "Does CodePMP make a better reward model? (accuracy on held-out pairs)"
    ),
    "codepmp_in_ppo": "Does it lead to better replies inside PPO? (judged reward)",
    "codepmp_best_of_n": "Does it choose better among N replies?",
    "dpo_over_sft": "Is SFT+DPO better than SFT?",
    "ppo_over_sft": "Is PPO better than SFT?",
    "ppo_over_dpo": "Is PPO better than SFT+DPO, as trained?",
    "ppo_over_dpo_equal_kl": "Is it, both equally far from SFT?",
    "best_of_n_over_sft": (
        "Is the best of N replies better than SFT, without training a policy?"
    ),
    "ppo_over_best_of_n_equal_kl": (
        "Is PPO better than best-of-N, both equally far from SFT?"
    ),
}


def answer_table(run: Path, root: Path) -> str:
    """The questions as a Markdown table: an estimate for each subset, and the verdict.

    The estimate is the first that the claim rests on. Where the judge of replies may not
    decide there is no number.
    """
    evidence = Evidence(run)
    decisions = claims.decide(evidence, root)
    ledger = read_ledger(root / "book" / "claims.yml")
    asked = {claim["id"]: claim["records"][0] for claim in ledger.recorded()}
    rows = []
    for claim, words in QUESTIONS.items():
        records = {subset: asked[f"{claim}_{subset}"] for subset in SUBSETS}
        shown = {name: estimate(each, evidence) for name, each in records.items()}
        verdict = claims.by_subset(decisions, claim)
        rows.append({"question": words, **shown, "verdict": verdict})
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True) + "\n"


def estimate(record: dict, evidence: Evidence) -> str:
    """The interval that a claim's record asks for; none that its judge may not give."""
    if record["metric"] in claims.JUDGED and evidence.gate(record["subset"]):
        return "–"
    kept = ("metric", "method", "opponent", "subset")
    wanted = {name: record[name] for name in kept if name in record}
    found = estimates.find_interval(evidence.records(record["stage"]), **wanted)
    return "–" if found is None else cell(found)
