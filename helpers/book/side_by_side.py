"""Papers' numbers, this run's and those of recorded runs in one table, never confused.

`book/reported.yml` lists the quantities. Each column says what kind of number it holds:
reported (cited), synthetic, or real pairs with small models.
"""

import json
from math import isnan
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from helpers.analysis import run_notes
from helpers.core import escape
from helpers.core.markdown_tables import markdown_table
from helpers.core.paths import STAGES
from helpers.core.records import read_records, select, tidy
from helpers.ledger import claims
from helpers.ledger.checks import Evidence
from helpers.ledger.entries import read_reported
from helpers.ledger.rule import UNTESTED, Decision
from helpers.statistics import estimates
from helpers.statistics.formats import cell, number
from helpers.statistics.intervals import Interval

COMPARED = ("09_compare", "08_evaluate", "07_ppo")  # the stages whose intervals are
KEPT = ("stage", "metric", "method", "opponent", "subset", "judge", "value", "low")
KEPT += ("high", "error", "p", "seeds", "n")
FULL = "full"  # the tier that has everything, and the name of its recorded run
NUMBERS = "numbers.csv"  # of a recorded run: its intervals, without per-example records

TEXT = """
## Reported, synthetic and real, side by side

Three kinds of numbers, one column each; do not read one for another. *Reported* numbers
are the papers', of models a thousand times larger and under other judges: signs and orders
compare with ours, sizes do not. Ours are 95 % intervals over examples and seeds, of small
models: judged reward is in units of the run's own judge.
"""


def numbers(run: Path) -> pd.DataFrame:
    """The estimates of a run's comparison, as records in the columns `KEPT`.

    With those that could not be given, as of curves that do not overlap.
    """
    found = []
    for stage in COMPARED:
        records = read_records(run / stage / "records.parquet")
        found.append(select(records, list(estimates.ESTIMATES), example=""))
    return pd.concat(found)[list(KEPT)]


def quoted(
    table: pd.DataFrame, stage: str = "09_compare", **wanted: str
) -> Interval | None:
    """One interval of `numbers`, as `estimates.find_interval`."""
    return estimates.find_interval(table, stage=stage, **wanted)


def side_by_side(run: Path, root: Path) -> list[str]:
    """The table as Markdown: reported, this run, and every recorded run."""
    quantities = read_reported(root / "book" / "reported.yml")
    setting = run_notes.setting(run)
    kind = "synthetic" if "synthetic" in setting["source"] else "real pairs"
    columns = {f"this run: {kind}, {setting['seeds']} seeds": numbers(run)}
    for name, about, table in recorded_numbers(root):
        old = ", made before a fix" if about.get("superseded") else ""
        columns[f"`{name}`: {escape.markdown(about['kind'])}{old}"] = table
    rows = []
    for each in quantities:
        source = f" {{cite}}`{each['source']}`" if "source" in each else ""
        row = {"quantity": each["quantity"], "reported": each["reported"] + source}
        for title, table in columns.items():
            found = quoted(table, **each["record"])
            row[title] = "–" if found is None else cell(found)
        rows.append(row)
    return [TEXT, markdown_table(rows)]


class Recorded(NamedTuple):
    """A recorded run: its name, what `about.json` says of it, its intervals."""

    name: str
    about: dict
    table: pd.DataFrame

    @property
    def page(self) -> str:
        """The page that shows it, as a link."""
        return "[The full run](full)" if self.name == FULL else "[On real pairs](real)"


def run_folders(root: Path) -> list[Path]:
    """The folders of all recorded runs, by name."""
    return sorted((root / "book" / "recorded" / "runs").glob("*"))


def recorded_numbers(root: Path) -> list[Recorded]:
    """Every recorded run, by name."""
    found = []
    for folder in run_folders(root):
        about = json.loads((folder / "about.json").read_text("utf-8"))
        table = tidy(pd.read_csv(folder / NUMBERS))
        found.append(Recorded(folder.name, about, table))
    return found


# what is said of a recorded run: words, claim of the ledger
SAID = (
    ("CodePMP for the reward model", "codepmp_reward_model"),
    ("SFT+DPO after SFT", "dpo_over_sft"),
    ("PPO after SFT", "ppo_over_sft"),
    ("PPO or SFT+DPO, as trained", "ppo_over_dpo"),
    ("PPO or SFT+DPO, at equal KL", "ppo_over_dpo_equal_kl"),
    ("CodePMP inside PPO", "codepmp_in_ppo"),
)


def about_judge(table: pd.DataFrame) -> str:
    """How far the judge of replies of a run can be trusted, in a sentence."""
    judge = {"metric": "accuracy", "method": "judge"}
    right = {
        subset: quoted(table, **judge, subset=subset)
        for subset in ("harmless", "helpful")
    }
    if None in right.values() or quoted(
        table, metric="accuracy", method="truth", subset="helpful"
    ):
        return ""  # the truth has judged
    words = " and ".join(f"{number(each)} of {name}" for name, each in right.items())
    return (
        "Its judge of replies is a reward model of the same kind, trained on other pairs "
        f"and right on {words} ones: gains in its score are no more than that. "
    )


def recorded_answer(root: Path) -> str:
    """The answer of each recorded run in one paragraph.

    Decided from its recorded numbers by the rule of `verdicts`, as this run's are. None
    where the run is superseded: then it is said why.
    """
    parts = []
    for recorded in recorded_numbers(root):
        name, about, table = recorded
        kind = escape.markdown(about["kind"])
        if why := about.get("superseded"):
            parts.append(
                f"**Recorded run `{name}`** ({kind}): not decided. {why} Its numbers "
                f"stand on {recorded.page}; no verdict is drawn from them.\n"
            )
            continue
        said = " ".join(filter(None, verdicts_of(table, root)))
        parts.append(
            f"**Recorded run `{name}`** ({kind}). {said} {about_judge(table)}"
            f"More in {recorded.page}.\n"
        )
    return "\n".join(parts) or "No run is recorded in this copy.\n"


def evidence_of(table: pd.DataFrame, root: Path) -> Evidence:
    """Recorded numbers as evidence on claims."""
    return Evidence(root, {stage: table[table["stage"] == stage] for stage in STAGES})


def decisions_of(table: pd.DataFrame, root: Path) -> dict[str, Decision]:
    """The decisions on all claims that records back, by id, from recorded numbers."""
    return claims.decide(evidence_of(table, root), root)


def verdicts_of(table: pd.DataFrame, root: Path) -> list[str]:
    """A sentence for each of `SAID`; "" for what the run did not measure.

    table: the numbers of a recorded run. Raises KeyError for a claim that the ledger
    does not have.
    """
    decisions, said = decisions_of(table, root), []
    for words, name in SAID:
        found = {
            subset: decisions[f"{name}_{subset}"] for subset in ("helpful", "harmless")
        }
        told = [
            f"on {subset} pairs {in_brief(each)}"
            for subset, each in found.items()
            if each.status != UNTESTED
        ]
        said.append(f"{words}: {'; '.join(told)}." if told else "")
    return said


def in_brief(decision: Decision) -> str:
    """A verdict in words, with what it rests on where something was tested."""
    if isnan(decision.p):
        return decision.words
    return f"{decision.words} ({decision.evidence})"
