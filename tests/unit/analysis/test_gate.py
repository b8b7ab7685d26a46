"""The gate of a judge: what passes, what fails, and that no record means no verdict."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis import gate
from helpers.core.records import tidy
from helpers.statistics import compare, estimates

PAIRS = 400


def margins(
    name: str, right: float, seeds: int, subset: str = "helpful"
) -> pd.DataFrame:
    """Margins of a scorer that is right on so many pairs, on others with each seed."""
    random = np.random.default_rng([len(name), seeds])
    values = np.where(random.random((seeds, PAIRS)) < right, 1.0, -1.0)
    rows = [
        {"method": name, "seed": seed, "example": f"e{at}", "value": value}
        for (seed, at), value in np.ndenumerate(values)
    ]
    frame = pd.DataFrame(rows).assign(init="", subset=subset, metric="margin")
    return compare.named(frame)


def records(judge: float, words: float = 0.6, length: float = 0.55) -> pd.DataFrame:
    """What 09 records of three judges of one accuracy beside the two rules."""
    scorers = [("judge", judge, 3), ("bag of words", words, 1), ("length", length, 1)]
    found = pd.concat([margins(*each) for each in scorers])
    tables = gate.examine(found, ["judge 0", "judge 1", "judge 2"])
    return tidy(
        [
            row
            for metric, table in tables.items()
            for row in estimates.as_records(table, metric)
        ]
    )


def test_a_judge_that_is_better_than_chance_and_both_rules_decides() -> None:
    assert gate.why_not(records(judge=0.8), "helpful") == ""


@pytest.mark.parametrize(
    ("judge", "words", "length", "reason"),
    [
        (0.40, 0.30, 0.30, "chance"),
        (0.70, 0.69, 0.55, "bag of words"),
        (0.70, 0.60, 0.75, "length"),
    ],
)
def test_a_judge_fails_by_each_of_the_three(judge, words, length, reason) -> None:
    why = gate.why_not(records(judge, words, length), "helpful")
    assert "fails its gate on helpful pairs" in why and reason in why


def test_both_need_both_and_no_record_is_no_judge() -> None:
    why = gate.why_not(records(judge=0.8), "both")
    assert why == "no judge was tested on harmless pairs"


def test_the_truth_has_nothing_to_pass() -> None:
    found = pd.concat(
        [
            margins("truth", 0.55, 1),
            margins("bag of words", 0.9, 1),
            margins("length", 0.9, 1),
        ]
    )
    tables = gate.examine(found, ["truth"])
    rows = [
        row
        for metric, each in tables.items()
        for row in estimates.as_records(each, metric)
    ]
    assert gate.why_not(tidy(rows), "helpful") == ""


def test_the_gate_is_a_table_for_the_reader() -> None:
    table = gate.verdict_of(records(judge=0.45)).set_index("subset")
    assert table.loc["helpful", "decides"] == "no"
    assert table.loc["helpful", "right on"].seeds == 3  # the judges
