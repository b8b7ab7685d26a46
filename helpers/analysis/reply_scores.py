"""Replies beside what each judge says of them, to be read one prompt at a time."""

import pandas as pd

from helpers.core.records import select
from helpers.statistics import compare


def beside_scores(replies: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Replies of one seed and decoding with what each judge says of them.

    replies: of `evaluate.shown_replies`; records: of that seed and decoding, each policy
    at one strength. Columns: prompt, subset, name, reply, and one for each judge.
    """
    scores = compare.named(select(records, "reward"))
    wide = scores.pivot(index=["name", "example"], columns="judge", values="value")
    beside = replies.join(wide, on=["name", "id"])
    return beside[["prompt", "subset", "name", "reply", *wide.columns]]
