"""The methods by name: what there is to train, to examine and to compare.

The one list of them. A name that stands in no list here is a mistake, not a method that
was not run: `check_names` tells the two apart.
"""

from collections.abc import Sequence

# starts of reward models: the base model, CodePMP, the paper's ablations and a control
INITS = ("base", "codepmp", "rm_only", "lm_only", "shuffled")

# TIS-DPO (D) and (S): weights by two DPO policies, or by two SFT policies; its controls
# deal (D)'s weights to other tokens, or weigh all alike, which is DPO
CONTRASTS = ("tis_dpo", "tis_dpo_s")
CONTROLS = ("tis_random", "tis_equal")
WEIGHTED = (*CONTRASTS, *CONTROLS)
# DPO with adapters in place of all weights, as the OPT-350M study (arXiv 2509.09055)
ADAPTERS = ("dpo_lora", "sft_dpo_lora")
# IPO, DPO per token, and DPO for noisy labels, by their names in TRL
LOSSES = {"ipo": "ipo", "dpo_norm": "sigmoid_norm", "dpo_robust": "robust"}
# 06 gives DPO's relatives fewer pairs; these are all that learn from pairs, not samples
RELATIVES = (*LOSSES, *WEIGHTED, *ADAPTERS)
OFFLINE = ("dpo", "sft_dpo", *RELATIVES)
FROM_BASE = ("sft", "dpo", "dpo_lora")  # the others start from SFT

ONLINE = ("dpo_iter", "ppo", "rloo", "grpo")
PARTS = (  # PPO with one part changed; 07 and 08 examine them, 09 does not
    "ppo_raw_advantages",
    "ppo_small_batch",
    "ppo_ema_reference",
    "ppo_normalised_rewards",
    "ppo_normalised_values",
)
POLICIES = ("sft", *OFFLINE, *ONLINE, *PARTS)  # as they are trained
CHOOSERS = ("random", "base", "codepmp")  # who takes the best of N

LEARNED = ("rm (base)", "rm (codepmp)")  # reward models that policies learn from
RULES = (
    "length",
    "bag of words",
)  # scorers of pairs that learn no weights of a network


def name_of(method: str, init: str) -> str:
    """How a model is called in tables and figures: `sft_dpo`, `ppo (codepmp)`."""
    return f"{method} ({init})" if init and method != init else method


def is_held_out(judge: str) -> bool:
    """Whether a judge is one of the held-out models, which are called `judge 0` and so on."""
    return judge.startswith("judge ")


def names() -> set[str]:
    """Every name that an estimate can have in the comparison."""
    rewarded = [name_of(method, init) for method in ONLINE for init in INITS]
    chosen = [f"best_of_n ({init})" for init in CHOOSERS]
    implicit = [name_of(f"{each} implicit", "") for each in (*OFFLINE, *ONLINE)]
    implicit += [name_of(f"{each} implicit", init) for each in ONLINE for init in INITS]
    scorers = [name_of("rm", init) for init in INITS]
    scorers += [
        "truth",
        "judge",
        "words judge",
        "sft log-prob",
        "sft log-prob, mean",
        "Bayes",
        *RULES,
    ]
    variants = [each.removeprefix("ppo_") for each in PARTS]
    policies = ["base", "chosen", *POLICIES, *rewarded, *chosen, *variants]
    return {*policies, *implicit, *scorers, *INITS}


def check_names(known: Sequence[str], what: str, *asked: str) -> None:
    """Raises KeyError, naming it, for a name asked for that is not known."""
    for name in asked:
        if name not in known:
            raise KeyError(f"no {what} is called {name!r}; known: {', '.join(known)}")
