"""Best-of-N, the frontier and equal distance, against what can be counted by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from helpers import best_of_n, compare, evaluation, frontier
from helpers.records import tidy


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
        found = compare.select(tidy(rows), "m", judge="j", decoding=decoding)
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


def test_equal_kl_is_read_off_both_curves() -> None:
    table = frontier.equal_kl_table(
        RECORDS, "judge", [("ppo (base)", "sft_dpo"), ("grpo (base)", "sft_dpo")]
    )
    assert table["name"].tolist() == ["ppo (base) − sft_dpo"]  # grpo was not run
    assert table["kl"][0] == 2.0  # as far as SFT+DPO goes
    assert table["estimate"][0] == pytest.approx(3.0 / 2 - 1.0)  # half of PPO's way


def test_between_two_strengths_gains_are_interpolated_for_each_seed() -> None:
    kl = np.array([[3.0, 2.0], [1.0, 1.0]])  # (strengths, seeds), in any order
    gained = np.array([[[5.0], [4.0]], [[1.0], [2.0]]])
    at = frontier.interpolate(kl, gained, 1.5)
    np.testing.assert_allclose(at, [[1 + 4 * 0.25], [2 + 2 * 0.5]])
    np.testing.assert_allclose(frontier.interpolate(kl, gained, 0.5), [[0.5], [1.0]])


def test_policies_are_compared_at_one_strength() -> None:
    records = pd.concat(
        [RECORDS, pd.DataFrame(policy("best_of_n", "base", 2.0, 0.2, 0.1))]
    )
    more = pd.DataFrame(policy("best_of_n", "base", 4.0, 0.6, 0.2))
    kept = evaluation.compared(pd.concat([records, more]), {"sft_dpo": 0.3, "ppo": 0.1})
    strengths = kept.groupby("method")["strength"].unique()
    assert strengths["sft_dpo"].tolist() == [0.3]
    assert strengths["best_of_n"].tolist() == [4.0]  # no strength named: the largest
    assert "sft" in strengths
