"""The numbers of cards: with intervals, and none of replies whose judge may not decide."""

import pandas as pd
import pytest

from helpers.core.records import tidy
from helpers.publish import card_numbers
from helpers.statistics import estimates
from helpers.statistics.intervals import Interval


def records(judge_low: float) -> pd.DataFrame:
    """A difference of replies on either subset, and a judge who fails on helpful pairs."""
    rows = []
    for subset in ("helpful", "harmless"):
        one = estimates.one_row("sft", Interval(1, 0.5, 1.5, seeds=3), "base")
        rows += estimates.as_records(one.assign(subset=subset), "difference")
        low = judge_low if subset == "helpful" else 0.6
        judge = estimates.one_row("judge", Interval(0.65, low, 0.7))
        rows += estimates.as_records(judge.assign(subset=subset), "judge_accuracy")
        for metric in ("judge_over_length", "judge_over_words"):
            better = estimates.one_row("judge", Interval(0.1, 0.05, 0.15), "length")
            rows += estimates.as_records(better.assign(subset=subset), metric)
    return tidy(rows)


@pytest.mark.parametrize(
    ("low", "shown"), [(0.55, {"helpful", "harmless"}), (0.45, {"harmless"})]
)
def test_a_card_has_no_number_from_a_judge_that_fails(low, shown) -> None:
    found = card_numbers.results(records(low), "difference", "sft", "base")
    assert set(found["subset"]) == shown
    assert set(found["metric"]) == {"judged reward, sft − base"}
    why = card_numbers.refusals(records(low))
    assert ("Not decided: the judge fails its gate on helpful" in why) == (low < 0.5)


def test_a_model_that_nobody_has_gives_no_number() -> None:
    assert card_numbers.results(records(0.6), "difference", "sft", "").empty
