"""What looks wrong in a job that finished: each flag, its bound, and why there.

A flag is a record, `flag_NAME`, beside what the job measured; it stops nothing. Where a
training is looked at by steps, its end counts: the last quarter of the rollouts.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from helpers.core.records import select
from helpers.methods import title_of

PREFIX = "flag_"
# The log of a training has twenty entries, each the mean of a twentieth of its steps. On
# the built-in corpus sound trainings that learn nothing end within 2 % of their start;
# batches of a short training, each an entry by itself, differ by several percent.
LOSS_RISE = 0.1  # of the loss at the start
# Of all settings in book/recorded/tuning, a policy that is better than SFT stayed
# below 15 nats a reply, in the recorded run below 30; the one that was ruined had 149.
FAR = 50.0  # nats a reply
# Gradients are cut to a norm of 1. Sound trainings were seen to stay below 3 times the
# norm at their start; with a rate of 0.99 SFT came to 37 times, DPO to 11.
STEEP = 5.0  # times the norm at the start, and times that to which gradients are cut
SPREAD = 1e-6  # a standard deviation below it is rounding: scores are near 1


class Flag(NamedTuple):
    """A way to look wrong: in words, the rule that finds it, and what it is held against.

    rule: of a job's records, to the value that is out of bounds; None if it is not.
    """

    words: str
    bound: str
    rule: Callable[[pd.DataFrame], float | None]


# --- the rules: records of one job, to a value that is out of bounds --------------------


def risen_loss(records: pd.DataFrame) -> float | None:
    """By which share of its first value the loss rose to the mean of its last tenth."""
    found = select(records, "train_loss").sort_values("step")["value"]
    if len(found) < 2:
        return None
    start, end = found.iloc[0], found.tail(math.ceil(len(found) / 10)).mean()
    rise = float((end - start) / max(abs(start), 1e-9))
    return None if rise <= LOSS_RISE else rise  # a nan is none


def steep_gradient(records: pd.DataFrame) -> float | None:
    """The largest norm of a gradient, in units of the first, or of 1 where that is more."""
    found = select(records, "train_grad_norm").sort_values("step")["value"]
    if found.empty:
        return None
    times = float(found.max() / max(1.0, found.iloc[0]))
    return times if times > STEEP else None


def far_policy(records: pd.DataFrame) -> float | None:
    """The mean KL of replies from the reference, if it is beyond the bound."""
    means = late_means(records, "kl")
    return float(means.max()) if (means > FAR).any() else None


def constant_reward(records: pd.DataFrame) -> float | None:
    """The number of rollouts whose replies were all paid alike, if there is one."""
    found = select(records, "reward_spread")["value"]
    return float((found < SPREAD).sum()) if (found < SPREAD).any() else None


def empty_replies(records: pd.DataFrame) -> float | None:
    """1 if all replies are empty: while training, or all that were examined."""
    trained = late_means(records, "empty")
    lengths = select(records, "length").groupby("decoding")["value"].max()
    return 1.0 if (trained == 1).any() or (lengths == 0).any() else None


def endless_replies(records: pd.DataFrame) -> float | None:
    """0, the share of replies that end, if none does."""
    return 0.0 if (late_means(records, "ended") == 0).any() else None


def late_means(records: pd.DataFrame, metric: str) -> pd.Series:
    """The mean of a metric by decoding; of the last quarter of the steps, if it has any."""
    found = select(records, metric)
    steps = sorted(found["step"].dropna().unique())
    if steps:
        found = found[found["step"].isin(steps[-math.ceil(len(steps) / 4) :])]
    return found.groupby("decoding")["value"].mean()


FLAGS = {
    "loss_above_start": Flag(
        "its loss ended above where it started, by a share",
        f"at most {LOSS_RISE:g}",
        risen_loss,
    ),
    "steep_gradient": Flag(
        "its gradient grew, by a factor", f"at most {STEEP:g}", steep_gradient
    ),
    "far_from_reference": Flag(
        "its policy is far from its reference, in nats a reply",
        f"at most {FAR:g}",
        far_policy,
    ),
    "constant_reward": Flag(
        "all replies of a rollout were paid alike, in so many", "none", constant_reward
    ),
    "empty_replies": Flag(
        "the share of its replies that are empty", "below 1", empty_replies
    ),
    "endless_replies": Flag(
        "the share of its replies that end", "above 0", endless_replies
    ),
}


# --- from records to flags ------------------------------------------------------------


def raised(records: pd.DataFrame) -> list[dict]:
    """The flags that the records of one job raise, as rows: metric and value."""
    found = {name: flag.rule(records) for name, flag in FLAGS.items()}
    return [
        {"metric": PREFIX + name, "value": value}
        for name, value in found.items()
        if value is not None
    ]


def table(records: pd.DataFrame) -> pd.DataFrame:
    """The flags among records, one row for each job: flag, job, value, expected."""
    rows = records[records["metric"].str.startswith(PREFIX)]
    found = []
    for row in rows.to_dict("records"):
        flag = FLAGS[row["metric"].removeprefix(PREFIX)]
        found.append((flag.words, job_of(row), row["value"], flag.bound))
    return pd.DataFrame(found, columns=["flag", "job", "value", "expected"])


def job_of(row: dict) -> str:
    """What tells a row's job from others, in words."""
    words = [title_of(row["method"] or "", row["init"] or "")]
    for name in ("pairs", "strength", "seed"):
        if pd.notna(row[name]):
            words.append(f"{name} {row[name]:g}")
    return ", ".join(filter(None, words))


def lines(records: pd.DataFrame) -> list[str]:
    """One line for each kind of flag among records: how many jobs, the first of them."""
    jobs = int((records["metric"] == "seconds").sum())
    said = []
    for words, rows in table(records).groupby("flag", sort=False):
        first = rows.iloc[0]
        said.append(
            f"flagged: {len(rows)} of {jobs} jobs: {words}: {first['value']:.3g}, "
            f"expected {first['expected']} ({first['job']})"
        )
    return said
