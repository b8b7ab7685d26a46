"""Scorers looked at closely: simulated scorers whose properties are known."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis import pair_scorers
from helpers.figures import panels
from helpers.statistics import estimates, formats, metrics
from helpers.statistics.intervals import Interval

RANDOM = np.random.default_rng(0)
SIZE = 2000
TEST = pd.DataFrame(
    {
        "id": [f"e{at:04d}" for at in range(SIZE)],
        "turns": RANDOM.integers(1, 6, SIZE),
        "chosen": ["x" * n for n in RANDOM.integers(1, 50, SIZE)],
        "rejected": ["x" * n for n in RANDOM.integers(1, 50, SIZE)],
    }
)


def margins(name: str, values: np.ndarray, **columns: object) -> pd.DataFrame:
    """Margins (seeds, examples) of a scorer as records."""
    rows = [
        {"seed": seed, "example": TEST["id"][at], "value": value}
        for (seed, at), value in np.ndenumerate(np.atleast_2d(values))
    ]
    place = {"method": name, "name": name, "subset": "helpful", "metric": "margin"}
    return pd.DataFrame(rows).assign(**(place | {"init": ""} | columns))


def calibrated(scale: float = 1.0) -> np.ndarray:
    """Margins that are the log-odds of being positive, times `scale`; (2, SIZE)."""
    odds = RANDOM.normal(size=(2, SIZE))
    right = RANDOM.random(odds.shape) < 1 / (1 + np.exp(-np.abs(odds)))
    return np.abs(odds) * np.where(right, 1, -1) * scale


def test_accuracy_is_told_apart_by_depth_and_by_length_gap() -> None:
    first = np.where(TEST["turns"] == 1, 1.0, -1.0)
    table = pair_scorers.by_depth(margins("first turns", first), TEST).set_index(
        "depth"
    )
    assert table["estimate"].tolist() == [1.0, 0.0, 0.0]
    length = pair_scorers.by_length_gap(
        margins("length", metrics.length_margin(TEST)), TEST
    )
    assert len(length) == 4
    assert length["estimate"].iloc[0] == 0 and length["estimate"].iloc[-1] == 1
    assert length["estimate"].is_monotonic_increasing


def test_a_calibrated_scorer_has_little_error_and_a_loud_one_much() -> None:
    both = pd.concat([margins("fair", calibrated()), margins("loud", calibrated(5))])
    table = pair_scorers.calibration(both).set_index("name")
    assert table["high"]["fair"] < 0.08 and table["low"]["loud"] > 0.12
    assert table["low"]["fair"] == 0  # noise alone is no error
    scores = table["brier"].map(lambda each: each.estimate)
    assert scores["fair"] < scores["loud"]
    curves = pair_scorers.reliability(both)
    loud = curves[curves["name"] == "loud"]
    assert (loud["accuracy"] < loud["confidence"])[loud["confidence"] > 0.8].all()
    assert len(panels.reliability(curves).axes) == 1


def test_agreement_is_whole_with_oneself_and_none_with_the_opposite() -> None:
    values = RANDOM.normal(size=(3, SIZE))
    rows = [margins("a", values), margins("b", values[0]), margins("not a", -values)]
    table = pair_scorers.agreement(pd.concat(rows), ["a", "b", "not a", "absent"])
    assert table.loc["a", "a"] == 1 and table.loc["a", "not a"] == 0
    assert table.loc["a", "b"] == pytest.approx(2 / 3, abs=0.05)  # one seed of three
    assert list(table.columns) == ["a", "b", "not a"]
    assert panels.agreement(table).axes


def curve(init: str, shift: float, sizes=(600, 2400, 9600)) -> list[pd.DataFrame]:
    """Reward models whose accuracy grows by 0.03 a doubling; `shift` doublings ahead."""
    parts = []
    for pairs in sizes:
        accuracy = 0.6 + 0.03 * (np.log2(pairs / 600) + shift)
        right = np.random.default_rng(pairs).random((3, SIZE)) < accuracy
        parts.append(margins("rm", np.where(right, 1.0, -1.0), init=init, pairs=pairs))
    return parts


def test_a_start_that_is_a_doubling_ahead_is_worth_twice_the_labels() -> None:
    factor, slope = pair_scorers.label_worth(
        pd.concat([*curve("base", 0), *curve("codepmp", 1)]), "codepmp"
    )
    assert factor.low < 2 < factor.high and factor.low > 1
    assert slope.low < 0.03 < slope.high


def test_without_two_sizes_there_is_no_worth() -> None:
    one = [*curve("base", 0), *curve("codepmp", 1, sizes=(600,))]
    assert pair_scorers.label_worth(pd.concat(one), "codepmp") is None
    assert pair_scorers.labels_saved(pd.concat(one), "codepmp") is None


def test_labels_that_may_be_lost_as_well_are_undecided() -> None:
    open_ended = Interval(-1272, -5055, 8132)
    assert pair_scorers.where_decided(open_ended) == "undecided"
    sure = Interval(500, 20, 900)
    assert pair_scorers.where_decided(sure) is sure


def test_labels_saved_are_those_that_a_start_does_without() -> None:
    parts = pd.concat([*curve("base", 0), *curve("codepmp", 1)])
    table = pair_scorers.labels_saved(parts, "codepmp").set_index("pairs")
    assert table.index.tolist() == [600, 2400, 9600]
    for pairs, row in table.iterrows():
        # twice the labels: half of them are saved, and never more than all
        assert row["saved"].low < pairs / 2 < row["saved"].high <= pairs
        assert row["gain"].low < 0.03 < row["gain"].high
        for end in ("estimate", "low", "high"):
            factor = getattr(row["factor"], end)
            assert getattr(row["saved"], end) == pytest.approx(pairs * (1 - 1 / factor))


def test_where_more_pairs_do_not_surely_help_no_bound_is_given() -> None:
    """Curves without a slope: today's factor was a number of sixteen digits."""
    random = np.random.default_rng(0)
    parts = [
        margins("rm", random.normal(size=(3, SIZE)), init=init, pairs=pairs)
        for init in ("base", "codepmp")
        for pairs in (600, 2400)
    ]
    factor, slope = pair_scorers.label_worth(pd.concat(parts), "codepmp")
    assert slope.low < 0 < slope.high
    assert (factor.low, factor.high) == (0.0, np.inf)
    saved = pair_scorers.labels_saved(pd.concat(parts), "codepmp")["saved"].iloc[0]
    assert (saved.low, saved.high) == (-np.inf, 600)
    assert formats.cell(factor).endswith("[0.000, no bound]")
    assert "e+" not in formats.cell(saved)


def test_a_gain_is_paired_and_told_for_each_number_of_pairs() -> None:
    table = pair_scorers.pretraining_gains(
        pd.concat([*curve("base", 0), *curve("x", 1)])
    )
    both = table[table["subset"] == "both"]
    assert both["pairs"].tolist() == [600, 2400, 9600]
    assert (both["low"] > 0).all() and set(both["init"]) == {"x"}
    assert set(table.columns) >= set(estimates.BOUNDS)


def test_errors_that_go_along_are_told_from_those_of_their_own() -> None:
    random = np.random.default_rng(0)
    truth, shared, own = random.normal(size=(3, 400))
    scores = {
        "truth": truth,
        "judge": 2 * truth + shared,
        "rm (base)": truth + 3 * shared,
        "rm (codepmp)": truth + own,
    }
    rows = [
        {
            "name": name,
            "seed": 0,
            "subset": "helpful",
            "example": f"e{at}",
            "value": value,
        }
        for name, values in scores.items()
        for at, value in enumerate(values)
    ]
    table = pair_scorers.shared_errors(
        pd.DataFrame(rows), ["judge"], ["rm (base)", "rm (codepmp)"]
    ).set_index("model")["correlation"]
    assert table["rm (base)"] == pytest.approx(1, abs=1e-6)
    assert abs(table["rm (codepmp)"]) < 0.15
    real = [row for row in rows if row["name"] != "truth"]
    assert pair_scorers.shared_errors(
        pd.DataFrame(real), ["judge"], ["rm (base)"]
    ).empty


def test_what_codepmp_gains_is_told_by_what_was_learned() -> None:
    """Right on a fifth of the pairs more for both subsets, on all of one alone."""
    place = {"pairs": 100, "subset": "helpful"}
    share = np.linspace(0, 1, SIZE)

    def rm(method: str, init: str, right: float) -> pd.DataFrame:
        values = np.stack([np.where(share < right, 1.0, -1.0)] * 2)
        return margins(method, values, init=init, **place)

    shares = {("rm", "base"): 0.5, ("rm", "codepmp"): 0.7}
    shares |= {("rm_helpful", "base"): 0.0, ("rm_helpful", "codepmp"): 1.1}
    records = pd.concat([rm(*key, right) for key, right in shares.items()])
    gains = pair_scorers.pretraining_gains(records)
    found = gains[gains["subset"] == "helpful"].set_index("learned")["estimate"]
    assert found.to_dict() == pytest.approx({"rm": 0.2, "rm_helpful": 1.0}, abs=0.01)
