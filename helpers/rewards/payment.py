"""What pays a policy that is trained online, while a further judge watches."""

from collections.abc import Sequence

import numpy as np

from helpers.core.flops import aside
from helpers.core.processes import gathered, processes, share
from helpers.models.endings import Ending
from helpers.rewards.judges import Judge

# --- what pays -----------------------------------------------------------------------


class Payment:
    """A reward on texts for all trainers; remembers the means of every rollout.

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
        return [over_all(shares) for shares in zip(*everyone, strict=True)]

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
        means = {"reward": scores.mean(), "judged": judged.mean()}
        empty = np.mean([not text.strip() for text in completions])
        self.seen.append({**means, "reward_spread": scores.std(), "empty": empty})
        if completion_ids is not None:
            ended = np.array([self.ending.reached(ids) for ids in completion_ids])
            self.seen[-1]["ended"] = ended.mean()
            scores = scores - self.penalty * ~ended
        return scores.tolist()


def over_all(shares: Sequence[dict[str, float]]) -> dict[str, float]:
    """The means of a rollout from those of equal shares; its spread is of all replies.

    That is the spread within shares and that between their means.
    """
    means = {name: np.mean([each[name] for each in shares]) for name in shares[0]}
    within = np.mean([each["reward_spread"] ** 2 for each in shares])
    between = np.var([each["reward"] for each in shares])
    return {**means, "reward_spread": np.sqrt(within + between)}
