"""Flags: each on records that raise it and on records that do not."""

import pandas as pd
import pytest

from helpers.core.records import tidy
from helpers.statistics import flags
from helpers.statistics.flags import FLAGS, lines, raised, table


def steps(metric: str, *values: float) -> list[dict]:
    """Records of a training, a value a step."""
    return [{"metric": metric, "step": n, "value": v} for n, v in enumerate(values, 1)]


def examples(metric: str, *values: float, decoding: str = "greedy") -> list[dict]:
    """Records of an examination, a value an example."""
    return [
        {"metric": metric, "example": f"e-{n}", "decoding": decoding, "value": v}
        for n, v in enumerate(values)
    ]


def found(*rows: list[dict]) -> dict[str, float]:
    """The flags of a job with these records."""
    records = tidy([row for part in rows for row in part])
    return {
        row["metric"].removeprefix("flag_"): row["value"] for row in raised(records)
    }


NAN = float("nan")
# flag -> records that raise it, with the value, and records that do not
CASES = {
    "loss_above_start": (
        [
            (steps("train_loss", 3.4, 3.0, 13.6), 3.0),
            (steps("train_loss", 0.5, 0.4, 0.6), 0.2),
            (steps("train_loss", 1.0, *[0.5] * 17, 1.0, 1.4), 0.2),  # the last tenth
            (steps("train_loss", -1.0, -0.8), 0.2),
            (steps("train_loss", 3.0, NAN), NAN),
            (steps("train_loss", 2.0, 2.5)[::-1], 0.25),  # in whatever order
        ],
        [
            steps("train_loss", 3.4, 13.0, 3.0),
            steps("train_loss", 0.693, 0.695),
            steps("train_loss", 1.0, *[0.5] * 18, 1.6),
            steps("train_loss", -1.0, -1.05),
            steps("train_loss", 3.4),
            steps("policy_loss", 0.1, 9.0),
            [],
        ],
    ),
    "steep_gradient": (
        [
            (steps("train_grad_norm", 0.7, 26.9, 9.0), 26.9),
            (steps("train_grad_norm", 2.0, 10.2), 5.1),
            (steps("train_grad_norm", 0.01, 5.1), 5.1),
        ],
        [
            steps("train_grad_norm", 1.9, 9.4),
            steps("train_grad_norm", 0.01, 4.9),
            steps("train_grad_norm", 30.0, 31.0),
            steps("grad_norm", 0.7, 26.9),
        ],
    ),
    "far_from_reference": (
        [
            (steps("kl", 0.0, 1.0, 2.0, 148.8), 148.8),
            (steps("kl", *range(0, 80, 10)), 65.0),  # the last quarter
            (examples("kl", 10.0, 100.0, decoding="sampled"), 55.0),
        ],
        [
            steps("kl", 60.0, 1.0, 2.0, 26.4),
            steps("kl_k3", 0.0, 200.0),
            examples("kl", 1.0, 90.0, decoding="sampled"),
        ],
    ),
    "constant_reward": (
        [
            (steps("reward_spread", 1.0, 0.0, 0.0), 2.0),
            (steps("reward_spread", 1e-9), 1.0),
        ],
        [steps("reward_spread", 1.0, 0.01), steps("reward", 1.0, 1.0), []],
    ),
    "empty_replies": (
        [
            (steps("empty", 0.0, 0.1, 1.0, 1.0), 1.0),
            (examples("length", 0, 0), 1.0),
            ([*examples("length", 0, 0), *examples("length", 4, decoding="x")], 1.0),
        ],
        [
            steps("empty", 1.0, 1.0, 1.0, 0.9),
            examples("length", 0, 3),
            examples("length", 5, 7),
        ],
    ),
    "endless_replies": (
        [
            (steps("ended", 1.0, 1.0, 0.5, 0.0), 0.0),
            (examples("ended", 0, 0, 0), 0.0),
            ([*examples("ended", 1), *examples("ended", 0, decoding="sampled")], 0.0),
        ],
        [
            steps("ended", 0.0, 0.0, 0.0, 0.1),
            examples("ended", 0, 1),
            examples("length", 0, 1),
        ],
    ),
}


def cases(which: int) -> list[tuple]:
    return [(name, each) for name, both in CASES.items() for each in both[which]]


@pytest.mark.parametrize(("name", "case"), cases(0))
def test_a_flag_is_raised(name: str, case: tuple) -> None:
    rows, value = case
    assert found(rows) == pytest.approx({name: value}, nan_ok=True)


@pytest.mark.parametrize(("name", "rows"), cases(1))
def test_a_flag_is_not_raised(name: str, rows: list[dict]) -> None:
    assert found(rows) == {}


def test_every_flag_has_both_cases() -> None:
    assert CASES.keys() == FLAGS.keys()


def stage() -> pd.DataFrame:
    """The records of three jobs, of which two are flagged."""
    parts = []
    for seed, value in enumerate((5.0, 1.0, 7.0)):
        rows = steps("train_loss", 3.0, value)
        rows = [*rows, *raised(tidy(rows)), {"metric": "seconds", "value": 1.0}]
        parts.append(tidy(rows, method="sft", pairs=12, seed=seed))
    return pd.concat(parts, ignore_index=True)


def test_a_line_says_what_how_often_and_where() -> None:
    (line,) = lines(stage())
    assert line == (
        "flagged: 2 of 3 jobs: its loss ended above where it started, by a share: "
        "0.667, expected at most 0.1 (SFT, pairs 12, seed 0)"
    )
    assert lines(tidy(steps("train_loss", 3.0, 5.0))) == []
    assert lines(tidy([])) == []


def test_the_table_names_every_job() -> None:
    shown = table(stage())
    assert shown["job"].tolist() == [f"SFT, pairs 12, seed {n}" for n in (0, 2)]
    assert shown["value"].tolist() == pytest.approx([2 / 3, 4 / 3])
    one = tidy(
        [{"metric": "flag_far_from_reference", "method": "ppo", "init": "base",
          "strength": 0.1, "seed": 1, "value": 99.0}]
    )  # fmt: skip
    assert table(one)["job"].tolist() == ["PPO, strength 0.1, seed 1"]


def test_bounds_stand_where_they_are_said() -> None:
    bounds = {"far_from_reference": flags.FAR, "loss_above_start": flags.LOSS_RISE}
    bounds["steep_gradient"] = flags.STEEP
    for name, bound in bounds.items():
        assert FLAGS[name].bound == f"at most {bound:g}"
