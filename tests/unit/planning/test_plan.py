"""What a run would take: arithmetic, and tiers that keep their word."""

from dataclasses import replace

import pandas as pd
import pytest
from typer.testing import CliRunner

from helpers.cli import app
from helpers.config.settings import all_values
from helpers.core.paths import PROJECT, ROOT
from helpers.planning import estimate, machines, tables
from helpers.planning.estimate import REAL
from helpers.planning.machines import GPUS, Cores, Gpu, Work


def planned(tier: str, *given: str) -> list[Work]:
    stages = list(PROJECT.stages)
    values = all_values(PROJECT, stages, "runs/x", tier, (), given, planned=True)
    return estimate.works(values, estimate.shape_of(values))


def test_time_is_flops_over_speed() -> None:
    gpu = Gpu(speed=4e12, bandwidth=1e12, memory=1, share=0.25)
    trained = Work("s", "w", 1, parameters=1e9, trained=600.0)
    assert trained.flops == 3.6e12
    assert gpu.seconds(trained) == pytest.approx(4.8)  # read again for activations
    read = Work("s", "w", 1, parameters=1e9, read=500.0)
    assert gpu.seconds(read) == pytest.approx(1.0)
    small = Work("s", "w", 1, parameters=1e6, sampled=640.0)  # ten tokens of 64
    assert gpu.seconds(small) == pytest.approx(10 * machines.LAUNCH)
    sampled = replace(small, parameters=1e9)
    assert gpu.seconds(sampled) == pytest.approx(10 * (0.128 + 0.002))


def test_cores_have_a_speed_for_each_kind_of_work() -> None:
    cores = Cores(trained=6e9, read=4e9, sampled=1e9)
    work = Work("s", "w", 1, parameters=1e9, trained=10.0, read=20.0, sampled=30.0)
    assert cores.seconds(work) == pytest.approx(10 + 10 + 60)


def test_a_plan_is_for_the_model_that_is_named() -> None:
    smol = planned("laptop")
    assert {each.parameters for each in smol} == {106.2e6, (10.6e6 + 100.3e6) / 2}
    other = planned("laptop", "01_base_model.pretrained=somewhere/else@commit")
    assert REAL.parameters in {each.parameters for each in other}


def test_code_of_a_folder_is_as_long_as_real_code(tmp_path) -> None:
    given = (f"02_code_pairs.code_source={tmp_path}", "02_code_pairs.functions=1000")
    (real,), (own,) = (
        [each for each in planned("laptop", *some) if each.stage == "03_codepmp"]
        for some in (given, given[1:])
    )
    tokens = 1000 * (192 + 2 * 72)
    assert real.trained + real.read == pytest.approx(tokens)
    assert own.trained + own.read == pytest.approx(1000 * (40 + 2 * 80))


def test_a_first_answer_on_a_laptop_takes_three_hours() -> None:
    assert tables.plan_table(planned("laptop")).loc["together", "two cores"] < 185


def test_the_shares_are_those_that_were_measured() -> None:
    """An H200's matrix units are as fast as an H100's, so are its shares counted."""
    t4, h100 = (
        pd.read_csv(ROOT / "book" / "recorded" / f"gpu_{tier}" / "table.csv")
        for tier in ("t4", "h100")
    )
    busy = t4["TFLOP/s while busy"].dropna() * 1e12 / GPUS["H100"].speed
    assert busy.min() <= GPUS["T4"].share <= busy.median()
    slowest = h100["TFLOP/s"].min() * 1e12 / GPUS["H100"].speed
    assert GPUS["H100"].share == pytest.approx(slowest, abs=0.005)


def test_the_speeds_of_cores_are_those_that_were_measured() -> None:
    """By 6 and 2 FLOPs for each parameter of SmolLM2 that works on a token."""
    table = pd.read_csv(ROOT / "book" / "recorded" / "laptop" / "table.csv")
    rates = 106.2e6 * table.set_index("work")["tokens/s"]
    (cores,) = machines.CORES.values()
    trained = 6 * rates[["reward model", "SFT"]]
    assert trained.min() <= cores.trained <= trained.max()
    assert cores.read == pytest.approx(2 * rates["scoring"], rel=0.05)
    assert cores.sampled == pytest.approx(2 * rates["sampling"], rel=0.05)


def test_no_stage_of_the_t4_tier_takes_more_than_40_minutes() -> None:
    table = tables.plan_table(planned("t4")).drop("together")
    assert len(table) == 8  # all but 00, 01 which is pretrained, and 09
    assert table["T4"].max() <= 40
    assert planned("t4")[0].parameters == 1.3e9  # a hub's coder, by its name


def test_the_h100_tier_takes_less_than_two_days() -> None:
    assert tables.plan_table(planned("h100")).loc["together", "H100"] < 48 * 60


def test_pairs_set_aside_train_nothing() -> None:
    data = {"max_pairs": 0, "max_test_pairs": 100, "judge_fraction": 0.2}
    shape = estimate.drawn(data | {"dev_fraction": 0.05}, replace(REAL, train=1000))
    assert (shape.train, shape.judge, shape.test) == (750, 200, 100)


def test_weights_fit_where_the_tiers_say_so() -> None:
    gigabytes = tables.memory_table(REAL.parameters)["GB"]
    whole, adapters = (
        gigabytes[gigabytes.index.str.startswith(name)].item()
        for name in ("PPO:", "PPO with adapters")
    )
    assert whole == pytest.approx(13.24) and adapters == pytest.approx(2.648)
    assert gigabytes.max() < GPUS["T4"].memory


def test_more_seeds_take_more_of_everything_but_the_base() -> None:
    every = [f"{name}={{}}" for name in ("seeds", "small_seeds", "codepmp_seeds")]
    one, three = (
        tables.plan_table(planned("full", *(each.format(n) for each in every)))
        for n in (1, 3)
    )
    same = three["PFLOP"] / one["PFLOP"]
    for stage in ("03_codepmp", "05_sft", "06_dpo", "07_ppo", "10_ppo_curves"):
        assert same[stage] == pytest.approx(3.0)
    assert same["01_base_model"] == 1.0


def test_the_command_prints_the_table_and_what_it_assumes() -> None:
    done = CliRunner().invoke(app, ["plan", "--tier", "t4", "-p", "05_sft.pairs=100"])
    assert done.exit_code == 0
    assert "| 05_sft " in done.output and "A model of 331 million" in done.output
    refused = CliRunner().invoke(app, ["plan", "-p", "05_sft.pears=100"])
    assert refused.exit_code == 2 and "did you mean pairs?" in refused.output
