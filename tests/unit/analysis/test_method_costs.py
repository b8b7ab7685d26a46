"""What methods were given and took: lineages, sums by hand, contrasts that are refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from helpers.analysis import method_costs
from helpers.analysis.method_costs import (
    LINEAGE,
    cost_table,
    fairness_table,
    preference_pairs,
    same_pairs,
)
from helpers.config.parameters import ParameterError
from helpers.core.paths import PROJECT
from helpers.core.records import tidy, write_records
from helpers.runs.jobs import slug
from helpers.runs.stage import Stage
from tests.manifests import write_manifest

PARAMETERS = {
    "03_codepmp": {"epochs": 1.0, "learning_rate": 1e-3},
    "04_reward_model": {"epochs": 1.5, "learning_rate": 1.5e-3},
    "05_sft": {"epochs": 1.0, "learning_rate": 3e-3, "seeds": 2},
    "06_dpo": {
        "epochs": 1.0,
        "beta": 0.1,
        "tau": 1.0,
        "norm_beta": 2.0,
        "learning_rate": 5e-5,
        "base_learning_rate": 5e-5,
        "adapter_learning_rate": 5e-4,
        "tis_learning_rate": 7e-5,
    },
    "07_ppo": {
        "kl_coef": 0.1,
        "rollouts": 20,
        "episodes": 64,
        "ppo_epochs": 2,
        "learning_rate": 3e-4,
        "rloo_learning_rate": 3e-4,
    },
    "08_evaluate": {"best_of": [2, 4]},
}
# stage -> jobs; each costs as many teraFLOPs and seconds as `cost`, and half the memory
JOBS = {
    "02_code_pairs": [("strong", "", None, None, 1), ("weak", "", None, None, 2)],
    "03_codepmp": [("", "codepmp", None, None, 4)],
    "04_reward_model": [
        ("rm", "base", 30, None, 7),
        ("rm", "base", 100, None, 8),
        ("rm", "codepmp", 100, None, 8),
        ("rm", "shuffled", 30, None, 7),
        ("judge", "base", 40, None, 5),
    ],
    "05_sft": [("sft", "", 500, None, 16)],
    "06_dpo": [
        ("dpo", "", 100, 0.1, 32),
        ("sft_dpo", "", 100, 0.1, 33),
        ("sft_dpo", "", 100, 0.3, 99),
        ("tis_equal", "", 20, 0.1, 34),
        ("dpo_lora", "", 20, 0.1, 35),
    ],
    "07_ppo": [
        ("ppo", "base", None, 0.1, 64),
        ("ppo", "codepmp", None, 0.1, 64),
        ("rloo", "base", None, 0.1, 65),
        ("ppo_raw_advantages", "base", None, 0.1, 66),
    ],
    "08_evaluate": [
        ("best_of_n", "base", None, 2.0, 128),
        ("best_of_n", "base", None, 4.0, 256),
    ],
}


def rows_of(stage: str, job: tuple) -> list[dict]:
    """Costs of two seeds, one dearer and one cheaper, alike in the mean."""
    method, init, pairs, strength, cost = job
    common = {"method": method, "init": init, "pairs": pairs, "strength": strength}
    values = {"train_flops": 1e12 * cost, "cpu_seconds": cost, "optimiser_steps": cost}
    values |= {"memory_above_idle_mib": cost / 2, "seconds": 1000 * cost}
    return [
        {**common, "seed": seed, "metric": metric, "value": value * (0.5 + seed)}
        for seed in range(2)
        for metric, value in values.items()
    ]


def write_run(run: Path, jobs: dict[str, list[tuple]]) -> Stage:
    """A run folder with these jobs and nothing trained."""
    for stage in PROJECT.stages:
        folder = run / stage
        write_manifest(run, stage, parameters=PARAMETERS.get(stage, {}))
        rows = [row for job in jobs.get(stage, []) for row in rows_of(stage, job)]
        write_records(tidy(rows, stage=stage), folder / "records.parquet")
        names = ("method", "init", "pairs", "strength")
        for given in jobs.get(stage, []):
            job = {n: v for n, v in zip(names, given) if v not in (None, "")}
            place = folder / "jobs" / slug(job)
            place.mkdir(parents=True)
            (place / "job.json").write_text(json.dumps({"job": job, "key": ""}))
    pairs = pd.DataFrame({"split": ["test"] * 10 + ["train"] * 200})
    pairs.to_parquet(run / "00_data" / "pairs.parquet")
    pairs[:22].to_parquet(run / "02_code_pairs" / "pairs.parquet")
    return Stage("09_compare", run, SimpleNamespace(), {})


@pytest.fixture
def stage(tmp_path) -> Stage:
    return write_run(tmp_path, JOBS)


# --- costs -----------------------------------------------------------------------------


def test_a_method_costs_what_all_its_jobs_cost(stage) -> None:
    cost = cost_table(stage).set_index("name")
    sums = {
        "sft": 16,
        "dpo": 32,
        "sft_dpo": 16 + 33,  # at the strength that is compared
        "rm (base)": 8,  # with most pairs
        "rm (codepmp)": 1 + 2 + 4 + 8,
        "ppo (base)": 16 + 8 + 64,
        "ppo (codepmp)": 16 + 1 + 2 + 4 + 8 + 64,
        "rloo (base)": 16 + 8 + 65,
        "tis_equal": 16 + 34,
        "dpo_lora": 35,  # starts from the base model
        "best_of_n (base)": 16 + 8 + 256,  # samples and scores, for the largest N
    }
    assert cost["teraFLOPs"].to_dict() == pytest.approx(sums)
    assert cost["processor seconds"].to_dict() == pytest.approx(sums)  # not wall time
    memory = cost["memory MiB above idle"]
    assert memory["ppo (base)"] == 32 and memory["sft"] == 8
    assert cost["code pairs"].max() == 12
    assert (cost["code pairs"] > 0).sum() == 2  # rm and ppo from codepmp
    labels = cost["HH pairs"]
    assert labels["rm (base)"] == 100 and labels["dpo_lora"] == 20
    assert labels["sft"] == 200  # of 500 asked for, those that there are
    assert cost["replies per answer"].to_dict()["best_of_n (base)"] == 4
    assert (cost.drop("best_of_n (base)")["replies per answer"] == 1).all()


def test_code_pairs_that_no_job_wrote_cost_only_codepmp(tmp_path) -> None:
    stage = write_run(tmp_path, JOBS | {"02_code_pairs": []})
    cost = cost_table(stage).set_index("name")
    assert cost.loc["rm (codepmp)", "teraFLOPs"] == pytest.approx(4 + 8)
    assert cost.loc["rm (codepmp)", "code pairs"] == 12


def test_what_starts_from_the_base_model_is_not_charged_sft() -> None:
    sft = method_costs.SFT
    assert all(sft not in LINEAGE[each] for each in ("dpo", "dpo_lora", "rm (base)"))
    charged = ("sft_dpo", "sft_dpo_lora", "ipo", "tis_dpo", "ppo (base)")
    assert all(sft in LINEAGE[each] for each in charged)


def test_memory_that_was_not_measured_is_missing(stage) -> None:
    path = stage.run / "05_sft" / "records.parquet"
    records = pd.read_parquet(path).query("metric != 'memory_above_idle_mib'")
    write_records(records, path)
    cost = cost_table(stage).set_index("name")
    assert pd.isna(cost.loc["sft", "memory MiB above idle"])


# --- fairness ----------------------------------------------------------------------------


def test_what_each_learned_from(stage) -> None:
    known = preference_pairs(stage.run)
    assert known["sft"] == known["base"] == 0
    assert known["ppo (base)"] == known["rm (codepmp)"] == known["dpo"] == 100
    assert known["best_of_n (base)"] == 100
    assert known["dpo_lora"] == known["tis_equal"] == 20


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ppo (base)", "sft_dpo"),
        ("sft_dpo implicit", "rm (base)"),
        ("tis_equal", "dpo_lora"),
        ("tis_equal", "sft"),  # which learned from no preference
        ("best_of_n (base)", "best_of_n (random)"),
        ("ppo_raw_advantages (base)", "ppo (base)"),
        ("grpo (base)", "sft_dpo"),  # was not trained
    ],
)
def test_those_that_learned_from_the_same_pairs_are_compared(
    first, second, stage
) -> None:
    same_pairs(stage.run, first, second)


def test_a_contrast_across_sizes_is_refused(stage, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"sft_dpo − tis_equal: .* 100 and 20 pref"):
        same_pairs(stage.run, "sft_dpo", "tis_equal")
    fewer = {"06_dpo": [("sft_dpo", "", 60, 0.1, 1)]}
    recorded = write_run(tmp_path / "recorded", JOBS | fewer)
    with pytest.raises(ValueError, match=r"100 and 60 .* give 06_dpo.pairs"):
        same_pairs(recorded.run, "ppo (base)", "sft_dpo")
    with pytest.raises(ValueError, match="they learned from 30 and 100"):
        same_pairs(stage.run, "rm (shuffled)", "rm (codepmp)")
    with pytest.raises(ParameterError, match="did you mean sft_dpo"):
        same_pairs(stage.run, "sft_dop", "sft")


def test_what_each_was_given(stage) -> None:
    table = fairness_table(stage).set_index("name")
    assert "best_of_n (base)" not in table.index  # trains nothing
    assert "ppo_raw_advantages (base)" not in table.index
    ppo, rloo = table.loc["ppo (base)"], table.loc["rloo (base)"]
    assert (ppo["learns from"], ppo["items"]) == ("sampled replies", 20 * 64)
    assert ppo["preference pairs"] == 100 and ppo["updates"] == 64
    assert (ppo["passes"], rloo["passes"]) == (2, 1)
    sft, codepmp = table.loc["sft"], table.loc["codepmp"]
    assert (sft["learns from"], sft["items"]) == ("chosen replies", 200)
    assert (codepmp["learns from"], codepmp["items"]) == ("code pairs", 12)
    assert sft["preference pairs"] == codepmp["preference pairs"] == 0
    assert table.loc["rm (base)", ["items", "passes"]].tolist() == [100, 1.5]
    assert table.loc["tis_equal", "preference pairs"] == 20
    assert (table["seeds"] == 2).all()


def test_trials_are_those_of_a_method_s_rate(stage, monkeypatch, tmp_path) -> None:
    folder = tmp_path / "sources" / "book" / "recorded" / "tuning"
    folder.mkdir(parents=True)
    rows = [("06_dpo.tis_learning_rate", rate, rate == 5e-5) for rate in (1e-5, 5e-5)]
    rows += [
        ("05_sft.learning_rate", rate, rate == 3e-3) for rate in (1e-3, 3e-3, 9e-3)
    ]
    names = ["parameter", "value", "chosen"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "table.csv", index=False)
    sources = SimpleNamespace(root=tmp_path / "sources")

    def of(stage_name: str, method: str) -> tuple:
        step = (stage_name, method, "")
        return tuple(method_costs.rate_of(stage.run, step, sources).values())

    assert of("05_sft", "sft") == ("0.003", 3, "chosen")
    assert of("06_dpo", "tis_equal") == ("7e-05", 2, "set by hand")  # another value
    assert of("06_dpo", "sft_dpo") == ("5e-05", 0, "set by hand")
    (folder / "table.csv").unlink()
    assert of("05_sft", "sft") == ("0.003", 0, "set by hand")
