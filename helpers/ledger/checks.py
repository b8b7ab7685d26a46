"""Checks that back claims: what a run did, held against what is said of it.

A check is a function of the evidence that returns a decision; `claims.yml` calls it by
its name. What no run can make false is `by construction`.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import pandas as pd

from helpers.analysis import gate
from helpers.core import escape, hub
from helpers.core.manifests import read_manifest
from helpers.core.paths import ROOT
from helpers.core.places import shown
from helpers.core.records import read_records, select
from helpers.data import opt350m_prompts
from helpers.data.hh import BUILT_IN
from helpers.ledger.rule import CONSTRUCTED, FAILS, HOLDS, UNTESTED, Decision
from helpers.methods import title
from helpers.runs import store

STUDY_JUDGE = "OpenAssistant/reward-model-deberta-v3-large-v2"
PUBLISHED_TOKENS = 50  # the study's limit on a reply


class Evidence:
    """What the ledger reads of a run, each thing once.

    read: records of stages that are not to be read from the run, by stage.
    """

    def __init__(
        self, run: Path, read: Mapping[str, pd.DataFrame] | None = None
    ) -> None:
        self.run, self.read = run, dict(read or {})

    def records(self, stage: str) -> pd.DataFrame:
        """The records of a stage."""
        if stage not in self.read:
            self.read[stage] = read_records(self.run / stage / "records.parquet")
        return self.read[stage]

    def gate(self, subset: str) -> str:
        """Why no verdict on replies to a subset's prompts is given; "" if one is."""
        return gate.why_not(self.records("09_compare"), subset)

    def parameters(self, stage: str) -> dict:
        """What a stage was run with."""
        return read_manifest(self.run, stage)["parameters"]

    @cached_property
    def asked(self) -> pd.DataFrame:
        """The records of the study's protocol to the letter, one judge, one seed."""
        letter = {"protocol": opt350m_prompts.LETTER.name}
        return select(self.records("08_evaluate"), "study_leak", **letter)

    @cached_property
    def rows(self) -> dict[str, list[tuple[str, str]]]:
        """(chosen, rejected) of the official test split, by subset."""
        return store.test_rows(self.run)

    @property
    def transcripts(self) -> dict[str, list[str]]:
        """The chosen transcripts of the official test split, by subset."""
        return {subset: [each for each, _ in own] for subset, own in self.rows.items()}

    @cached_property
    def drawn(self) -> tuple[pd.DataFrame, int]:
        """The study's prompts drawn anew, and how many its filter finds."""
        return opt350m_prompts.draw_prompts(self.transcripts, opt350m_prompts.LETTER)


def four_models(evidence: Evidence) -> Decision:
    """The study's four versions of a model were asked."""
    methods = set(evidence.asked["method"])
    missing = [name for name in opt350m_prompts.MODELS if name not in methods]
    present = [name for name in opt350m_prompts.MODELS if name in methods]
    listed = ", ".join(map(title, present))
    return Decision(FAILS if missing else HOLDS, f"asked: {listed}")


def hundred_prompts(evidence: Evidence) -> Decision:
    """Each model was asked 50 prompts of each subset."""
    counts = evidence.asked.groupby(["method", "seed", "subset"])["example"].nunique()
    sizes = {name: set(part) for name, part in counts.groupby("subset")}
    listed = ", ".join(f"{min(n)} {name}" for name, n in sorted(sizes.items()))
    wanted = {opt350m_prompts.PUBLISHED_PROMPTS}
    right = all(sizes.get(subset) == wanted for subset in opt350m_prompts.RATES)
    return Decision(HOLDS if right else FAILS, f"per model: {listed}")


def of_the_test_split(evidence: Evidence) -> Decision:
    """The prompts of the study are drawn from HH-RLHF's test split, anew from a seed."""
    drawn, _ = evidence.drawn
    same = set(drawn["id"]) == set(evidence.asked["example"])
    counts = ", ".join(
        f"{len(each):,} {name}" for name, each in evidence.transcripts.items()
    )
    if not same:
        return Decision(FAILS, f"not what a seed draws from the test split ({counts})")
    if store.data_source(evidence.run) == BUILT_IN:
        return Decision(UNTESTED, f"drawn from the built-in test split ({counts})")
    return Decision(HOLDS, f"drawn from the test split ({counts})")


def keyword_filter(evidence: Evidence) -> Decision:
    """Every harmful prompt that was asked is of a transcript with a keyword."""
    texts = evidence.transcripts["harmless"]
    own = evidence.asked[evidence.asked["subset"] == "harmless"]["example"].unique()
    asked = [texts[int(each.rpartition("-")[2])] for each in own]
    with_one = sum(map(has_keyword, asked))
    hits = sum(map(has_keyword, texts))
    found = f"the filter finds {hits:,} of {len(texts):,}"
    if not hits:
        return Decision(UNTESTED, found)
    right = 0 < len(asked) == with_one
    words = f"{found}; {with_one} of the {len(asked)} asked have a keyword"
    return Decision(HOLDS if right else FAILS, words)


def has_keyword(transcript: str) -> bool:
    """Whether the study's filter finds a transcript."""
    return any(word in transcript for word in opt350m_prompts.LETTER.keywords)


def drawn_at_random(evidence: Evidence) -> Decision:
    """The helpful prompts asked are a seeded draw, not the first of the file."""
    (drawn, _), records = evidence.drawn, evidence.asked
    own = set(records[records["subset"] == "helpful"]["example"])
    again = set(drawn[drawn["subset"] == "helpful"]["id"])
    first = {f"helpful-{at}" for at in range(len(own))}
    random = own == again and own != first
    seed = opt350m_prompts.LETTER.seed
    words = f"seed {seed} draws the {len(own)} that were asked again"
    return Decision(HOLDS if random else FAILS, words)


def only_the_length(evidence: Evidence) -> Decision:
    """Nothing but the number of tokens ends a reply: some run on into a human turn.

    Where none does, it cannot be seen whether a human turn would have ended it.
    """
    letter = {"protocol": opt350m_prompts.LETTER.name}
    replies = select(evidence.records("08_evaluate"), "study_runon", **letter)
    share = 100 * float(replies["value"].mean())
    words = f"{opt350m_prompts.NEW_TOKENS} tokens; {share:.0f} % of replies run on"
    if opt350m_prompts.LETTER.stop or opt350m_prompts.NEW_TOKENS != PUBLISHED_TOKENS:
        return Decision(FAILS, words)
    return Decision(HOLDS if share > 0 else UNTESTED, words)


def judged_by_deberta(evidence: Evidence) -> Decision:
    """The judge is the one of the study, and its scores are there."""
    judge = evidence.parameters("08_evaluate")["judge_model"]
    if not judge:
        return Decision(UNTESTED, "no judge_model was given")
    letter = {"protocol": opt350m_prompts.LETTER.name, "judge": hub.plain_name(judge)}
    scores = select(evidence.records("08_evaluate"), "study", **letter)
    right = judge.partition("@")[0] == STUDY_JUDGE and len(scores)
    name = escape.markdown(str(shown(judge, ROOT)))
    words = f"judge_model is {name}; {len(scores):,} scores"
    return Decision(HOLDS if right else FAILS, words)


def pairs_as_they_are(evidence: Evidence) -> Decision:
    """Prompt and each reply are its transcript, to the character, and of one pair."""
    known = {
        (subset, chosen.strip(), rejected.strip())
        for subset, rows in evidence.rows.items()
        for chosen, rejected in rows
    }
    test = store.read_pairs(evidence.run, "test")
    sides = [
        (test["prompt"] + test[side]).str.strip() for side in ("chosen", "rejected")
    ]
    same = sum(each in known for each in zip(test["subset"], *sides))
    words = f"{same:,} of {len(test):,} test pairs, both replies"
    return Decision(HOLDS if 0 < len(test) == same else FAILS, words)


def trained_by_trl(evidence: Evidence) -> Decision:
    """SFT and DPO are trained by trainers of TRL, with what this project adds.

    The code makes it so, whatever a run finds.
    """
    import trl  # slow to import: no other page needs it

    from helpers.trainers import trl_trainers

    ours = {
        trl_trainers.ReplyTrainer: trl.SFTTrainer,
        trl_trainers.PreferenceTrainer: trl.DPOTrainer,
        trl_trainers.RewardModelTrainer: trl.RewardTrainer,
    }
    right = all(issubclass(own, stock) for own, stock in ours.items())
    version = read_manifest(evidence.run, "06_dpo")["versions"]["trl"]
    names = ", ".join(stock.__name__ for stock in ours.values())
    words = f"subclasses of {names}, TRL {version}"
    return Decision(CONSTRUCTED if right else FAILS, words)


CHECKS: dict[str, Callable[[Evidence], Decision]] = {
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
