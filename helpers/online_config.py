"""What all online methods are told, and what pays them.

`Online` has the same words for every method; a `Payment` scores replies for the trainers
and lets a further judge watch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from helpers.endings import Ending
from helpers.flops import aside
from helpers.judge import Judge
from helpers.launched import gathered, processes, share


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
    adapters: bool = False  # `training.adapter` is trained in place of all weights
    seed: int = 0


def passes(method: str, epochs: int) -> int:
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


# --- what pays -----------------------------------------------------------------------


class Payment:
    """A reward on texts for all trainers; remembers the mean of every rollout.

    The texts are those of `generate`, which stop before what ended the reply. Where the
    trainer tells their ids, `penalty` is taken off the replies that `ending`, the same
    rule, finds cut by length; PPO tells none and takes it off by itself. `judge` watches.
    """

    def __init__(
        self, reward: Judge, judge: Judge, ending: Ending, penalty: float
    ) -> None:
        self.reward, self.judge = reward, judge
        self.ending, self.penalty = ending, penalty
        self.__name__ = "payment"  # TRL names its metrics after it
        self.seen: list[dict[str, float]] = []

    def seen_by_all(self) -> list[dict[str, float]]:
        """The means of every rollout over the equal shares of all processes."""
        everyone = gathered(share(processes()), [self.seen])  # one place each
        return [
            {name: np.mean([each[name] for each in means]) for name in means[0]}
            for means in zip(*everyone, strict=True)
        ]

    def __call__(
        self,
        prompts: list[str],
        completions: list[str],
        completion_ids: list[list[int]] | None = None,
        **_: object,
    ) -> list[float]:
        """One score for each reply."""
        scores = np.asarray(self.reward.score(prompts, completions))
        with aside():
            judged = np.asarray(self.judge.score(prompts, completions))
        self.seen.append({"reward": scores.mean(), "judged": judged.mean()})
        if completion_ids is not None:
            ended = np.array([self.ending.reached(ids) for ids in completion_ids])
            self.seen[-1]["ended"] = ended.mean()
            scores = scores - self.penalty * ~ended
        return scores.tolist()
