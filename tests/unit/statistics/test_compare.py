"""From records to answers: pairing, differences, names and verdicts."""

import numpy as np
import pandas as pd
import pytest

from helpers.core.records import select, tidy
from helpers.methods import name_of
from helpers.statistics import compare, estimates
from helpers.statistics.intervals import Interval


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


def test_a_difference_is_paired_and_has_the_sign_of_its_name():
    noise = np.random.default_rng(0).normal(size=(3, 200))
    records = compare.named(
        pd.concat([margins("a", noise + 1), margins("b", noise + 0.9)])
    )
    table = compare.difference_table(records, [("a", "b"), ("a", "absent")])
    assert table["name"].tolist() == ["a − b"]
    # the shared noise cancels: unpaired, 0.1 would drown in it
    assert table["estimate"][0] == pytest.approx(0.1)
    assert 0.09 < table["low"][0] < table["high"][0] < 0.11
    assert table["detectable"][0].high < 0.01


def test_only_rules_meet_every_seed_of_a_model():
    noise = np.random.default_rng(0).normal(size=(3, 200))
    models = [margins("a", noise), margins("b", noise[:1] + 1), margins("c", noise + 2)]
    rule = margins("length", noise[:1])
    records = compare.named(pd.concat([*models, rule]))
    # b has but seed 0, and is compared on it alone
    assert compare.paired(records, "a", "b").shape == (1, 200)
    assert compare.paired(records, "a", "length").shape == (3, 200)
    assert compare.paired(records, "a", "c").shape == (3, 200)
    table = compare.difference_table(records, [("a", "b"), ("a", "length")])
    assert [each.seeds for each in table["interval"]] == [1, 3]
    late = records.assign(seed=records["seed"] + 5)
    both = pd.concat([records[records["name"] == "a"], late[late["name"] == "b"]])
    with pytest.raises(ValueError, match=r"a has the seeds \[0, 1, 2\], b \[5\]"):
        compare.paired(both, "a", "b")


def test_a_contrast_learns_from_its_family_how_seeds_differ():
    """Three seeds that agree by chance do not decide where those of others differ."""
    random = np.random.default_rng(1)
    noise = random.normal(size=(3, 200))
    names = [f"m{at}" for at in range(8)]
    moved = [noise + random.normal(size=(3, 1)) for _ in names]
    lucky = margins("a", noise + 0.1 + 0.01 * random.normal(size=(3, 200)))
    parts = [margins("b", noise), lucky, *map(margins, names, moved)]
    records = compare.named(pd.concat(parts))
    alone = compare.difference_table(records, [("a", "b")]).iloc[0]
    among = compare.difference_table(records, [(each, "b") for each in ["a", *names]])
    assert alone["low"] > 0 and alone["p"] < 0.05
    assert among["low"][0] < 0 < among["high"][0] and among["p"][0] > 0.05
    assert among["estimate"][0] == alone["estimate"]


def test_names_tell_the_reward_models_start():
    assert name_of("ppo", "codepmp") == "ppo (codepmp)"
    assert name_of("sft", "") == "sft"


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
    # of which three alike are no proof
    assert row["estimate"] == 2.0 and 0 < row["low"] < 2.0
    alone = compare.late_differences(pd.DataFrame(rows[:3]), ["kl"], opponent="ppo")
    assert alone.empty and "interval" in alone


def test_records_are_selected_by_their_columns() -> None:
    records = tidy(
        [
            {"metric": "reward", "judge": "truth", "decoding": "greedy", "value": 1.0},
            {"metric": "reward", "judge": "judge 0", "decoding": "greedy", "value": 2},
            {"metric": "kl", "value": 3.0},
        ]
    )
    chosen = select(records, "reward", judge=["truth", "other"])
    assert chosen["value"].tolist() == [1.0]
    assert len(select(records, judge="")) == 1
    with pytest.raises(KeyError, match="judges"):
        select(records, "reward", judges="truth")


def test_several_judges_are_an_axis_of_their_own() -> None:
    values = np.arange(12.0).reshape(2, 2, 3)
    parts = [
        margins("a", each).assign(judge=f"j{at}") for at, each in enumerate(values)
    ]
    assert (compare.by_seed(pd.concat(parts)) == values).all()
    with pytest.raises(ValueError, match="1 examples lack"):
        compare.by_seed(pd.concat(parts).iloc[1:])
    with pytest.raises(
        ValueError, match="1 values of an example and a seed stand twice"
    ):
        compare.by_seed(pd.concat([*parts, parts[0].iloc[:1]]))


def test_estimates_come_back_from_their_records():
    whole = Interval(2, 1, 3, error=0.5, seeds=3, n=20)
    rows = [
        {**estimates.contrast("sft_dpo", "sft"), "subset": "both", "p": 0.01},
        {**estimates.called("sft", ""), "subset": "helpful", "p": 0.5},
    ]
    table = pd.DataFrame({**each, **estimates.bounds(whole)} for each in rows)
    records = tidy(
        [
            *estimates.as_records(table, "gain"),
            {"method": "dpo", "subset": "both", "metric": "gain", "value": 1.0},
            {"method": "sft", "subset": "both", "metric": "reward", "value": 1.0},
        ]
    )
    found = estimates.from_records(records, "gain")
    same = {"check_like": True, "check_dtype": False}
    pd.testing.assert_frame_equal(found, table, **same)
    one = estimates.find_interval(records, "gain", "sft_dpo", "sft")
    assert (one, one.error, one.seeds, one.n) == (whole, 0.5, 3, 20)
    assert estimates.find_interval(records, "gain", "dpo") is None  # has no interval


def test_a_name_that_nobody_has_is_an_error_and_not_a_method_that_was_not_run() -> None:
    records = tidy(estimates.as_records(one_estimate(), "gain"))
    with pytest.raises(KeyError, match="no estimate is called 'gains'"):
        estimates.find_interval(records, "gains", "sft")
    for sides in (("sft+dpo", "sft"), ("sft_dpo", "SFT")):
        with pytest.raises(KeyError, match="no model is called"):
            estimates.find_interval(records, "gain", *sides)
    with pytest.raises(KeyError, match="no estimate 'gains'"):
        estimates.as_records(one_estimate(), "gains")


def test_an_estimate_that_stands_twice_is_refused():
    records = tidy(estimates.as_records(one_estimate(), "gain") * 2)
    with pytest.raises(ValueError, match="stands there twice"):
        estimates.from_records(records, "gain")


def one_estimate() -> pd.DataFrame:
    return estimates.one_row("a", Interval(1, 0, 2))


def test_both_subsets_count_alike_however_many_examples_they_have() -> None:
    random = np.random.default_rng(0)
    few = margins("a", random.normal(1.0, 1.0, (3, 40))).assign(subset="harmless")
    many = margins("a", random.normal(0.0, 1.0, (3, 360)))
    records = compare.named(pd.concat([few, many]).assign(init=""))
    row = compare.mean_table(records, by=["name"], subsets=False).iloc[0]
    apart = compare.mean_table(records, by=["name"])["estimate"]
    assert row["estimate"] == pytest.approx(apart.mean())
    assert row["estimate"] != pytest.approx(records["value"].mean(), abs=0.2)
    # the small subset's error counts by its weight of one half, not by its size
    alone = [
        each.high - each.low
        for each in compare.mean_table(records, by=["name"])["interval"]
    ]
    assert row["high"] - row["low"] == pytest.approx(np.hypot(*alone) / 2, rel=0.15)
