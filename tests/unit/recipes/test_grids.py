"""Which policies 06 and 07 train: three strengths of each method that claims compare."""

from collections.abc import Mapping

import pytest

from helpers.config.settings import all_values
from helpers.core.paths import PROJECT
from helpers.methods import WEIGHTED
from helpers.recipes import grids

CLAIMED = {"sft_dpo", *WEIGHTED}  # those of 06 that the ledger's claims compare


def given(stage: str, tier: str = "cpu", *changes: str) -> Mapping[str, object]:
    stages = list(PROJECT.stages)
    return all_values(PROJECT, stages, "runs/x", tier, (), changes)[stage]


def online(values: Mapping[str, object]) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {}
    for job in grids.online(values):
        kept = found.setdefault((job["method"], job["init"]), [])
        kept += [job["strength"]] * (job["seed"] == 0)
    return found


@pytest.mark.parametrize("tier", ["full", "h100"])
def test_every_method_that_claims_compare_has_three_strengths(tier: str) -> None:
    strengths = grids.offline_strengths(given("06_dpo", tier))
    assert all(len(set(strengths[method])) >= 3 for method in CLAIMED), strengths
    kinds = online(given("07_ppo", tier))
    whole = {each: found for each, found in kinds.items() if "ppo_" not in each[0]}
    starts = {("ppo", "base"), ("ppo", "codepmp")}
    assert whole.keys() == {
        *starts,
        *((m, "base") for m in ("rloo", "grpo", "dpo_iter")),
    }
    assert all(len(set(found)) >= 3 for found in whole.values()), whole


def test_the_question_alone_is_a_part_of_all_that_is_compared() -> None:
    for stage, count in (("06_dpo", 12), ("07_ppo", 18)):
        few, all_of_it = (
            [tuple(job.items()) for job in jobs_of(stage, tier)]
            for tier in ("cpu", "full")
        )
        assert len(few) == count and set(few) < set(all_of_it)


def jobs_of(stage: str, tier: str) -> grids.Jobs:
    values = given(stage, tier)
    return grids.dpo(values, 10_000) if stage == "06_dpo" else grids.online(values)


def test_the_first_strength_is_the_one_compared() -> None:
    values = given("06_dpo", "full", "06_dpo.beta=0.2")
    strengths = grids.offline_strengths(values)
    assert strengths["sft_dpo"] == [0.2, 0.03, 0.3]
    assert strengths["dpo"] == [0.2]
    assert strengths["ipo"] == [values["tau"]]
    assert strengths["dpo_norm"] == [values["norm_beta"]]


def test_no_policy_is_trained_twice() -> None:
    values = given("06_dpo", "full", "06_dpo.beta=0.3", "07_ppo.kl_coef=0.3")
    assert grids.offline_strengths(values)["sft_dpo"] == [0.3, 0.03]
    jobs = grids.online(given("07_ppo", "full", "07_ppo.kl_coef=0.3"))
    assert len(jobs) == len({tuple(job.items()) for job in jobs})


def test_iterative_dpo_has_no_beta_of_zero() -> None:
    kinds = online(given("07_ppo", "full"))
    assert 0.0 in kinds["ppo", "base"] and 0.0 not in kinds["dpo_iter", "base"]
    assert kinds["ppo_small_batch", "base"] == [0.1]  # variants at one strength


def test_methods_that_are_not_asked_for_are_not_trained() -> None:
    changes = ["07_ppo.methods=[rloo]", "06_dpo.methods=[dpo]"]
    kinds = online(given("07_ppo", "full", *changes))
    assert {each for each in kinds if "ppo_" not in each[0]} == {("rloo", "base")}
    assert grids.offline_strengths(given("06_dpo", "full", *changes)) == {"dpo": [0.1]}


def test_reward_models_of_one_subset_have_half_of_the_most_pairs() -> None:
    assert grids.of_one_subset(given("04_reward_model"), {}) == []
    jobs = grids.of_one_subset(
        given("04_reward_model", "full"), {"helpful": 9000, "harmless": 70}
    )
    found = {(job["method"], job["pairs"], job["init"]) for job in jobs}
    sizes = {"rm_helpful": 4800, "rm_harmless": 70}
    assert found == {
        (method, size, init)
        for method, size in sizes.items()
        for init in ("base", "codepmp")
    }
    assert [job["seed"] for job in jobs] == [0, 1, 2] * 4
