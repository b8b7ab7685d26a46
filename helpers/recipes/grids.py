"""The grid of every stage: which jobs its parameters ask for.

A notebook runs the grid that stands here, and `planning.estimate` counts it. A method is
compared at one strength; one that a claim compares has two further ones at least, from
which its frontier is drawn and its gain at another's KL is read off.
"""

from collections.abc import Mapping

from helpers.methods import BY_NAME, STARTS

Parameters = Mapping[str, object]
Jobs = list[dict]
DECODINGS = {"greedy": 0.0, "sampled": 1.0}  # of every policy; name -> temperature


def codepmp(given: Parameters) -> Jobs:
    """03: CodePMP with seeds of its own, where they are more, and its controls."""
    seeds = dict.fromkeys(given["controls"], given["seeds"])
    counts = {"codepmp": max(given["seeds"], given["codepmp_seeds"]), **seeds}
    return [{"init": init, "seed": s} for init, n in counts.items() for s in range(n)]


def reward_models(given: Parameters, available: int) -> Jobs:
    """04: reward models by start and number of pairs, the long jobs first.

    available: training pairs that there are; no size is larger.
    """
    sizes, controls = capped(given["sizes"], available), given["controls"]
    kinds = [(init, size) for size in sizes for init in STARTS]
    few = [size for size in sizes if size <= given["control_size"]]
    kinds += [(init, size) for size in few for init in controls]
    found = []
    for init, size in kinds:
        main = size == sizes[-1] or init in controls
        more = 0 if main else given["small_seeds"]
        job = {"method": "rm", "init": init, "pairs": size}
        found += [{**job, "seed": seed} for seed in range(max(given["seeds"], more))]
    return sorted(found, key=lambda job: -job["pairs"])


def of_one_subset(given: Parameters, available: Mapping[str, int]) -> Jobs:
    """04: reward models that learn one subset alone, from base model and CodePMP.

    available: training pairs that there are, by subset. As many as half of the largest
    set, which is what a mixture has of a subset where there is enough of both.
    """
    most = max(given["sizes"]) // 2
    return [
        {"method": f"rm_{subset}", "init": init, "pairs": size, "seed": seed}
        for subset in given["alone"]
        for size in [min(most, available[subset])]
        for init in STARTS
        for seed in range(given["seeds"])
    ]


def judges(given: Parameters, available: int) -> Jobs:
    """04: held-out judges, each with a fold of the `available` pairs set aside."""
    fold, count = available // given["judges"], given["judges"]
    return [{"method": "judge", "pairs": fold, "seed": s} for s in range(count)]


def sft(given: Parameters) -> Jobs:
    """05: one SFT model per seed."""
    job = {"method": "sft", "pairs": given["pairs"]}
    return [{**job, "seed": seed} for seed in range(given["seeds"])]


def dpo(given: Parameters, available: int) -> Jobs:
    """06: every method at its strengths, on as many pairs as it is given."""
    return [
        {"method": method, "pairs": size, "strength": strength, "seed": seed}
        for method, strengths in offline_strengths(given).items()
        for size in [min(given[BY_NAME[method].pairs], available)]
        for strength in strengths
        for seed in range(given["seeds"])
    ]


def online(given: Parameters) -> Jobs:
    """07: every method, start and strength, none twice.

    PPO learns from each start's reward model, the others from the base model's. PPO's
    variants have no strength but the one compared.
    """
    main, methods = given["kl_coef"], given["methods"]
    starts = [("ppo", init) for init in given["inits"] if "ppo" in methods]
    starts += [(method, "base") for method in methods if method != "ppo"]
    kinds = []
    for start in starts:
        more = "kl_coefs" if start == ("ppo", "base") else "online_kl_coefs"
        kinds += [(*start, strength) for strength in (main, *given[more])]
    kinds += [(f"ppo_{name}", "base", main) for name in given["variants"]]
    return [
        {"method": method, "init": init, "strength": strength, "seed": seed}
        for method, init, strength in dict.fromkeys(kinds)
        for seed in range(given["seeds"])
    ]


def broken(given: Parameters, healthy: Parameters) -> Jobs:
    """10: PPO made to fail in known ways. healthy: the parameters of 07."""
    common = {"init": "base", "strength": healthy["kl_coef"]}
    return [
        {"method": f"ppo_{name}", **common, "seed": seed}
        for name in given["broken"]
        for seed in range(given["seeds"])
    ]


def offline_strengths(given: Parameters) -> dict[str, list[float]]:
    """Strengths of every method of 06; the first of each is the one compared."""
    found = {}
    for method in given["methods"]:
        told = BY_NAME[method]
        further = given[told.further] if told.further else []
        found[method] = list(dict.fromkeys([given[told.strength], *further]))
    return found


def capped(sizes: list[int], available: int) -> list[int]:
    """Numbers of pairs, as far as there are so many, the smallest first."""
    return sorted({min(size, available) for size in sizes})
