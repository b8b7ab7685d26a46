"""Which policies 06 and 07 train: every method with its starts and strengths.

A method is compared at one strength. A method that a claim compares has two further ones
at least, from which its frontier is drawn and its gain at another's KL is read off. The
notebooks train what is listed here, and `plan` counts it.
"""

from collections.abc import Mapping

from helpers.methods import WEIGHTED

Parameters = Mapping[str, object]
# the parameters of 06 that are a method's strength; of the others it is `beta`
STRENGTH_NAMES = {"ipo": "tau", "dpo_norm": "norm_beta"}
# those of 06 that hold a method's further ones
FURTHER = {"sft_dpo": "betas", **dict.fromkeys(WEIGHTED, "tis_betas")}


def strength_name(method: str) -> str:
    """The parameter of 06 that is the strength at which a method is compared."""
    return STRENGTH_NAMES.get(method, "beta")


def offline_strengths(given: Parameters) -> dict[str, list[float]]:
    """Strengths of every method of 06; the first of each is the one compared.

    given: the parameters of 06.
    """
    found = {}
    for method in given["methods"]:
        further = given[FURTHER[method]] if method in FURTHER else []
        found[method] = list(dict.fromkeys([given[strength_name(method)], *further]))
    return found


def online_kinds(given: Parameters) -> list[tuple[str, str, float]]:
    """Every policy that 07 trains for a seed: (method, init, strength), none twice.

    PPO learns from each start's reward model, the others from the base model's. PPO's
    variants have no strength but the one compared. given: the parameters of 07.
    """
    main, methods = given["kl_coef"], given["methods"]
    starts = [("ppo", init) for init in given["inits"] if "ppo" in methods]
    starts += [(method, "base") for method in methods if method != "ppo"]
    found = []
    for start in starts:
        more = "kl_coefs" if start == ("ppo", "base") else "online_kl_coefs"
        found += [(*start, strength) for strength in (main, *given[more])]
    found += [(f"ppo_{name}", "base", main) for name in given["variants"]]
    return list(dict.fromkeys(found))
