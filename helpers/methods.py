"""The methods: what there is to train, to examine and to compare, one entry each.

The one list of them. Where a method starts, which stage trains it, which parameters are
its rate and its strength, and its colour stand here and nowhere else: grids, trials,
costs and figures ask this list. A name that it does not know is a mistake, not a method
that was not run: `check_names` tells the two apart.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

SFT, DPO, PPO = "05_sft", "06_dpo", "07_ppo"  # the stages that train policies


@dataclass(frozen=True)
class Method:
    """One way to train a policy.

    title: how readers know it; name is how parameters and records do. start: `base` or `sft`, which its implicit reward is measured from. loss: TRL's name
    of it, of what 06 trains. rate, strength, further, pairs: the parameters of its stage
    that hold its learning rate, the strength at which it is compared, its further
    strengths and its number of pairs. follows: whose trials chose its settings, "" if
    its own. colours: of its policies, by the start of the reward model.
    """

    name: str
    title: str
    stage: str
    start: str = "sft"
    loss: str = "sigmoid"
    rate: str = "learning_rate"
    strength: str = "beta"
    further: str = ""
    pairs: str = "relative_pairs"
    weights: bool = False  # of tokens: TIS-DPO (arXiv 2410.04350) and its controls
    adapters: bool = False  # trained in place of all weights
    part: bool = False  # PPO with one part changed: 07 and 08 examine it, 09 does not
    follows: str = ""
    colours: tuple[str, ...] = ()


_TIS = {"rate": "tis_learning_rate", "further": "tis_betas", "weights": True}
_LORA = {"rate": "adapter_learning_rate", "adapters": True}
_ONLINE = {"strength": "kl_coef", "further": "online_kl_coefs"}
_PART = {"strength": "kl_coef", "part": True, "follows": "ppo"}

METHODS = (
    Method("sft", "SFT", SFT, start="base", colours=("#ca9161",)),
    # all pairs of the reward models, so that the two kinds can be compared
    Method(
        "dpo",
        "DPO",
        DPO,
        start="base",
        rate="base_learning_rate",
        pairs="pairs",
        colours=("#fbafe4",),
    ),
    Method(
        "sft_dpo", "SFT+DPO", DPO, further="betas", pairs="pairs", colours=("#d55e00",)
    ),
    # DPO's relatives have fewer pairs and are compared with each other
    Method("ipo", "IPO", DPO, loss="ipo", rate="ipo_learning_rate", strength="tau"),
    Method(
        "dpo_norm",
        "DPO per token",
        DPO,
        loss="sigmoid_norm",
        rate="norm_learning_rate",
        strength="norm_beta",
    ),
    Method(
        "dpo_robust",
        "DPO for noisy labels",
        DPO,
        loss="robust",
        rate="robust_learning_rate",
    ),
    # (D) and (S): weights by two DPO policies, or by two SFT policies; the controls deal
    # (D)'s weights to other tokens, or weigh all alike, which is DPO
    Method("tis_dpo", "TIS-DPO (D)", DPO, **_TIS),
    Method("tis_dpo_s", "TIS-DPO (S)", DPO, **_TIS, follows="tis_dpo"),
    Method("tis_random", "TIS-DPO with random weights", DPO, **_TIS, follows="tis_dpo"),
    Method("tis_equal", "TIS-DPO with equal weights", DPO, **_TIS, follows="tis_dpo"),
    # as the OPT-350M study (arXiv 2509.09055) trained its DPO
    Method(
        "dpo_lora",
        "DPO with adapters",
        DPO,
        start="base",
        **_LORA,
        follows="sft_dpo_lora",
    ),
    Method("sft_dpo_lora", "SFT+DPO with adapters", DPO, **_LORA),
    Method(
        "dpo_iter",
        "iterative DPO",
        PPO,
        **_ONLINE,
        rate="dpo_learning_rate",
        colours=("#2f6f4f",),
    ),
    Method("ppo", "PPO", PPO, **_ONLINE, colours=("#b59400", "#56b4e9")),
    Method(
        "rloo", "RLOO", PPO, **_ONLINE, rate="rloo_learning_rate", colours=("#4b3b8f",)
    ),
    Method(
        "grpo", "GRPO", PPO, **_ONLINE, rate="grpo_learning_rate", colours=("#7a3b1e",)
    ),
    Method("ppo_raw_advantages", "PPO with raw advantages", PPO, **_PART),
    Method("ppo_small_batch", "PPO in small batches", PPO, **_PART),
    Method("ppo_ema_reference", "PPO with a moving reference", PPO, **_PART),
    Method("ppo_normalised_rewards", "PPO with normalised rewards", PPO, **_PART),
    Method("ppo_normalised_values", "PPO with normalised values", PPO, **_PART),
)
BY_NAME = {each.name: each for each in METHODS}

# --- groups of them, by name ------------------------------------------------------------

POLICIES = tuple(BY_NAME)  # as they are trained
OFFLINE = tuple(each.name for each in METHODS if each.stage == DPO)
RELATIVES = tuple(each for each in OFFLINE if BY_NAME[each].pairs == "relative_pairs")
WEIGHTED = tuple(each.name for each in METHODS if each.weights)
ADAPTERS = tuple(each.name for each in METHODS if each.adapters)
ONLINE = tuple(each.name for each in METHODS if each.stage == PPO and not each.part)
PARTS = tuple(each.name for each in METHODS if each.part)
FROM_BASE = tuple(each.name for each in METHODS if each.start == "base")

# --- what is not a policy that was trained ----------------------------------------------

# starts of reward models: the base model, CodePMP, the paper's ablations and a control
INITS = ("base", "codepmp", "rm_only", "lm_only", "shuffled")
STARTS = ("base", "codepmp")  # those that are compared at all sizes
CHOOSERS = ("random", *STARTS)  # who takes the best of N
LEARNED = ("rm (base)", "rm (codepmp)")  # reward models that policies learn from
ALONE = ("rm_helpful", "rm_harmless")  # reward models of one subset
RULES = ("length", "bag of words")  # scorers of pairs without weights of a network
SCORERS = ("truth", "judge", "words judge", "Bayes", *RULES)
SCORERS += ("sft log-prob", "sft log-prob, mean")


def name_of(method: str, init: str) -> str:
    """How a model is called in tables and figures: `sft_dpo`, `ppo (codepmp)`."""
    return f"{method} ({init})" if init and method != init else method


# what a start of reward models, a scorer or a chooser is called where readers read
TITLES = {
    "base": "base model",
    "codepmp": "CodePMP",
    "rm_only": "CodePMP by the reward loss",
    "lm_only": "CodePMP by the language loss",
    "shuffled": "CodePMP with sides shuffled",
    "rm": "reward model",
    "rm_helpful": "reward model of helpful pairs",
    "rm_harmless": "reward model of harmless pairs",
    "best_of_n": "best of N",
    "best_of_n (random)": "one of N at random",
    "words judge": "bag-of-words judge",
    "sft log-prob": "log-probability under SFT",
    "sft log-prob, mean": "log-probability under SFT, per token",
    "no_kl": "PPO without penalty",
    **dict.fromkeys(("huge_rate", "ppo_huge_rate"), "PPO at thirty times the rate"),
    **{each.name: each.title for each in METHODS},
    **{each.name.removeprefix("ppo_"): each.title for each in METHODS if each.part},
}
WITH_START = re.compile(r"(.+) \((\w+)\)")


def title(name: str) -> str:
    """How readers know what is called `name` in records; what is no such name stays.

    `ppo (base)`: PPO; `ppo (codepmp)`: PPO, CodePMP; `dpo implicit`: DPO, implicit
    reward; a contrast of two, `a − b`: that of their titles.
    """
    if " − " in name:
        return " − ".join(map(title, name.split(" − ")))
    if name in TITLES:
        return TITLES[name]
    if (found := WITH_START.fullmatch(name)) and found[2] in INITS:
        start = "" if found[2] == "base" else f", {TITLES[found[2]]}"
        return f"{title(found[1])}{start}"
    if name.endswith(" implicit"):
        return f"{title(name.removesuffix(' implicit'))}, implicit reward"
    return name


def title_of(method: str, init: str) -> str:
    """The title of a job's model; of what has no method, as CodePMP's, that of its start."""
    return title(name_of(method, init) if method else init)


def is_held_out(judge: str) -> bool:
    """Whether a judge is one of the held-out models: `judge 0` and so on."""
    return judge.startswith("judge ")


def names() -> set[str]:
    """Every name that an estimate can have in the comparison."""
    rewarded = [name_of(method, init) for method in ONLINE for init in INITS]
    chosen = [name_of("best_of_n", init) for init in CHOOSERS]
    implicit = [f"{each} implicit" for each in (*OFFLINE, *ONLINE)]
    implicit += [name_of(f"{each} implicit", init) for each in ONLINE for init in INITS]
    scorers = [name_of("rm", init) for init in INITS]
    scorers += [name_of(each, init) for each in ALONE for init in STARTS]
    variants = [each.removeprefix("ppo_") for each in PARTS]
    policies = ["base", "chosen", *POLICIES, *rewarded, *chosen, *variants]
    return {*policies, *implicit, *scorers, *SCORERS, *INITS}


def check_names(known: Sequence[str], what: str, *asked: str) -> None:
    """Raises KeyError, naming it, for a name asked for that is not known."""
    for name in asked:
        if name not in known:
            raise KeyError(f"no {what} is called {name!r}; known: {', '.join(known)}")
