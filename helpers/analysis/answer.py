"""The answer: what 09 computes from a run's records and says in words.

Each function is one of the book's comparisons. The sentences stand here as templates;
their numbers are filled in by `report.say`, their verdicts come from the ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from helpers.analysis import gate
from helpers.analysis.win_rates import judged
from helpers.core.records import read_records, select
from helpers.data.synthetic.corpus import SUBSETS
from helpers.methods import is_held_out
from helpers.statistics import compare
from helpers.statistics.formats import number

CONTRASTS = [  # of policies, at the strength at which each is compared
    ("sft", "base"),
    ("dpo", "base"),
    ("sft_dpo", "sft"),
    ("dpo_iter (base)", "sft"),
    ("ppo (base)", "sft"),
    ("ppo (codepmp)", "sft"),
    ("rloo (base)", "sft"),
    ("grpo (base)", "sft"),
    ("best_of_n (base)", "sft"),
    ("dpo", "sft"),
    ("ppo (base)", "sft_dpo"),
    ("ppo (base)", "dpo_iter (base)"),
    ("dpo_iter (base)", "sft_dpo"),
    ("ppo (base)", "best_of_n (base)"),
    ("rloo (base)", "ppo (base)"),
    ("grpo (base)", "ppo (base)"),
    ("ppo (codepmp)", "ppo (base)"),
    ("best_of_n (codepmp)", "best_of_n (base)"),
    ("best_of_n (base)", "best_of_n (random)"),
]
# DPO's relatives, all on the same pairs; tis_equal is DPO
RELATIVE_CONTRASTS = [
    ("tis_equal", "sft"),
    ("ipo", "tis_equal"),
    ("dpo_norm", "tis_equal"),
    ("dpo_robust", "tis_equal"),
    ("tis_dpo", "tis_equal"),
    ("tis_dpo_s", "tis_equal"),
    ("tis_random", "tis_equal"),
    ("tis_dpo", "tis_random"),
    ("tis_dpo", "tis_dpo_s"),
]
EQUAL_KL = [
    ("ppo (base)", "sft_dpo"),
    ("ppo (base)", "best_of_n (base)"),
    ("sft_dpo", "best_of_n (base)"),
    ("best_of_n (codepmp)", "best_of_n (base)"),
    ("ppo (codepmp)", "ppo (base)"),
    ("ppo (base)", "dpo_iter (base)"),
    ("dpo_iter (base)", "sft_dpo"),
    ("rloo (base)", "ppo (base)"),
    ("grpo (base)", "ppo (base)"),
    ("tis_dpo", "tis_equal"),
    ("tis_dpo_s", "tis_equal"),
    ("tis_random", "tis_equal"),
    ("tis_dpo", "tis_dpo_s"),
]
FRONTIER = ("sft_dpo", "ppo", "best_of_n", "rloo", "grpo", "dpo_iter")

ANSWER = """\
Data: {source}. Models: {models}. Seeds: {seeds}. Judge of replies: {judge}. {note}

- **CodePMP.** A reward model that read code pairs first differs from one that did not, in
  accuracy on held-out pairs, with all {pairs} pairs, by {codepmp_gain}.
  Verdict: {codepmp_verdict}. Inside PPO it changes the judged reward by
  {ppo_codepmp_gain}. Verdict: {ppo_codepmp_verdict}. The held-out code pairs that it
  learned to tell apart are told by CodePMP in {code_codepmp}, by length in {code_length},
  by a bag of words in {code_words} of the cases.
- **DPO and PPO.** Over SFT, SFT+DPO gains {dpo_over_sft}. Verdict: {dpo_verdict}.
  PPO gains {ppo_over_sft}. Verdict: {ppo_verdict}. PPO minus SFT+DPO is {ppo_over_dpo}.
  Verdict: {ppo_dpo_verdict}. At equal KL it is {ppo_dpo_equal}.
  Verdict: {ppo_dpo_equal_verdict}.
- **Without training a policy.** The best of {best_of} replies by the reward model gains
  {best_over_sft} over SFT. Verdict: {best_verdict}. With CodePMP's reward model instead it
  gains {best_codepmp_gain} more. Verdict: {best_codepmp_verdict}.
- **The judge of replies** is itself right on held-out pairs: on
  {judge_accuracy} ones.
- **As judges of pairs.** The reward model is right on {rm_accuracy} pairs, DPO's implicit
  reward on {dpo_accuracy} ones, a bag of words on {words_accuracy} ones.
- **The unit of rewards.** On held-out pairs the chosen reply lies above the rejected
  one by {unit} on average.
- **Cost.** Processor time beyond the base model: SFT+DPO {dpo_seconds} s, PPO
  {ppo_seconds} s, PPO with CodePMP {ppo_codepmp_seconds} s, best-of-N {best_seconds} s
  with the sampling of all its replies.
"""
# name in `ANSWER` -> which table, method, opponent; replies need a judge that may decide
NUMBERS = {
    "codepmp_gain": ("gain", "codepmp", "base"),
    "ppo_codepmp_gain": ("difference", "ppo (codepmp)", "ppo (base)"),
    "dpo_over_sft": ("difference", "sft_dpo", "sft"),
    "ppo_over_sft": ("difference", "ppo (base)", "sft"),
    "ppo_over_dpo": ("difference", "ppo (base)", "sft_dpo"),
    "ppo_dpo_equal": ("equal", "ppo (base)", "sft_dpo"),
    "best_over_sft": ("difference", "best_of_n (base)", "sft"),
    "best_codepmp_gain": ("difference", "best_of_n (codepmp)", "best_of_n (base)"),
    "rm_accuracy": ("accuracy", "rm (base)", ""),
    "dpo_accuracy": ("accuracy", "sft_dpo implicit", ""),
    "words_accuracy": ("accuracy", "bag of words", ""),
}
# name in `ANSWER` -> the claim that decides it
VERDICTS = {
    "codepmp_verdict": "codepmp_reward_model",
    "ppo_codepmp_verdict": "codepmp_in_ppo",
    "dpo_verdict": "dpo_over_sft",
    "ppo_verdict": "ppo_over_sft",
    "ppo_dpo_verdict": "ppo_over_dpo",
    "ppo_dpo_equal_verdict": "ppo_over_dpo_equal_kl",
    "best_verdict": "best_of_n_over_sft",
    "best_codepmp_verdict": "codepmp_best_of_n",
}


def findings(
    tables: Mapping[str, pd.DataFrame],
    verdict: Callable[[str], str],
    refused: Mapping[str, str],
    cost: pd.DataFrame,
) -> dict[str, object]:
    """The values of `ANSWER`: numbers on each subset, verdicts by the ledger's rule.

    tables: by the names in `NUMBERS`; `gain` of all pairs. verdict: the words of a claim.
    refused: why the judge decides nothing, by subset. A method that was not run says so.
    """
    found = {}
    for name, (table, *sides) in NUMBERS.items():
        on_replies = table in ("difference", "equal")
        found[name] = apart(tables[table], *sides, refused if on_replies else {})
    found |= {name: verdict(claim) for name, claim in VERDICTS.items()}
    seconds = cost.set_index("name")["processor seconds"]
    for name, key in (
        ("dpo", "sft_dpo"),
        ("ppo", "ppo (base)"),
        ("ppo_codepmp", "ppo (codepmp)"),
        ("best", "best_of_n (base)"),
    ):
        found[f"{name}_seconds"] = round_seconds(seconds.get(key, NOT_RUN))
    return found | {"best_of": int(cost["replies per answer"].max())}


def code_accuracy(run: Path) -> dict[str, object]:
    """How often held-out code pairs are told: by CodePMP, by length, by a bag of words."""
    stages = ("02_code_pairs", "03_codepmp")
    records = [read_records(run / stage / "records.parquet") for stage in stages]
    margins = compare.stacked(*records)
    names = margins["init"].where(margins["init"] != "", margins["method"])
    right = compare.accuracy_table(margins.assign(name=names), by=["name"])
    found = right.set_index("name")["interval"]
    asked = {"codepmp": "codepmp", "length": "length", "words": "bag of words"}
    return {f"code_{key}": found.get(name, NOT_RUN) for key, name in asked.items()}


def judge_accuracy(accuracy: pd.DataFrame, panel: Sequence[str]) -> str:
    """How often who judges replies is right on held-out pairs of each subset."""
    return apart(accuracy, gate.scorer(panel), "", {})


def unit_of(margins: pd.DataFrame, panel: Sequence[str]) -> str:
    """How far the judges of replies set the two replies of held-out pairs apart.

    margins: of scorers on pairs, with a column `name`. What a difference in judged reward
    is to be read against.
    """
    own = margins[margins["name"] == gate.scorer(panel)]
    means = own.groupby("subset")["value"].mean()
    return " and ".join(f"{means[each]:.2f} on {each}" for each in SUBSETS)


def by_judge(
    records: pd.DataFrame, decoding: str, contrasts: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """The differences of `compare.difference_table` as each kind of judge sees them.

    The held-out models are one kind. Column: judge.
    """
    present = select(records, "reward")["judge"].unique()
    kinds: dict[str, list[str]] = {}
    for name in present:
        kind = "held-out models" if is_held_out(name) else name
        kinds.setdefault(kind, []).append(name)
    parts = [
        compare.difference_table(judged(records, panel, decoding), contrasts).assign(
            judge=kind
        )
        for kind, panel in kinds.items()
    ]
    return compare.stacked(*parts)


NOT_RUN = "(not run)"


def apart(
    table: pd.DataFrame, method: str, opponent: str, refused: Mapping[str, str]
) -> str:
    """An estimate on helpful and on harmless examples, in words; never one for both.

    Where the judge decides nothing there is no number; where there is none, the reason.
    """
    own = table[table["subset"].isin(SUBSETS) & (table["method"] == method)]
    own = own[own["opponent"] == opponent].set_index("subset")
    said = []
    for subset in own.index:
        interval = own.loc[subset, "interval"]
        if refused.get(subset):
            said.append(f"no number on {subset}, where the judge fails its gate")
        elif interval is None:
            said.append(f"no number on {subset}: {own.loc[subset, 'why']}")
        else:
            said.append(f"{number(interval)} on {subset}")
    return " and ".join(said) or NOT_RUN


def round_seconds(seconds: object) -> object:
    """Whole seconds: prose needs no more."""
    return round(seconds) if isinstance(seconds, float) else seconds
