"""A judge of your own: is it right on pairs of people, and what does it say of replies?

python book/examples/my_judge.py cpu
"""

import sys

import numpy as np
import pandas as pd

from helpers.core.paths import PROJECT
from helpers.data.drawing import both_sides
from helpers.runs import store
from helpers.statistics import compare
from helpers.statistics.formats import number


class Plain:
    """The judge: likes replies in short words. Anything with this method will do."""

    name = "short words"

    def score(self, prompts: list[str], replies: list[str]) -> np.ndarray:
        """One number a reply; higher is better."""
        words = [reply.split() or ["?"] for reply in replies]
        return np.array([-np.mean([len(word) for word in own]) for own in words])


def margins(judge, pairs: pd.DataFrame) -> pd.DataFrame:
    """By how much it prefers the chosen reply of each test pair."""
    chosen, rejected = both_sides(judge.score, pairs)
    rows = {"subset": pairs["subset"], "example": pairs["id"]}
    rows["value"] = np.asarray(chosen) - np.asarray(rejected)
    return pd.DataFrame(rows).assign(name=judge.name, seed=0, metric="margin")


def replies(run) -> pd.DataFrame:
    """The sampled replies of every policy that 08 has examined."""
    parts = []
    for job, folder in store.trained(run, "08_evaluate"):
        if "part" not in job and (folder / "replies.parquet").exists():
            own = pd.read_parquet(folder / "replies.parquet")
            parts.append(own.assign(**job))
    found = pd.concat(parts)
    return found[found["decoding"] == "sampled"].fillna({"init": ""})


def main(name: str) -> None:
    """First the gate, then what it says."""
    run, judge = PROJECT.run(name), Plain()
    test = store.read_pairs(run, "test")
    right = compare.accuracy_table(margins(judge, test), by=["name"])
    print("Accuracy on test pairs; one half is a coin:")
    for row in right.itertuples():
        print(f"  {row.subset}: {number(row.interval)}")
    found = replies(run)
    found["value"] = judge.score(found["prompt"].tolist(), found["reply"].tolist())
    print("What it says of the replies, on average:")
    print(found.groupby(["method", "init", "subset"])["value"].mean().unstack())


if __name__ == "__main__":
    main(sys.argv[1])
