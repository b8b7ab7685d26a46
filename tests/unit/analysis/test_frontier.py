"""Best-of-N, the frontier and equal distance, against what can be counted by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from helpers.analysis import frontier
from helpers.core.records import select, tidy
from helpers.recipes import best_of_n, evaluate
from helpers.statistics import equal_kl, estimates, intervals
from helpers.statistics.equal_kl import Curve


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_selection_weights_are_the_mean_over_all_subsets(count: int) -> None:
    random = np.random.default_rng(0)
    scores, values = random.normal(size=(2, 5))
    subsets = [list(each) for each in itertools.combinations(range(5), count)]
    chosen = [max(each, key=lambda row: scores[row]) for each in subsets]
    weights = best_of_n.selection_weights(scores, count)
    assert weights.sum() == pytest.approx(1)
    assert weights @ values == pytest.approx(values[chosen].mean())


def test_alike_replies_are_one_of_them_and_too_few_are_refused() -> None:
    weights = best_of_n.selection_weights(np.zeros(4), 2)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    with pytest.raises(ValueError, match="best of 5: expected 1 to 4"):
        best_of_n.selection_weights(np.zeros(4), 5)


def test_best_of_one_is_the_policy_and_more_leave_it() -> None:
    assert best_of_n.kl_bound(1) == 0
    assert best_of_n.kl_bound(4) == pytest.approx(math.log(4) - 0.75)
    # a policy with many equally likely replies: the best of N has density N u^(N - 1)
    u = (np.arange(200_000) + 0.5) / 200_000
    density = 4 * u**3
    assert best_of_n.kl_bound(4) == pytest.approx(
        (density * np.log(density)).mean(), abs=1e-4
    )


def test_what_is_measured_is_that_of_the_best() -> None:
    pairs = pd.DataFrame({"id": ["a", "b"], "subset": ["helpful", "harmless"]})
    scores = np.array([0.0, 1.0, 2.0, 9.0, 8.0, 7.0])
    rows = best_of_n.expected_rows(pairs, {("m", "j"): np.arange(6.0)}, scores, 3)
    assert {row["metric"] for row in rows} == {"kl", "m"}
    # of all three replies, the best one is drawn for sure
    for decoding in ("sampled", "drawn"):
        found = select(tidy(rows), "m", judge="j", decoding=decoding)
        assert found["value"].tolist() == [2.0, 3.0]


def test_one_reply_is_drawn_as_often_as_it_would_be_the_best() -> None:
    weights = best_of_n.selection_weights(np.arange(4.0), 2)
    drawn = best_of_n.drawn(np.tile(weights, (20_000, 1)))
    shares = np.bincount(drawn, minlength=4) / 20_000
    assert shares == pytest.approx(weights, abs=0.01) and shares[0] == 0


def test_one_reply_stands_for_best_of_n_where_replies_are_compared() -> None:
    frame = pd.DataFrame({"method": ["sft", "best_of_n", "best_of_n"]}).assign(
        decoding=["sampled", "sampled", "drawn"], value=[1.0, 2.0, 3.0]
    )
    single = best_of_n.single_replies(frame)
    assert single["value"].tolist() == [1.0, 3.0] and set(single["decoding"]) == {
        "sampled"
    }


# --- frontier -------------------------------------------------------------------------


def policy(method: str, init: str, strength: float | None, kl: float, gain: float):
    """Records of one policy: 2 seeds, 30 prompts, noise that all policies share."""
    noise = np.random.default_rng(0).normal(size=(2, 30))
    metrics = {
        ("kl", "", ""): np.full((2, 30), kl),
        ("reward", "judge", "sampled"): noise + gain,
        ("proxy", "base", "sampled"): noise + 2 * gain,
        ("proxy", "codepmp", "sampled"): noise + 3 * gain,
    }
    return [
        {
            "method": method,
            "init": init,
            "strength": strength,
            "seed": seed,
            "subset": "helpful",
            "example": f"e{example}",
            "metric": metric,
            "judge": judge,
            "decoding": decoding,
            "value": value,
        }
        for (metric, judge, decoding), values in metrics.items()
        for (seed, example), value in np.ndenumerate(values)
    ]


RECORDS = pd.DataFrame(
    [
        *policy("sft", "", None, 0.0, 0.0),
        *policy("sft_dpo", "", 0.1, 2.0, 1.0),
        *policy("sft_dpo", "", 0.3, 1.0, 0.8),
        *policy("ppo", "base", 0.1, 4.0, 3.0),
        *policy("ppo", "codepmp", 0.1, 4.0, 2.0),
    ]
)
METHODS = ("sft_dpo", "ppo")


def test_points_are_gains_over_sft_in_the_order_of_kl() -> None:
    found = frontier.points(RECORDS, "judge", METHODS)
    dpo = found[found["name"] == "sft_dpo"]
    assert dpo["strength"].tolist() == [0.3, 0.1]
    assert dpo["kl"].tolist() == [1.0, 2.0]
    np.testing.assert_allclose(dpo["estimate"], [0.8, 1.0])
    proxies = found.set_index("name")["proxy"]
    assert proxies["ppo (base)"] == pytest.approx(6.0)  # its own reward model's scale
    assert proxies["ppo (codepmp)"] == pytest.approx(6.0)
    assert "sft" not in set(found["name"])


# --- at equal distance ---------------------------------------------------------------


def compared_at_equal_kl(*policies: list[dict]) -> pd.DataFrame:
    """The row for `ppo (base)` minus `sft_dpo`, beside one for a method not run."""
    start = policy("sft", "", None, 0.0, 0.0)
    records = pd.DataFrame(sum(policies, start))
    pairs = [("ppo (base)", "sft_dpo"), ("grpo (base)", "sft_dpo")]
    table = frontier.equal_kl_table(records, "judge", pairs)
    assert table["name"].tolist() == ["ppo (base) − sft_dpo"]  # grpo was not run
    return table.iloc[0]


DPO = [*policy("sft_dpo", "", 0.3, 4.0, 0.5), *policy("sft_dpo", "", 0.1, 16.0, 1.5)]


def test_equal_kl_is_read_off_between_measured_strengths() -> None:
    row = compared_at_equal_kl(
        DPO, policy("ppo", "base", 0.1, 1.0, 1.0), policy("ppo", "base", 0.0, 9.0, 2.0)
    )
    # both are measured from 4 to 9 nats: the middle of 2 and 3 is 2.5, in sqrt(KL)
    assert row["kl"] == pytest.approx(6.25)
    assert row["estimate"] == pytest.approx((1 + 1.5 / 2) - (0.5 + 0.5 / 2))
    assert row["why"] == "" and row["low"] <= row["estimate"] <= row["high"]
    assert row["p"] <= 0.05


def test_curves_that_do_not_overlap_give_no_number() -> None:
    row = compared_at_equal_kl(
        DPO, policy("ppo", "base", 0.1, 1.0, 1.0), policy("ppo", "base", 0.0, 3.5, 2.0)
    )
    assert row["interval"] is None
    numbers = row[["kl", "estimate", "low", "high", "p"]].astype(float)
    assert numbers.isna().all()
    assert row["why"] == ("curves do not overlap: PPO 1 to 3.5, SFT+DPO 4 to 16 nats")


def test_one_strength_is_no_curve() -> None:
    row = compared_at_equal_kl(DPO, policy("ppo", "base", 0.1, 9.0, 2.0))
    assert row["interval"] is None
    assert row["why"] == "fewer than two strengths of PPO"


def test_what_is_without_a_number_is_no_record_of_one() -> None:
    table = compared_at_equal_kl(DPO, policy("ppo", "base", 0.1, 9.0, 2.0)).to_frame().T
    records = tidy(estimates.as_records(table, "difference_at_equal_kl"))
    assert len(records) == 1 and records["low"].isna().all()
    assert estimates.from_records(records, "difference_at_equal_kl").empty


def test_curves_overlap_where_those_of_every_seed_do() -> None:
    means = np.array([[1.0, 4.0], [9.0, 16.0]])  # (strengths, seeds)
    first = np.repeat(means[:, :, None], 5, axis=2)
    assert equal_kl.reach(first) == (4.0, 9.0)
    assert equal_kl.common_kl(first) == pytest.approx(6.25)
    beyond = np.repeat(np.array([[1.0, 10.0], [9.0, 16.0]])[:, :, None], 5, axis=2)
    assert equal_kl.common_kl(beyond) is None  # its own seeds have no KL in common
    assert equal_kl.common_kl(first, beyond) is None
    both = [Curve(each, each, (0, 1)) for each in (beyond, first)]
    nowhere = frontier.why_not(*both, ["a", "b"])
    assert nowhere == "curves do not overlap: a none in all seeds, b 4 to 9 nats"


def test_gains_are_linear_in_the_root_of_kl_for_each_seed() -> None:
    kl = np.array([[9.0, 4.0], [1.0, 1.0]])[:, :, None]  # strengths in any order
    gained = np.array([[[5.0], [4.0]], [[1.0], [2.0]]])
    at = equal_kl.interpolate(kl, gained, 2.25)
    np.testing.assert_allclose(at, [[1 + 4 * 0.25], [2 + 2 * 0.5]])
    np.testing.assert_allclose(equal_kl.interpolate(kl, gained, 1.0), [[1.0], [2.0]])


@pytest.mark.parametrize("target", [0.5, 4.5])
def test_nothing_is_read_off_beyond_what_was_measured(target: float) -> None:
    kl = np.array([[9.0, 4.0], [1.0, 1.0]])[:, :, None]
    with pytest.raises(ValueError, match="measured from 1 to 4 only"):
        equal_kl.interpolate(kl, kl, target)


def test_several_judges_are_read_off_at_the_same_kl() -> None:
    kl = np.array([[9.0, 4.0], [1.0, 1.0]])[:, :, None]
    gained = np.array([[[5.0], [4.0]], [[1.0], [2.0]]])
    both = np.stack(
        [gained, 2 * gained], axis=1
    )  # (strengths, judges, seeds, examples)
    one = equal_kl.interpolate(kl, gained, 2.25)
    found = equal_kl.interpolate(kl, both, 2.25)
    np.testing.assert_allclose(found, [one, 2 * one])
    kl, both = np.vstack([kl, kl + 20]), np.vstack([both, 3 * both])
    alone = [equal_kl.bend(kl, each, 2.25) for each in both.swapaxes(0, 1)]
    assert equal_kl.bend(kl, both, 2.25) == pytest.approx(np.mean(alone))
    curve = Curve(kl, both, (3, 7))
    np.testing.assert_array_equal(curve.of([7]).gained, both[:, :, 1:])


def test_subsets_weigh_alike_in_kl_and_gain() -> None:
    frame = pd.DataFrame(policy("sft_dpo", "", 0.1, 4.0, 1.0))
    few = frame[frame["example"] == "e0"].assign(subset="harmless")
    few.loc[few["metric"] == "kl", "value"] = 2.0
    whole = frontier.arrays(pd.concat([frame, few]), "kl")["sft_dpo", "", 0.1]
    assert whole.array.mean() == pytest.approx(3.0)


def test_an_unknown_method_is_no_method_that_was_not_run() -> None:
    with pytest.raises(KeyError, match="no model is called 'pppo'"):
        frontier.equal_kl_table(RECORDS, "judge", [("pppo", "sft_dpo")])


def test_strengths_at_one_kl_are_averaged() -> None:
    kl, gained = np.full((2, 1, 3), 4.0), np.array([[[1.0] * 3], [[2.0] * 3]])
    np.testing.assert_allclose(equal_kl.interpolate(kl, gained, 4.0), [[1.5] * 3])


def test_each_value_is_what_its_example_does_to_the_gain() -> None:
    """The values are the jackknife's pseudo-values: KL and gain vary together."""
    random, n = np.random.default_rng(0), 400
    kl = random.gamma(2.0, size=(2, 1, n)) * np.array([0.5, 4.0])[:, None, None]
    gained = 0.5 * kl + random.normal(size=kl.shape)
    found = equal_kl.interpolate(kl, gained, 3.0)[0]
    whole = found.mean()
    rest = [
        equal_kl.interpolate(
            np.delete(kl, place, 2), np.delete(gained, place, 2), 3.0
        ).mean()
        for place in range(n)
    ]
    pseudo = n * whole - (n - 1) * np.array(rest)
    assert np.corrcoef(found, pseudo)[0, 1] > 0.999
    assert found.std() == pytest.approx(pseudo.std(), rel=0.01)
    # without the error of the KLs the values would say less
    exact = np.broadcast_to(kl.mean(2, keepdims=True), kl.shape)
    assert equal_kl.interpolate(exact, gained, 3.0).mean() == pytest.approx(whole)


def test_the_error_of_the_kl_is_in_the_interval() -> None:
    """Gains that are known exactly, at KLs that are not."""
    random = np.random.default_rng(0)
    kl = np.array([1.0, 9.0])[:, None, None] * random.gamma(1.0, size=(2, 1, 100))
    gained = np.broadcast_to(np.array([1.0, 9.0])[:, None, None], kl.shape)
    found = intervals.mean_interval(equal_kl.interpolate(kl, gained, 4.0))
    assert found.high - found.low > 0.5
    exact = np.broadcast_to(kl.mean(2, keepdims=True), kl.shape)
    sure = intervals.mean_interval(equal_kl.interpolate(exact, gained, 4.0))
    assert sure.error == pytest.approx(0, abs=1e-9)
    assert sure.high - sure.low < 0.35  # 100 examples alike leave room for another


def test_a_bent_curve_reaches_into_the_interval() -> None:
    """Of a x - b x^2, read off halfway, straight lines miss b times the square of half."""
    x = np.array([1.0, 3.0, 4.0])
    kl = np.broadcast_to((x**2)[:, None, None], (3, 2, 30))
    gained = np.broadcast_to((2 * x - 0.3 * x**2)[:, None, None], kl.shape)
    straight = equal_kl.interpolate(kl, gained, 4.0).mean()
    missed = 0.3 * 1.0**2
    assert straight == pytest.approx(2 * 2 - 0.3 * 4 - missed)
    assert equal_kl.bend(kl, gained, 4.0) == pytest.approx(missed)
    assert equal_kl.bend(kl[:2], gained[:2], 4.0) == 0.0  # two strengths show no bend
    lines = Curve(kl, gained - gained, (0, 1))
    difference, shift = equal_kl.difference_at(Curve(kl, gained, (0, 1)), lines, 4.0)
    found = equal_kl.bent_interval(difference, shift)
    assert found.low <= straight and found.high >= straight + missed - 1e-9


def test_no_p_is_small_where_the_bend_changes_the_sign() -> None:
    difference = np.random.default_rng(0).normal(0.5, 0.1, size=(3, 100))
    assert equal_kl.bent_p_value(difference, 0.1) <= 0.05
    assert equal_kl.bent_p_value(difference, -0.6) == 1.0
    weaker = equal_kl.bent_p_value(difference, -0.49)
    assert weaker > equal_kl.bent_p_value(difference, 0.0)
    for shift in (0.1, -0.45, -0.6):
        found = equal_kl.bent_interval(difference, shift)
        outside = not found.low <= 0 <= found.high
        assert outside == (equal_kl.bent_p_value(difference, shift) < 0.05)


def test_only_seeds_of_both_methods_are_compared() -> None:
    ppo = [*policy("ppo", "base", 0.1, 1.0, 1.0), *policy("ppo", "base", 0.0, 9.0, 2.0)]
    first = [row for row in ppo if row["seed"] == 0]
    row = compared_at_equal_kl(DPO, first)
    assert row["interval"].seeds == 1
    assert row["estimate"] == pytest.approx(1.0)
    later = [row | {"seed": row["seed"] + 5} for row in DPO if row["seed"] == 0]
    assert compared_at_equal_kl(DPO, ppo)["interval"].seeds == 2
    frame = pd.DataFrame(policy("sft", "", None, 0.0, 0.0))
    start = pd.concat([frame, frame.assign(seed=frame["seed"] + 5)])
    records = pd.concat([start, pd.DataFrame([*ppo, *later])])
    table = frontier.equal_kl_table(records, "judge", [("ppo (base)", "sft_dpo")])
    assert table["why"].tolist() == ["no seed of both PPO and SFT+DPO"]


# --- which policies are compared ------------------------------------------------------


def test_policies_are_compared_at_one_strength() -> None:
    records = pd.concat(
        [RECORDS, pd.DataFrame(policy("best_of_n", "base", 2.0, 0.2, 0.1))]
    )
    more = pd.DataFrame(policy("best_of_n", "base", 4.0, 0.6, 0.2))
    kept = evaluate.compared(pd.concat([records, more]), {"sft_dpo": 0.3, "ppo": 0.1})
    strengths = kept.groupby("method")["strength"].unique()
    assert strengths["sft_dpo"].tolist() == [0.3]
    assert strengths["best_of_n"].tolist() == [4.0]  # no strength named: the largest
    assert "sft" in strengths
