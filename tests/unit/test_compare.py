"""From records to answers: pairing, differences, names and verdicts."""

import numpy as np
import pandas as pd
import pytest

from helpers import compare
from helpers.stats import Interval


def margins(name: str, values: np.ndarray) -> pd.DataFrame:
    """Records of one scorer from margins (seeds, examples), rows shuffled."""
    rows = [
        {
            "method": name,
            "init": "",
            "seed": seed,
            "subset": "helpful",
            "example": f"e{example:03d}",
            "metric": "margin",
            "value": value,
        }
        for (seed, example), value in np.ndenumerate(values)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_values_come_in_the_order_of_seeds_and_examples():
    values = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(compare.by_seed(margins("a", values)), values)


def test_a_missing_example_of_a_seed_is_refused():
    records = margins("a", np.ones((2, 3))).iloc[1:]
    with pytest.raises(ValueError, match="1 examples lack"):
        compare.by_seed(records)


def test_accuracy_counts_a_tie_as_one_half():
    records = margins("a", np.array([[1.0, -1.0, 0.0, 2.0]]))
    table = compare.accuracy_table(compare.named(records), by=["name"])
    assert table["estimate"].tolist() == [0.625]
    assert table["low"][0] < 0.625 < table["high"][0]


def test_both_subsets_are_one_mean_over_all_examples():
    other = margins("a", np.full((1, 2), 5.0)).assign(subset="harmless")
    records = pd.concat([margins("a", np.zeros((1, 6))), other])
    table = compare.mean_table(records.assign(name="a"), ["name"], subsets=False)
    assert table["estimate"].tolist() == [10 / 8]
    assert table["subset"].tolist() == ["both"]


def test_a_difference_is_paired_and_has_the_sign_of_its_name():
    noise = np.random.default_rng(0).normal(size=(3, 200))
    records = compare.named(
        pd.concat([margins("a", noise + 1), margins("b", noise + 0.9)])
    )
    table = compare.difference_table(records, [("a", "b"), ("a", "absent")])
    assert table["name"].tolist() == ["a − b"]
    # the shared noise cancels: unpaired, 0.1 would drown in it
    assert table["low"][0] == pytest.approx(0.1) == table["high"][0]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 0.3, "up"), (-0.3, -0.1, "down"), (-0.1, 0.3, "no difference")],
)
def test_a_verdict_needs_an_interval_that_leaves_out_zero(low, high, said):
    words = compare.verdict(Interval(0.0, low, high), "up", "down")
    assert words.startswith(said)


def test_names_tell_the_reward_models_start():
    assert compare.name_of("ppo", "codepmp") == "ppo (codepmp)"
    assert compare.name_of("sft", "") == "sft"


def test_late_means_take_the_end_of_training_only():
    rows = [
        {"metric": "reward", "step": step, "value": float(step), "init": "base"}
        for step in range(1, 9)
    ]
    late = compare.late_mean(pd.DataFrame(rows), ["reward"], by=["init"])
    assert late["base"] == pytest.approx((7 + 8) / 2)


def test_late_differences_are_paired_over_seeds():
    rows = [
        {"method": method, "seed": seed, "metric": "kl", "step": 4, "value": value}
        for method, shift in (("ppo", 0.0), ("ppo_no_kl", 2.0))
        for seed, value in enumerate((1 + shift, 5 + shift, 3 + shift))
    ]
    table = compare.late_differences(pd.DataFrame(rows), ["kl"], opponent="ppo")
    (row,) = table.to_dict("records")
    assert (row["name"], row["metric"]) == ("ppo_no_kl", "kl")
    # the seeds differ much, their differences do not
    assert row["low"] == pytest.approx(2.0) and row["high"] == pytest.approx(2.0)
    alone = compare.late_differences(pd.DataFrame(rows[:3]), ["kl"], opponent="ppo")
    assert alone.empty and "interval" in alone


def test_metrics_of_judges_become_a_table() -> None:
    rows = [
        ("ppo", "base", "reward:truth:greedy", 1.0),
        ("ppo", "base", "reward:truth:greedy", 2.0),
        ("ppo", "base", "reward:truth:sampled", 5.0),
        ("sft", "", "reward:held-out RM:greedy", 3.0),
    ]
    records = pd.DataFrame(rows, columns=["method", "init", "metric", "value"])
    table = compare.metric_means(records, across="decoding")
    assert table.loc[("ppo (base)", "truth")].to_dict() == {"greedy": 1.5, "sampled": 5}
    assert table.loc[("sft", "held-out RM"), "greedy"] == 3.0
    rates = records.assign(metric="HmR:truth")
    assert compare.metric_means(rates, across="kind").loc[("sft", "truth"), "HmR"] == 3


def test_estimates_come_back_from_their_records():
    rows = {("b", "both"): (2, 1, 3), ("a", "helpful"): (0.5, -1, 2)}
    table = pd.DataFrame(
        {"name": name, "subset": subset, **compare.bounds(Interval(*each))}
        for (name, subset), each in rows.items()
    )
    records = pd.DataFrame(
        [
            *compare.as_records(table, "gain"),
            {"method": "c", "subset": "both", "metric": "gain", "value": 1.0},
            {"method": "a", "subset": "both", "metric": "other", "value": 1.0},
        ]
    )
    pd.testing.assert_frame_equal(
        compare.from_records(records, "gain"), table, check_dtype=False
    )
    assert compare.find_interval(records, "gain", "b") == Interval(2, 1, 3)
    assert compare.find_interval(records, "gain", "c") is None  # has no interval


def test_an_estimate_that_stands_twice_is_refused():
    records = pd.DataFrame(compare.as_records(one_estimate(), "gain") * 2)
    with pytest.raises(ValueError, match="duplicate"):
        compare.from_records(records, "gain")


def one_estimate() -> pd.DataFrame:
    return compare.one_row("a", Interval(1, 0, 2))
