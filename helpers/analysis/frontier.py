"""What strength buys: reward against KL, the proxy against the judge, equal distance.

A policy is told apart by method, init and strength (beta, KL weight, N). All gains are
over the SFT policy of the same seed, on the same prompts, so that methods and judges of
different scales stand in one figure.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.core.records import select
from helpers.methods import check_names, name_of, names, title
from helpers.statistics import compare, estimates, intervals
from helpers.statistics.equal_kl import (
    Curve,
    bent_interval,
    bent_p_value,
    common_kl,
    difference_at,
    reach,
)

POLICY = ["method", "init", "strength"]
START = "sft"


class Values(NamedTuple):
    """Per-example values (seeds, examples) of a policy; several judges come first."""

    array: np.ndarray
    seeds: tuple[int, ...]

    def of(self, seeds: Sequence[int]) -> np.ndarray:
        """Those of some seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return self.array[..., rows, :]


def arrays(
    records: pd.DataFrame, metric: str, **columns: object
) -> dict[tuple, Values]:
    """Values of one metric for every policy, by (method, init, strength).

    Subsets weigh alike. columns: further ones of the records, such as judge.
    """
    part = select(records, metric, **columns).fillna({"strength": 0.0})
    part = part.assign(seed=part["seed"].fillna(0).astype(int))
    return {
        key: Values(compare.whole(group), tuple(sorted(set(group["seed"]))))
        for key, group in part.groupby(POLICY, sort=False)
    }


def gains(records: pd.DataFrame, metric: str, judge: object) -> dict[tuple, Values]:
    """As `arrays`, minus what the SFT policy of the same seed gets for the prompt."""
    found = arrays(records, metric, judge=judge, decoding="sampled")
    start = found.pop((START, "", 0.0))
    return {key: _less(each, start) for key, each in found.items()}


def _less(policy: Values, start: Values) -> Values:
    """The difference over the seeds that both have."""
    seeds = tuple(seed for seed in policy.seeds if seed in start.seeds)
    return Values(policy.of(seeds) - start.of(seeds), seeds)


def points(records: pd.DataFrame, judge: str, methods: Sequence[str]) -> pd.DataFrame:
    """KL, gain by the judge and gain by its proxy of every policy of some methods.

    The proxy is the reward model that the policy learned from or was chosen by; for the
    others, which have none, the one from the base model. Columns: name, strength, kl,
    estimate, low, high, interval (of the judge's gain), and proxy, proxy_low,
    proxy_high. SFT stands at the origin of every curve and is not listed.
    """
    kl, judged = arrays(records, "kl"), gains(records, "reward", judge)
    proxies = {
        init: gains(records, "proxy", init)
        for init in select(records, "proxy")["judge"].unique()
    }
    rows = []
    for key, gained in judged.items():
        method, init, strength = key
        if method not in methods or key not in kl:
            continue
        proxy = intervals.mean_interval(proxies[proxy_of(init)][key].array)
        rows.append(
            {
                "name": name_of(method, init),
                "strength": strength,
                "kl": float(kl[key].array.mean()),
                **estimates.bounds(intervals.mean_interval(gained.array)),
                "proxy": proxy.estimate,
                "proxy_low": proxy.low,
                "proxy_high": proxy.high,
            }
        )
    return pd.DataFrame(rows).sort_values(["name", "kl"], ignore_index=True)


def seed_points(
    records: pd.DataFrame, judge: object, methods: Sequence[str]
) -> pd.DataFrame:
    """What each seed adds to `points`: name, strength, seed, kl, estimate."""
    kl, judged = arrays(records, "kl"), gains(records, "reward", judge)
    rows = [
        (
            name_of(*key[:2]),
            key[2],
            seed,
            kl[key].of([seed]).mean(),
            own.of([seed]).mean(),
        )
        for key, own in judged.items()
        if key[0] in methods and key in kl
        for seed in own.seeds
    ]
    return pd.DataFrame(rows, columns=["name", "strength", "seed", "kl", "estimate"])


def proxy_of(init: str) -> str:
    """The start of the reward model that stands for what a policy was trained on."""
    return init if init not in ("", "random") else "base"


# --- at equal distance ---------------------------------------------------------------


def curves(records: pd.DataFrame, judge: object) -> dict[str, Curve]:
    """The curve of every method, by name, over the seeds that all its strengths have.

    judge: one, or a list of several.
    """
    kl, judged = arrays(records, "kl"), gains(records, "reward", judge)
    measured: dict[str, list[tuple[Values, Values]]] = {}
    for key in [each for each in judged if each in kl]:
        policies = measured.setdefault(name_of(*key[:2]), [])
        policies.append((kl[key], judged[key]))
    found = {}
    for name, pairs in measured.items():
        seeds = sorted(set.intersection(*(set(gained.seeds) for _, gained in pairs)))
        both = [np.array([each.of(seeds) for each in side]) for side in zip(*pairs)]
        found[name] = Curve(*both, tuple(seeds))
    return found


def why_not(first: Curve, second: Curve, names: Sequence[str]) -> str:
    """Why two curves cannot be compared at equal KL, in words; empty if they can."""
    names = [title(name) for name in names]
    both = dict(zip(names, (first, second)))
    if few := [name for name, curve in both.items() if len(curve.kl) < 2]:
        return f"fewer than two strengths of {' and '.join(few)}"
    if not first.seeds:
        return f"no seed of both {' and '.join(names)}"
    if common_kl(first.kl, second.kl) is not None:
        return ""
    spans = {name: reach(curve.kl) for name, curve in both.items()}
    ranges = [
        f"{name} {low:.3g} to {high:.3g}"
        if low <= high
        else f"{name} none in all seeds"
        for name, (low, high) in spans.items()
    ]
    return f"curves do not overlap: {', '.join(ranges)} nats"


def equal_kl_table(
    records: pd.DataFrame, judge: object, contrasts: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Paired differences of gains at equal KL, each at the KL of `common_kl`.

    Every method is read off its own curve, for each seed and example (`interpolate`);
    SFT, at KL 0, is no strength of anything and no point of a curve. Columns: name
    ("a − b"), method, opponent, kl (nats a reply), estimate, low, high, interval, p, and why: empty, or why
    there is no number, where the numbers are nan and the interval is None. A contrast of
    a method that was not run is left out.

    The interval is for the difference at this KL. Straight lines cut the corner of a bent
    curve: between x and y, in sqrt(KL), a gain of a x - b x^2 is read off too low by up to
    b (y - x)^2 / 4. So where a parabola through a method's strengths (`bend`) says
    another difference, the interval reaches that much further, and p is the larger of
    both. Simulated with 3 and 5 seeds, straight and bent curves, a nominal 95 % interval
    covers 0.95 to 0.98; without the bend, as low as 0.78 where seeds are alike. Two
    strengths show no bend: there it covers 0.93 to 0.96.
    """
    found, rows = curves(records, judge), []
    for pair in contrasts:
        check_names(names(), "model", *pair)
        if found.keys() >= set(pair):
            both = [found[name] for name in pair]
            row = difference_at_equal_kl(*both, pair)
            rows.append({**estimates.contrast(*pair), **row})
    columns = ["name", "method", "opponent", "kl", *estimates.BOUNDS, "p", "why"]
    return pd.DataFrame(rows, columns=columns)


def difference_at_equal_kl(first: Curve, second: Curve, names: Sequence[str]) -> dict:
    """One row of `equal_kl_table` but for its name, over the seeds that both have."""
    seeds = sorted({*first.seeds} & {*second.seeds})
    first, second = first.of(seeds), second.of(seeds)
    if why := why_not(first, second, names):
        nothing = dict.fromkeys(("kl", "estimate", "low", "high", "p"), np.nan)
        return {**nothing, "interval": None, "why": why}
    target = common_kl(first.kl, second.kl)
    difference, shift = difference_at(first, second, target)
    interval = bent_interval(difference, shift)
    p = bent_p_value(difference, shift)
    return {"kl": target, **estimates.bounds(interval), "p": p, "why": ""}


def equal_kl_by_subset(
    records: pd.DataFrame, judge: object, contrasts: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """`equal_kl_table` of each subset and of both, with a column subset."""
    parts = [("both", records), *compare.parts(records, subsets=True)]
    tables = [
        equal_kl_table(part, judge, contrasts).assign(subset=subset)
        for subset, part in parts
        if subset
    ]
    return pd.concat(tables, ignore_index=True)
