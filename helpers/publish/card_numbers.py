"""The numbers of a card on the hub: of 09, with intervals, where a judge may decide."""

import numpy as np
import pandas as pd
from huggingface_hub import EvalResult

from helpers.analysis import gate
from helpers.data.synthetic.corpus import SUBSETS
from helpers.statistics import estimates


def results(
    records: pd.DataFrame, metric: str, method: str, opponent: str
) -> pd.DataFrame:
    """A result of 09 by subset, with its metric in words: as `estimates.from_records`.

    Of replies there is no result on a subset on which their judge fails its gate; `both`
    needs both.
    """
    kept = {"method": method, "opponent": opponent}
    found = estimates.from_records(records, metric, **kept)
    if metric == "accuracy":
        return found.assign(metric="accuracy on held-out pairs")
    refused = [bool(gate.why_not(records, each)) for each in found["subset"]]
    name = estimates.called(method, opponent)["name"]
    return found[~np.array(refused, bool)].assign(metric=f"judged reward, {name}")


def refusals(records: pd.DataFrame) -> str:
    """Why numbers of replies are missing from a card; "" if none is."""
    reasons = [gate.why_not(records, subset) for subset in SUBSETS]
    said = [f"\nNot decided: {why}.\n" for why in reasons if why]
    return "".join(said)


def eval_result(row, facts: dict) -> EvalResult:
    """One line of the hub's model index, with its interval."""
    name = "synthetic (built-in)" if facts["synthetic"] else "HH-RLHF"
    return EvalResult(
        task_type="text-generation",
        dataset_type=str(facts["source"]),
        dataset_name=f"{name}, {row.subset}",
        dataset_config=row.subset,
        dataset_revision=str(facts["commit"]),
        dataset_split="test",
        metric_type="accuracy" if "accuracy" in row.metric else "reward",
        metric_name=row.metric,
        metric_value=round(row.estimate, 4),
        metric_args={
            "level": 0.95,
            "low": round(row.low, 4),
            "high": round(row.high, 4),
            "seeds": row.interval.seeds,
        },
    )
