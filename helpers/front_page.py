"""The answer as the front page has it: one row a question, with the ledger's verdict."""

from pathlib import Path

import pandas as pd

from helpers import claims, estimates
from helpers.checks import Evidence
from helpers.embedded import SUBSETS
from helpers.report import cell

# question, estimate of 09, method, opponent, the claim that decides it
QUESTIONS = (
    (
        "Does CodePMP make a better reward model? (accuracy on held-out pairs)",
        *("gain", "codepmp", "base", "codepmp_reward_model"),
    ),
    (
        "Does it lead to better replies inside PPO? (judged reward)",
        *("difference", "ppo (codepmp)", "ppo (base)", "codepmp_in_ppo"),
    ),
    (
        "Does it choose better among N replies?",
        *("difference", "best_of_n (codepmp)", "best_of_n (base)"),
        "codepmp_best_of_n",
    ),
    (
        "Is SFT+DPO better than SFT?",
        *("difference", "sft_dpo", "sft", "dpo_over_sft"),
    ),
    (
        "Is PPO better than SFT?",
        *("difference", "ppo (base)", "sft", "ppo_over_sft"),
    ),
    (
        "Is PPO better than SFT+DPO, as trained?",
        *("difference", "ppo (base)", "sft_dpo", "ppo_over_dpo"),
    ),
    (
        "Is it, both equally far from SFT?",
        *("difference_at_equal_kl", "ppo (base)", "sft_dpo"),
        "ppo_over_dpo_equal_kl",
    ),
    (
        "Is the best of N replies better than SFT, without training a policy?",
        *("difference", "best_of_n (base)", "sft", "best_of_n_over_sft"),
    ),
    (
        "Is PPO better than best-of-N, both equally far from SFT?",
        *("difference_at_equal_kl", "ppo (base)", "best_of_n (base)"),
        "ppo_over_best_of_n_equal_kl",
    ),
)


def answer_table(run: Path, root: Path) -> str:
    """The questions as a Markdown table: an estimate for each subset, and the verdict.

    Where the judge of replies may not decide there is no number.
    """
    evidence = Evidence(run)
    decisions, records = claims.decide(evidence, root), evidence.records("09_compare")
    rows = []
    for words, metric, method, opponent, claim in QUESTIONS:
        row = {"question": words}
        for subset in SUBSETS:
            kept = {"opponent": opponent, "subset": subset}
            found = estimates.find_interval(records, metric, method, **kept)
            silent = found is None or (metric != "gain" and evidence.gate(subset))
            row[subset] = "–" if silent else cell(found)
        rows.append({**row, "verdict": claims.by_subset(decisions, claim)})
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True) + "\n"
