"""Every reply stands beside its own scores."""

import pandas as pd

from helpers.analysis.reply_scores import beside_scores
from helpers.core.records import tidy


def test_a_reply_stands_beside_its_own_scores() -> None:
    common = {"subset": "helpful", "prompt": "a prompt"}
    replies = pd.DataFrame(
        [
            {**common, "name": name, "id": "e1", "reply": f"by {name}"}
            for name in ("ppo (base)", "sft")
        ]
    )
    rows = [
        {"metric": "reward", "method": method, "init": init, "example": example}
        | {"judge": judge, "value": value, "seed": 0}
        for method, init, value in (("sft", "", 1.0), ("ppo", "base", 2.0))
        for example in ("e1", "e2")
        for judge in ("judge 0", "truth")
    ]
    found = beside_scores(replies, tidy(rows)).set_index("name")
    assert list(found) == ["prompt", "subset", "reply", "judge 0", "truth"]
    assert found.loc["sft", "truth"] == 1.0
    assert found.loc["ppo (base)", ["judge 0", "truth"]].tolist() == [2.0, 2.0]
