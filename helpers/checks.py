"""Checks that back claims: what a run did, held against what is said of it.

A check is a function of the evidence that returns a finding; `claims.yml` calls it by its
name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import trl

from helpers import compare, protocols, study, trainers
from helpers.hh import BUILT_IN
from helpers.project import read_manifest
from helpers.recipes import data_source, read_pairs
from helpers.records import read_records

HOLDS, FAILS = "holds here", "does not hold here"
OPEN, UNTESTED = "undecided here", "not testable here"
STUDY_JUDGE = "OpenAssistant/reward-model-deberta-v3-large-v2"


@dataclass(frozen=True)
class Finding:
    """What became of a claim: one of the four statuses, and what it rests on."""

    status: str
    evidence: str


class Evidence:
    """What the ledger reads of a run, each thing once."""

    def __init__(self, run: Path) -> None:
        self.run, self.read = run, {}

    def records(self, stage: str) -> pd.DataFrame:
        """The records of a stage."""
        if stage not in self.read:
            self.read[stage] = read_records(self.run / stage / "records.parquet")
        return self.read[stage]

    def parameters(self, stage: str) -> dict:
        """What a stage was run with."""
        return read_manifest(self.run, stage)["parameters"]

    @cached_property
    def asked(self) -> pd.DataFrame:
        """The records of the study's protocol to the letter, one judge, one seed."""
        letter = {"protocol": protocols.LETTER.name}
        return compare.select(self.records("08_evaluate"), "study_leak", **letter)

    @cached_property
    def transcripts(self) -> dict[str, list[str]]:
        """The chosen transcripts of the official test split, by subset."""
        return study.test_transcripts(self.run)

    @cached_property
    def drawn(self) -> tuple[pd.DataFrame, int]:
        """The study's prompts drawn anew, and how many its filter finds."""
        return protocols.draw_prompts(self.transcripts, protocols.LETTER)


def four_models(evidence: Evidence) -> Finding:
    """The study's four versions of a model were asked."""
    methods = set(evidence.asked["method"])
    missing = [name for name in study.MODELS if name not in methods]
    listed = ", ".join(name for name in study.MODELS if name in methods)
    return Finding(FAILS if missing else HOLDS, f"asked: {listed}")


def hundred_prompts(evidence: Evidence) -> Finding:
    """Each model was asked 50 prompts of each subset."""
    counts = evidence.asked.groupby(["method", "seed", "subset"])["example"].nunique()
    sizes = {name: set(part) for name, part in counts.groupby("subset")}
    listed = ", ".join(f"{min(n)} {name}" for name, n in sorted(sizes.items()))
    wanted = {protocols.PUBLISHED_PROMPTS}
    right = all(sizes.get(subset) == wanted for subset in protocols.RATES)
    return Finding(HOLDS if right else FAILS, f"per model: {listed}")


def of_the_test_split(evidence: Evidence) -> Finding:
    """The prompts of the study are drawn from HH-RLHF's test split, anew from a seed."""
    drawn, _ = evidence.drawn
    same = set(drawn["id"]) == set(evidence.asked["example"])
    counts = ", ".join(
        f"{len(each):,} {name}" for name, each in evidence.transcripts.items()
    )
    if data_source(evidence.run) == BUILT_IN:
        return Finding(UNTESTED, f"drawn from the built-in test split ({counts})")
    return Finding(HOLDS if same else FAILS, f"drawn from the test split ({counts})")


def keyword_filter(evidence: Evidence) -> Finding:
    """Harmful prompts come from harmless-base after a filter by keywords."""
    _, hits = evidence.drawn
    of = len(evidence.transcripts["harmless"])
    return Finding(HOLDS if hits else UNTESTED, f"the filter finds {hits:,} of {of:,}")


def drawn_at_random(evidence: Evidence) -> Finding:
    """The helpful prompts asked are a seeded draw, not the first of the file."""
    (drawn, _), records = evidence.drawn, evidence.asked
    own = set(records[records["subset"] == "helpful"]["example"])
    again = set(drawn[drawn["subset"] == "helpful"]["id"])
    first = {f"helpful-{at}" for at in range(len(own))}
    random = own == again and own != first
    seed = protocols.LETTER.seed
    words = f"seed {seed} draws the {len(own)} that were asked again"
    return Finding(HOLDS if random else FAILS, words)


def only_the_length(evidence: Evidence) -> Finding:
    """Nothing but the number of tokens ends a reply: some run on into a human turn."""
    letter = {"protocol": protocols.LETTER.name}
    replies = compare.select(evidence.records("08_evaluate"), "study_runon", **letter)
    share = 100 * float(replies["value"].mean())
    free = not protocols.LETTER.stop and study.NEW_TOKENS == 50
    words = f"{study.NEW_TOKENS} tokens; {share:.0f} % of replies run on"
    return Finding(HOLDS if free else FAILS, words)


def judged_by_deberta(evidence: Evidence) -> Finding:
    """The judge is the one of the study."""
    judge = evidence.parameters("08_evaluate")["judge_model"]
    words = f"judge_model is {judge!r}" if judge else "no judge_model was given"
    return Finding(HOLDS if judge == STUDY_JUDGE else UNTESTED, words)


def pairs_as_they_are(evidence: Evidence) -> Finding:
    """Prompt and chosen reply are the transcript, to the character."""
    known = {text.strip() for each in evidence.transcripts.values() for text in each}
    test = read_pairs(evidence.run, "test")
    same = (test["prompt"] + test["chosen"]).str.strip().isin(known)
    words = f"{int(same.sum()):,} of {len(test):,} test pairs"
    return Finding(HOLDS if same.all() else FAILS, words)


def trained_by_trl(evidence: Evidence) -> Finding:
    """SFT and DPO are trained by trainers of TRL, with what this project adds."""
    ours = {
        trainers.ReplyTrainer: trl.SFTTrainer,
        trainers.PreferenceTrainer: trl.DPOTrainer,
        trainers.RewardModelTrainer: trl.RewardTrainer,
    }
    right = all(issubclass(own, stock) for own, stock in ours.items())
    version = read_manifest(evidence.run, "06_dpo")["versions"]["trl"]
    names = ", ".join(stock.__name__ for stock in ours.values())
    return Finding(HOLDS if right else FAILS, f"subclasses of {names}, TRL {version}")


CHECKS: dict[str, Callable[[Evidence], Finding]] = {
    each.__name__: each
    for each in (
        four_models,
        hundred_prompts,
        of_the_test_split,
        keyword_filter,
        drawn_at_random,
        only_the_length,
        judged_by_deberta,
        pairs_as_they_are,
        trained_by_trl,
    )
}
