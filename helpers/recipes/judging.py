"""Who judges replies in a run: the truth, held-out models, words, a loaded judge."""

from functools import cache
from pathlib import Path

from helpers.data.hh import BUILT_IN
from helpers.rewards.judges import (
    Judge,
    PairTextJudge,
    RewardModelJudge,
    TrueReward,
    WordsJudge,
)
from helpers.runs import store


def proxies(run: Path, seed: int, room: int = 0) -> dict[str, Judge]:
    """The reward models of a seed that policies are trained against, by their start.

    room: tokens that they keep free for any reply, as for `judges`.
    """
    inits = store.parameter(run, "07_ppo", "inits")
    length = store.parameter(run, "04_reward_model", "max_length")
    return {
        init: RewardModelJudge(
            store.reward_folder(run, init, seed), max_length=length, room=room
        )
        for init in inits
    }


def judges(run: Path, further: str = "", room: int = 0) -> list[Judge]:
    """Who scores replies: the truth where it is known, held-out models, words, one more.

    room: tokens that a held-out model keeps free for any reply (`RewardModelJudge`).
    """
    known = [TrueReward()] if store.data_source(run) == BUILT_IN else []
    length = store.parameter(run, "04_reward_model", "max_length")
    limits = {"max_length": length, "room": room}
    held_out = [
        loaded(RewardModelJudge, folder, name=name, **limits)
        for name, folder in store.held_out(run).items()
    ]
    more = [loaded(PairTextJudge, further)] if further else []
    return [*known, *held_out, words_judge(run), *more]


fitted: dict[Path, WordsJudge] = {}  # by run, in every worker once


def words_judge(run: Path) -> WordsJudge:
    """The bag of words of a run; every job that asks has read its pairs."""
    asked, pairs = store.read_pairs(run, "test", "dev"), store.read_pairs(run, "judge")
    if run not in fitted:
        subset_of = dict(zip(asked["prompt"], asked["subset"]))
        fitted[run] = WordsJudge(pairs, subset_of, store.WORDS)
    return fitted[run]


@cache  # by every worker: once
def loaded(kind: type[Judge], place: str | Path, **limits: object) -> Judge:
    """A judge with weights, from its folder or by its name."""
    return kind(place, **limits)
