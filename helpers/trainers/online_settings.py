"""What all online methods are told, and what pays them.

`Online` has the same words for every method; a `Payment` scores replies for the trainers
and lets a further judge watch.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Online:
    """How one policy is trained online; the same words for every method."""

    rollouts: int
    episodes: int  # replies a rollout
    epochs: int  # passes over a rollout
    minibatches: int  # updates a pass
    learning_rate: float  # of PPO; of RLOO and GRPO where they have none of their own
    critic_learning_rate: float  # PPO only
    kl_coef: float
    max_prompt_length: int
    max_new_tokens: int
    generations: int = 4  # replies a prompt, where they are compared: all but PPO
    missing_eos_penalty: float = 1.0
    whiten_advantages: bool = True  # PPO only
    ref_ema: float = 0.0  # PPO only
    normalise_rewards: bool = False  # PPO only
    normalise_values: bool = False  # PPO only
    rounds: int = 4  # of iterative DPO, over all episodes
    dpo_learning_rate: float = 1e-4  # of iterative DPO
    rloo_learning_rate: float | None = None
    grpo_learning_rate: float | None = None
    adapters: bool = False  # `adapters.adapter` is trained in place of all weights
    seed: int = 0


def epochs_of(method: str, epochs: int) -> int:
    """How often a method goes over a rollout, where PPO does so `epochs` times."""
    return 1 if method == "rloo" else epochs


# PPO and its variants, as changes of the settings: Xu et al.'s three factors, taken away
# or added, the normalising of their code, and a way to break a run
VARIANTS: dict[str, Callable[[Online], dict]] = {
    "ppo": lambda each: {},
    "ppo_raw_advantages": lambda each: {"whiten_advantages": False},
    "ppo_small_batch": lambda each: {
        # a batch is one mini-batch: as many episodes and updates in all, and as large
        "episodes": each.episodes // each.minibatches,
        "rollouts": each.rollouts * each.minibatches,
        "minibatches": 1,
    },
    "ppo_ema_reference": lambda each: {"ref_ema": 0.05},
    "ppo_normalised_rewards": lambda each: {"normalise_rewards": True},
    "ppo_normalised_values": lambda each: {"normalise_values": True},
    "ppo_huge_rate": lambda each: {"learning_rate": 30 * each.learning_rate},
}
