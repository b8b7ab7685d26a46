"""The rates of the OPT-350M study (arXiv:2509.09055), its tests and its defects."""

from itertools import combinations
from pathlib import Path

import pandas as pd

from helpers.core.records import select
from helpers.data.opt350m_prompts import (
    ASKED,
    LETTER,
    MODELS,
    PUBLISHED_PROMPTS,
    RATES,
    protocols,
)
from helpers.methods import title
from helpers.rewards.judges import Judge, Thresholds, median_thresholds
from helpers.runs import store
from helpers.statistics import compare, intervals, metrics, rates
from helpers.statistics.cas import cas, mean_of, over_seeds, percent, wilson_of, winner

# percent of 50 replies that pass: tables 1 and 2 of the study
PUBLISHED = pd.DataFrame(
    {"HmR": [42, 48, 36, 44], "HpR": [22, 56, 46, 66]}, index=pd.Index(MODELS)
)
DEFECTS = {"runs on": "study_runon", "empty": "study_empty", "leaks": "study_leak"}
CONTRASTS = [
    ("sft", "base"),
    ("dpo_lora", "base"),
    ("sft_dpo_lora", "base"),
    ("sft_dpo_lora", "sft"),
    ("sft_dpo_lora", "dpo_lora"),
    ("dpo_lora", "dpo"),
    ("sft_dpo_lora", "sft_dpo"),
]


# --- rates -------------------------------------------------------------------------------


def limits_of(run: Path, judge: Judge) -> Thresholds:
    """The judge's own thresholds, or the scores of the median chosen test reply."""
    return judge.thresholds or median_thresholds(judge, store.read_pairs(run, "test"))


def passing(
    records: pd.DataFrame, protocol: str, judge: Judge, limits: Thresholds
) -> dict:
    """Whether replies pass, (seeds, examples), by (rate, model): HmR >=, HpR > the limit."""
    part = select(records, "study", protocol=protocol, judge=judge.name)
    found = {}
    for subset, rate in RATES.items():
        for method, group in part[part["subset"] == subset].groupby("method"):
            scores = compare.by_seed(group)
            found[rate, method] = metrics.passes(scores, subset, limits)
    return found


def rate_table(records: pd.DataFrame, judge: Judge, limits: Thresholds) -> pd.DataFrame:
    """HmR, HpR and CAS in percent per protocol and model.

    To the letter the study has one seed: its rates are those of seed 0, with Wilson's
    intervals. Repaired ones have intervals over seeds and prompts. CAS is the mean of
    the two rates, with its interval. Columns: protocol, model, HmR, HpR, CAS, runs on,
    empty, leaks.
    """
    rows = []
    for protocol in protocols():
        found = passing(records, protocol.name, judge, limits)
        for method in [each for each in ASKED if ("HmR", each) in found]:
            one_seed = protocol == LETTER
            interval = wilson_of if one_seed else over_seeds
            passed = [found[rate, method] for rate in RATES.values()]
            both = dict(zip(RATES.values(), map(interval, passed)))
            own = select(records, protocol=protocol.name, method=method)
            defects = {
                words: 100 * select(own, metric)["value"].mean()
                for words, metric in DEFECTS.items()
            }
            rows.append(
                {
                    "protocol": protocol.name,
                    "model": method,
                    **both,
                    "CAS": mean_of(*both.values()) if one_seed else cas(*passed),
                    **defects,
                }
            )
    return pd.DataFrame(rows)


def best_cas(
    records: pd.DataFrame, protocol: str, judge: Judge, limits: Thresholds
) -> str:
    """The model with the highest CAS, or that none has: words for a sentence.

    See `cas.winner`. To the letter the study has one seed: seed 0.
    """
    found = passing(records, protocol, judge, limits)
    seeds = slice(0, 1) if protocol == LETTER.name else slice(None)
    known = [each for each in ASKED if ("HmR", each) in found]
    passed = {
        title(each): [found[rate, each][seeds].astype(float) for rate in RATES.values()]
        for each in known
    }
    return winner(passed)


def mcnemar_table(
    records: pd.DataFrame, judge: Judge, limits: Thresholds
) -> pd.DataFrame:
    """Exact McNemar tests between the models, to the letter, seed 0; Holm per rate.

    Columns: rate, models, p, p_holm.
    """
    found = passing(records, LETTER.name, judge, limits)
    rows = [
        {
            "rate": rate,
            "models": f"{title(first)}, {title(second)}",
            "p": rates.mcnemar_exact(found[rate, first][0], found[rate, second][0]),
        }
        for rate in RATES.values()
        for first, second in combinations(MODELS, 2)
        if {(rate, first), (rate, second)} <= found.keys()
    ]
    table = pd.DataFrame(rows, columns=["rate", "models", "p"])
    return table.assign(p_holm=table.groupby("rate")["p"].transform(intervals.holm))


def difference_table(
    records: pd.DataFrame, judge: Judge, limits: Thresholds
) -> pd.DataFrame:
    """Paired differences in HmR and HpR, repaired protocol; as in `compare`, in shares."""
    part = select(records, "study", protocol="repaired", judge=judge.name)
    passed = [
        group.assign(value=metrics.passes(group["value"], subset, limits).astype(float))
        for subset, group in part.groupby("subset")
    ]
    named = pd.concat(passed).assign(name=lambda each: each["method"])
    return compare.difference_table(named, CONTRASTS)


def published_table() -> pd.DataFrame:
    """The study's own rates, and CAS, with the intervals that 50 replies imply."""
    table = PUBLISHED.map(
        lambda rate: percent(
            rates.wilson(round(rate * PUBLISHED_PROMPTS / 100), PUBLISHED_PROMPTS)
        )
    )
    return table.assign(CAS=list(map(mean_of, table["HmR"], table["HpR"])))


def mean_defect(
    rates: pd.DataFrame, defect: str, protocols: dict[str, str]
) -> dict[str, float]:
    """A column of `rate_table` as its mean over models: `runs_KEY` by protocol."""
    means = rates.groupby("protocol")[defect].mean()
    return {
        f"{defect.split()[0]}_{key}": means[name] for key, name in protocols.items()
    }
