"""Settings are chosen by trials: the same number for every method, on the split `dev`.

A trial is one training of a method at another learning rate, everything else as the run
has it, scored on pairs that neither train nor test anything. All trials are kept beside
the sources, `book/recorded/tuning`, and the book shows them.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.analysis.run_notes import setting
from helpers.config.parameters import ParameterError, check, unknown
from helpers.config.schema import read_schema
from helpers.core import escape
from helpers.core.digests import digest
from helpers.core.inputs import decimal, shown
from helpers.core.manifests import read_manifest
from helpers.core.measurements import TITLE, keep_measurement
from helpers.core.paths import PROJECT, Project, RunError
from helpers.core.progress import quiet
from helpers.core.records import read_records
from helpers.methods import BY_NAME
from helpers.recipes import judging
from helpers.recipes.trials import SEED, STAGES, changed, dev_pairs, parameters, trial
from helpers.runs import jobs
from helpers.runs.code_digests import reached_from_function
from helpers.runs.keys import UNKEYED

NEEDED = ("00_data", "01_base_model", "02_code_pairs", "03_codepmp")
NEEDED += ("04_reward_model", "05_sft")
# DPO's controls and further forms follow the settings of what they are held against
METHODS = tuple(
    each for each in STAGES if each not in BY_NAME or not BY_NAME[each].follows
)
COLUMNS = ["method", "parameter", "value", "helpful", "harmless", "score"]
COLUMNS += ["kl", "length", "ended", "n", "chosen"]
TIE = 0.08  # standard error of the mean true reward of SFT over 200 prompts
TEXT = """\
Each method had {count} trials of its learning rate on the run `{run}`, one seed, and \
everything else as the run has it; PPO's critic rate moves along by the same factor. They \
are scored on pairs of the split `dev`, which neither train nor test anything: policies by \
the mean score that the judge ({judge}) gives to one sampled reply to each of n prompts, \
reward models by accuracy on n pairs. `score` is the mean of the two subsets. The best \
one is chosen; of policies within {tie} of it, which is about the error of a score, the \
nearest to SFT. KL is from the run's own SFT, in nats a reply, `length` is in characters, \
`ended` the share of replies that were not cut by length. Data: {source}."""


# --- what is tried --------------------------------------------------------------------


def trials(
    run: Path, method: str, factors: Iterable[float], project: Project = PROJECT
) -> list[dict]:
    """The grid of a method: jobs with method, factor, seed.

    Raises ParameterError for a rate that the stage does not allow.
    """
    stage = STAGES[method]
    given = parameters(run, stage, project)
    schema = read_schema(project.notebook(stage))
    factors = list(dict.fromkeys(factors))
    for factor in factors:
        for name, value in changed(method, given, factor).items():
            check(schema[name], value)
    return [{"method": method, "factor": each, "seed": SEED} for each in factors]


def parse_methods(text: str) -> list[str]:
    """Methods from `sft,ppo`, all of METHODS from nothing; ParameterError if unknown."""
    names = [name.strip() for name in text.split(",") if name.strip()] or list(METHODS)
    for name in names:
        if name not in STAGES:
            raise unknown("--methods", name, STAGES, "method")
    return list(dict.fromkeys(names))


def parse_factors(text: str) -> list[float]:
    """Factors from `0.3,1,3`; ParameterError unless all are positive numbers."""
    try:
        found = [decimal(each.strip()) for each in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < each < np.inf for each in found):
        raise ParameterError(
            f"--factors {shown(text)}: expected numbers > 0, as 0.3,1,3,10"
        )
    return found


# --- all trials -----------------------------------------------------------------------


def tune(
    run: Path,
    methods: Sequence[str],
    factors: Sequence[float],
    out: Path,
    project: Project = PROJECT,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Make the trials of some methods and record them, with those of others in `out`.

    What is done is kept in the run's folder `tuning`, so a broken call goes on where it
    was. Returns the whole table. Raises RunError if a stage up to 05 is not finished, or
    if `out` holds trials of another run.
    """
    quiet()
    manifests = {stage: read_manifest(run, stage, project) for stage in NEEDED}
    dev_pairs(run)
    kept = recorded_trials(out, run)
    grids = {method: trials(run, method, factors, project) for method in methods}
    look = parameters(run, "08_evaluate", project)
    examined = {name: look[name] for name in ("max_new_tokens", "max_length")}
    for method, grid in grids.items():
        say(f"{method}: {len(grid)} trials")
        given = parameters(run, STAGES[method], project)
        keyed = {name: each for name, each in given.items() if name not in UNKEYED}
        given_by = {stage: each.get("results", {}) for stage, each in manifests.items()}
        inputs = {stage: each.get("content") for stage, each in given_by.items()}
        code = reached_from_function(trial, project.package)
        key = digest([keyed, examined, code, inputs])
        folder = run / "tuning" / "jobs"
        jobs.run_grid(
            trial,
            grid,
            folder,
            stage="tuning",
            key=key,
            workers=manifests["05_sft"]["parameters"]["workers"],
            shared={"run": run, "given": given, "examined": examined},
        )
        rows = pd.DataFrame([trial_row(folder, job, given) for job in grid])
        kept = merged(kept, rows.assign(chosen=choice(rows)))
        keep_trials(kept, out, run, command(run, methods, factors))
    jobs.stop_workers()
    return kept


def choice(rows: pd.DataFrame) -> pd.Series:
    """Which trial of a method is chosen: True once, in the rows' order.

    The best score; of those that lie within `TIE` of it, the policy nearest to SFT, since
    200 prompts cannot tell them apart and the way back is longer from afar. SFT itself
    and reward models have no such distance: the best score.
    """
    scores = rows["score"].fillna(-np.inf)
    alike = rows[scores >= scores.max() - TIE]
    far = rows["method"].isin(("sft", "rm")).all() or alike["kl"].isna().any()
    chosen = scores.idxmax() if far else alike["kl"].idxmin()
    return pd.Series(rows.index == chosen, index=rows.index)


def trial_row(folder: Path, job: Mapping, given: Mapping) -> dict:
    """What a finished trial found, as a row of the table without its choice."""
    method = job["method"]
    name, value = next(iter(changed(method, given, job["factor"]).items()))
    found = read_records(folder / jobs.slug(job) / "records.parquet")
    by = found.groupby(["metric", "subset"])["value"].mean()
    subsets = {each: by["score", each] for each in ("helpful", "harmless")}
    return {
        "method": method,
        "parameter": f"{STAGES[method]}.{name}",
        "value": value,
        **subsets,
        "score": np.mean(list(subsets.values())),
        "kl": by.get(("kl", ""), np.nan),
        "length": by.get(("length", ""), np.nan),
        "ended": by.get(("ended", ""), np.nan),
        "n": int(by["n", ""]),
    }


# --- the record -----------------------------------------------------------------------


def recorded_trials(out: Path, run: Path) -> pd.DataFrame:
    """The table in `out`, empty if there is none; RunError if it is of another run."""
    if not (out / "about.json").exists():
        return pd.DataFrame(columns=COLUMNS)
    of = json.loads((out / "about.json").read_text("utf-8"))["run"]
    if of != run.name:
        raise RunError(f"{out.name} holds trials of the run {of}: give another --out")
    return pd.read_csv(out / "table.csv")


def merged(kept: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The table with the rows of a method replaced, methods in the order of STAGES."""
    others = kept[~kept["method"].isin(rows["method"])]
    parts = [each[COLUMNS] for each in (others, rows) if len(each)]
    table = pd.concat(parts, ignore_index=True)
    place = table["method"].map(list(STAGES).index)
    return table.loc[place.sort_values(kind="stable").index].reset_index(drop=True)


def keep_trials(table: pd.DataFrame, out: Path, run: Path, command: str) -> None:
    """Write the table and what it was made with; commands of earlier calls stay."""
    about = out / "about.json"
    before = []
    if about.exists():
        before = json.loads(about.read_text("utf-8"))["command"].splitlines()
    counts = table.groupby("method").size()
    count = " to ".join(f"{each}" for each in sorted(set(counts)))
    judge = escape.markdown(judging.judges(run)[0].name)
    source = setting(run)["source"]
    names = {"run": run.name, "judge": judge, "source": source}
    text = TEXT.format(count=count, tie=TIE, **names)
    lines = "\n".join(dict.fromkeys([*before, command]))
    of = {"command": lines, "run": run.name, "source": source}
    keep_measurement(table.set_index("method"), out, TITLE, text, **of)


def command(run: Path, methods: Sequence[str], factors: Sequence[float]) -> str:
    """The command that makes these trials."""
    listed = ",".join(f"{each:g}" for each in factors)
    chosen = ",".join(methods)
    return f"prefbook tune --run {run.name} --methods {chosen} --factors {listed}"
