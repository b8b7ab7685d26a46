"""Who judges replies in a run: the truth, held-out models, words, a loaded judge."""

from functools import cache
from pathlib import Path

from helpers.core.manifests import read_manifest
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
    inits = read_manifest(run, "07_ppo")["parameters"]["inits"]
    length = read_manifest(run, "04_reward_model")["parameters"]["max_length"]
    return {
        init: RewardModelJudge(
            store.reward_folder(run, init, seed), max_length=length, room=room
        )
        for init in inits
    }


@cache  # by every worker: once
def judges(run: Path, further: str = "", room: int = 0) -> list[Judge]:
    """Who scores replies: the truth where it is known, held-out models, words, one more.

    room: tokens that a held-out model keeps free for any reply (`RewardModelJudge`).
    """
    found: list[Judge] = [TrueReward()] if store.data_source(run) == BUILT_IN else []
    length = read_manifest(run, "04_reward_model")["parameters"]["max_length"]
    limits = {"max_length": length, "room": room}
    for name, folder in store.held_out(run).items():
        found.append(RewardModelJudge(folder, name=name, **limits))
    asked = store.read_pairs(run, "test", "dev")
    subset_of = dict(zip(asked["prompt"], asked["subset"]))
    found.append(WordsJudge(store.read_pairs(run, "judge"), subset_of, store.WORDS))
    if further:
        found.append(PairTextJudge(further))
    return found
