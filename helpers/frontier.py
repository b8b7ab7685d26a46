"""What strength buys: reward against KL, the proxy against the judge, equal distance.

A policy is told apart by method, init and strength (beta, KL weight, N). All gains are
over the SFT policy of the same seed, on the same prompts, so that methods and judges of
different scales stand in one figure.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers import compare, stats
from helpers.methods import name_of

POLICY = ["method", "init", "strength"]
START = "sft"


def arrays(
    records: pd.DataFrame, metric: str, **columns: object
) -> dict[tuple, np.ndarray]:
    """Values (seeds, examples) of one metric for every policy: (method, init, strength).

    columns: further ones of the records, such as judge.
    """
    part = compare.select(records, metric, **columns).fillna({"strength": 0.0})
    groups = part.groupby(POLICY, sort=False)
    return {key: compare.by_seed(group) for key, group in groups}


def gains(records: pd.DataFrame, metric: str, judge: object) -> dict[tuple, np.ndarray]:
    """As `arrays`, minus what the SFT policy of the same seed gets for the prompt."""
    found = arrays(records, metric, judge=judge, decoding="sampled")
    start = found.pop((START, "", 0.0))
    return {key: stats.paired_difference(each, start) for key, each in found.items()}


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
        for init in compare.select(records, "proxy")["judge"].unique()
    }
    rows = []
    for key, gained in judged.items():
        method, init, strength = key
        if method not in methods or key not in kl:
            continue
        proxy = stats.mean_interval(proxies[proxy_of(init)][key])
        rows.append(
            {
                "name": name_of(method, init),
                "strength": strength,
                "kl": float(kl[key].mean()),
                **compare.bounds(stats.mean_interval(gained)),
                "proxy": proxy.estimate,
                "proxy_low": proxy.low,
                "proxy_high": proxy.high,
            }
        )
    return pd.DataFrame(rows).sort_values(["name", "kl"], ignore_index=True)


def proxy_of(init: str) -> str:
    """The start of the reward model that stands for what a policy was trained on."""
    return init if init not in ("", "random") else "base"


# --- at equal distance ---------------------------------------------------------------


def curves(records: pd.DataFrame, judge: str) -> dict[str, tuple]:
    """Every method's way from SFT, by name: KLs (K, seeds), gains (K, seeds, examples)."""
    kl, judged = arrays(records, "kl"), gains(records, "reward", judge)
    found: dict[str, tuple[list, list]] = {}
    for key in [each for each in judged if each in kl]:
        places, gained = found.setdefault(name_of(*key[:2]), ([], []))
        places.append(kl[key].mean(1))
        gained.append(judged[key])
    return {name: tuple(map(np.array, each)) for name, each in found.items()}


def interpolate(kl: np.ndarray, gained: np.ndarray, target: float) -> np.ndarray:
    """Gains (seeds, examples) at one KL, from KLs (K, seeds), gains (K, seeds, examples).

    Linear between the neighbours in KL; the origin, no gain at no KL, is one of them.
    """
    found = []
    for own_kl, own in zip(kl.T, gained.swapaxes(0, 1)):
        order = np.argsort(own_kl)
        places = np.concatenate([[0.0], own_kl[order]])
        values = np.concatenate([np.zeros((1, own.shape[1])), own[order]])
        # the curve rises to the right: beyond the last place its value stays
        right = int(np.clip(np.searchsorted(places, target), 1, len(places) - 1))
        left = right - 1
        width = places[right] - places[left]
        share = np.clip((target - places[left]) / width, 0, 1) if width > 0 else 1.0
        found.append((1 - share) * values[left] + share * values[right])
    return np.array(found)


def equal_kl_table(
    records: pd.DataFrame, judge: str, contrasts: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Paired differences of gains at equal KL, each at the largest KL that both reach.

    A curve runs from SFT, at KL 0 and gain 0, through a method's strengths in the order
    of their KL; it is read off for each seed by its own KLs, for each example alike, at a
    KL that every seed's curve reaches. Columns: name ("a − b"), kl, estimate, low, high,
    interval; a method that was not run is left out.
    """
    found, rows = curves(records, judge), []
    for pair in contrasts:
        if not found.keys() >= set(pair):
            continue
        ends = [found[name] for name in pair]
        target = min(float(kl.max(axis=0).min()) for kl, _ in ends)
        interval = stats.difference_interval(
            *(interpolate(*each, target) for each in ends)
        )
        sides = compare.contrast(*pair)
        rows.append({**sides, "kl": target, **compare.bounds(interval)})
    columns = ["name", "method", "opponent", "kl", *compare.BOUNDS]
    return pd.DataFrame(rows, columns=columns)
