"""One place that reads a run: which job made what, and where it lies."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from helpers.core.hub import plain_name
from helpers.core.manifests import check_declared, read_manifest
from helpers.core.paths import RunError
from helpers.core.records import read_records, read_table
from helpers.data.hh import BUILT_IN, source_rows
from helpers.data.opt350m_prompts import RATES
from helpers.methods import BY_NAME, DPO, FROM_BASE, METHODS, PPO
from helpers.runs import readings
from helpers.runs.readings import finished_jobs
from helpers.statistics.flags import lines

FUNCTIONS = "functions.parquet"  # ids of what the base model has read of code

# --- jobs ------------------------------------------------------------------------------


def job_folder(run: Path, stage: str, **job: object) -> Path:
    """The folder of the one job of a finished stage that has these arguments.

    Raises RunError if there is none, or more than one.
    """
    read_manifest(run, stage)
    readings.note(run, "what_jobs_gave", stage, **job)
    return find_job(trained(run, stage), stage, job)


def trained(run: Path, stage: str) -> list[tuple[dict, Path]]:
    """The finished jobs of a stage with their folders."""
    check_declared(stage)
    return finished_jobs(run / stage / "jobs")


def find_job(
    finished: list[tuple[dict, Path]], stage: str, job: Mapping[str, object]
) -> Path:
    """The folder of the one job with these arguments."""
    fits = [place for _, place in readings.having(finished, job)]
    if len(fits) == 1:
        return fits[0]
    asked = ", ".join(f"{name}={value}" for name, value in job.items()) or "any"
    there = ", ".join(place.name for place in fits or [at for _, at in finished])
    found = f"{len(fits)} jobs" if fits else "no job"
    raise RunError(f"{stage}: {found} with {asked}; there is: {there or 'none'}")


def flags_of(run: Path, stage: str) -> list[str]:
    """What looks wrong in a finished stage, a line for each kind of flag."""
    file = run / stage / "records.parquet"
    return lines(read_records(file)) if file.exists() else []


# --- what stages read from each other --------------------------------------------------


def read_pairs(run: Path, *splits: str) -> pd.DataFrame:
    """The pairs of 00_data in the given splits, in their stored order."""
    check_declared("00_data")
    readings.note(run, "file", "00_data", name="pairs.parquet")
    pairs = read_table(run / "00_data" / "pairs.parquet")
    return pairs[pairs["split"].isin(splits)].reset_index(drop=True)


def data_source(run: Path) -> str:
    """What the pairs of a run were read from, as it was given to 00_data."""
    return parameter(run, "00_data", "data_source")


def parameter(run: Path, stage: str, name: str) -> object:
    """What a finished stage was given."""
    return readings.ask(run, "parameter", stage, name=name)


def read_code_pairs(run: Path, *splits: str) -> pd.DataFrame:
    """The pairs of 02_code_pairs in the given splits, in their stored order."""
    check_declared("02_code_pairs")
    readings.note(run, "file", "02_code_pairs", name="pairs.parquet")
    pairs = read_table(run / "02_code_pairs" / "pairs.parquet")
    return pairs[pairs["split"].isin(splits)].reset_index(drop=True)


def code_read(run: Path) -> set[str]:
    """Ids of the functions that the base model of 01 was trained on.

    None are known of a model that is not trained here.
    """
    path = base_folder(run) / FUNCTIONS
    return set(read_table(path)["id"]) if path.exists() else set()


def base_folder(run: Path) -> Path:
    """Where the base model of 01 lies: its only job."""
    return job_folder(run, "01_base_model")


def start_folder(run: Path, init: str, seed: int) -> Path:
    """The weights a reward model starts from: the base model, or a pretraining of 03."""
    if init == "base":
        return base_folder(run)
    return job_folder(run, "03_codepmp", init=init, seed=seed)


def reference_folder(run: Path, method: str, seed: int) -> Path:
    """The policy a method starts from and is held near: base or SFT."""
    if method in FROM_BASE:
        return base_folder(run)
    return job_folder(run, "05_sft", seed=seed)


# --- what there is to examine ------------------------------------------------------------


def policies(run: Path) -> list[dict]:
    """Every policy that the run's finished stages hold, as a grid of jobs.

    A job is what told the policy apart when it was trained: method and seed, and as far
    as it has them init, pairs and strength.
    """
    seeds = read_manifest(run, "05_sft")["parameters"]["seeds"]
    found = [{"method": "base", "seed": seed} for seed in range(seeds)]
    for method in METHODS:
        there = trained(run, method.stage)
        found += [job for job, _ in there if job["method"] == method.name]
    return found


def policy_folder(run: Path, method: str, **job: object) -> Path:
    """Where a policy's weights lie."""
    if method == "base":
        return base_folder(run)
    return job_folder(run, BY_NAME[method].stage, method=method, **job)


def strengths(run: Path) -> dict[str, float]:
    """The strength at which each method is compared; further ones draw its frontier."""
    given = {stage: read_manifest(run, stage)["parameters"] for stage in (DPO, PPO)}
    return {
        each.name: given[each.stage][each.strength]
        for each in METHODS
        if each.stage in given
    }


def compared_jobs(run: Path, grid: list[dict]) -> list[dict]:
    """The jobs of a grid of policies at the strength at which they are compared."""
    main = strengths(run)
    return [job for job in grid if job.get("strength") == main.get(job["method"])]


def labels(run: Path) -> int:
    """Number of pairs that the reward models with most of them have learned from."""
    return readings.ask(run, "most", "04_reward_model", of="pairs", method="rm")


def reward_folder(run: Path, init: str, seed: int) -> Path:
    """The weights of the reward model of a start and a seed with the most pairs."""
    job = {"method": "rm", "init": init, "pairs": labels(run), "seed": seed}
    return job_folder(run, "04_reward_model", **job)


WORDS = "words judge"  # a bag of words on the pairs of the held-out models


def held_out(run: Path) -> dict[str, Path]:
    """The held-out reward models by name: `judge 0` and so on, a seed and a fold each."""
    readings.note(run, "what_jobs_gave", "04_reward_model", method="judge")
    there = trained(run, "04_reward_model")
    found = {job["seed"]: folder for job, folder in there if job["method"] == "judge"}
    return {f"judge {seed}": found[seed] for seed in sorted(found)}


def panel(run: Path) -> list[str]:
    """The judges whose scores decide between policies, by name.

    The truth where it is known; else the judge that was loaded, if one was; else the
    held-out models, which stand for all that might have been trained: a random factor.
    """
    if data_source(run) == BUILT_IN:
        return ["truth"]
    loaded = read_manifest(run, "08_evaluate")["parameters"]["judge_model"]
    return [plain_name(loaded)] if loaded else list(held_out(run))


# --- prompts -----------------------------------------------------------------------------


def test_rows(run: Path) -> dict[str, list[tuple[str, str]]]:
    """(chosen, rejected) transcripts of the official test split, as they come, by subset."""
    where = (data_source(run),)
    size = {name: parameter(run, "00_data", name) for name in ("n_builtin", "seed")}
    return {
        subset: list(source_rows(*where, subset, "test", **size)) for subset in RATES
    }


def test_transcripts(run: Path) -> dict[str, list[str]]:
    """The chosen transcripts of the official test split, as they come, by subset."""
    rows = test_rows(run)
    return {subset: [chosen for chosen, _ in own] for subset, own in rows.items()}
