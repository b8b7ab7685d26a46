"""What each method was given and what it took: labels, trials, time, FLOPs, memory.

A method's costs are those of all the jobs it rests on, so PPO is charged its SFT and its
reward model, too. Who may be compared follows from the pairs that each has learned from.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from helpers.config.parameters import unknown
from helpers.core.manifests import read_manifest
from helpers.core.measurements import TUNING
from helpers.core.paths import PROJECT, Project
from helpers.core.records import ABOVE_IDLE, PROCESSOR
from helpers.methods import BY_NAME, FROM_BASE, INITS, OFFLINE, ONLINE, PARTS
from helpers.recipes.evaluate import compared
from helpers.recipes.trials import rate_name
from helpers.runs import store
from helpers.runs.readings import finished_jobs
from helpers.runs.stage import Stage
from helpers.statistics import compare
from helpers.trainers.online_settings import epochs_of

Step = tuple[str, str, str]  # stage, method, init of jobs

COSTS = (PROCESSOR, "train_flops", "optimiser_steps", ABOVE_IDLE)  # of jobs, as records
SFT: Step = ("05_sft", "sft", "")
WRITERS: Step = ("02_code_pairs", "", "")  # all jobs there, if there are any


def pretraining(init: str) -> list[Step]:
    """What a reward model's start needs: nothing, or code pairs and a training on them."""
    return [] if init == "base" else [WRITERS, ("03_codepmp", "", init)]


def lineage(inits: Iterable[str]) -> dict[str, list[Step]]:
    """What every method needs beyond the base model, by its name in tables.

    inits: the starts of reward models.
    """
    found = {"sft": [SFT]}
    for method in OFFLINE:
        before = [] if method in FROM_BASE else [SFT]
        found[method] = [*before, (BY_NAME[method].stage, method, "")]
    for init in inits:
        reward = [*pretraining(init), ("04_reward_model", "rm", init)]
        found[f"rm ({init})"] = reward
        chosen = ("08_evaluate", "best_of_n", init)
        found[f"best_of_n ({init})"] = [SFT, *reward, chosen]
        for method in (*ONLINE, *PARTS):
            steps = [SFT, *reward, (BY_NAME[method].stage, method, init)]
            found[f"{method} ({init})"] = steps
    return found


LINEAGE = lineage(("base", "codepmp"))
CONTROLLED = lineage(INITS)  # with the controls of CodePMP, whose costs are not asked
# those that have learned from no preference: anything may be compared with them
UNTAUGHT = ("base", "sft", "chosen", "best_of_n (random)")


# --- who may be compared -----------------------------------------------------------------


def preference_pairs(run: Path) -> dict[str, int]:
    """How many preference pairs each model of a run has learned from, by its name.

    Of reward models those with the most pairs, which the online methods are paid by.
    Models that were not trained are left out.
    """
    sizes: dict[Step, int] = {}
    for stage in ("04_reward_model", "06_dpo"):
        for job, _ in finished_jobs(run / stage / "jobs"):
            key = (stage, job["method"], job.get("init", ""))
            sizes[key] = max(job["pairs"], sizes.get(key, 0))
    found = dict.fromkeys(UNTAUGHT, 0)
    for name, steps in CONTROLLED.items():
        taught = [sizes[step] for step in steps if step in sizes]
        if taught:
            found[name] = max(taught)
    return found


def same_pairs(run: Path, first: str, second: str) -> None:
    """Refuse to compare two models that learned from different numbers of pairs.

    first, second: names in tables, also with ` implicit` behind. The pairs of a seed are
    nested draws, so equal numbers are the same pairs. Models that have learned from no
    preference can be compared with all. Raises ValueError if the numbers differ,
    ParameterError for a name that is none; a model that was not trained passes.
    """
    known = preference_pairs(run)
    names = [each.removesuffix(" implicit") for each in (first, second)]
    for name in names:
        if name not in CONTROLLED and name not in UNTAUGHT:
            raise unknown(name, name, [*UNTAUGHT, *CONTROLLED], "a model that learned")
    sizes = [known.get(name, 0) for name in names]
    if all(sizes) and sizes[0] != sizes[1]:
        raise ValueError(
            f"{first} − {second}: they learned from {sizes[0]:,} and {sizes[1]:,} "
            "preference pairs, so a difference is not one of methods: give 06_dpo.pairs "
            "the largest of 04_reward_model.sizes, compare relatives with relatives"
        )


# --- what each was given -------------------------------------------------------------------


def fairness_table(stage: Stage) -> pd.DataFrame:
    """What every method learned from, how long, and how its rate was chosen.

    Columns: name, learns from, items (how many of these), preference pairs (its own or
    its reward model's), passes over the items, updates (steps of the optimiser, all its
    trainings of this stage; mean over seeds), learning rate, trials (of this rate,
    recorded), rate (`chosen` if the trials chose this value, else `set by hand`), seeds.
    """
    records = cost_records(stage)
    taught = preference_pairs(stage.run)
    rows = []
    for name, steps in {"codepmp": pretraining("codepmp"), **LINEAGE}.items():
        step = steps[-1]
        jobs = of_step(records, step)
        if jobs.empty or step[0] == "08_evaluate" or step[1] in PARTS:
            continue
        updates = jobs[jobs["metric"] == "optimiser_steps"]["value"].mean()
        rows.append(
            {
                "name": name,
                **given_to(stage, step, jobs["pairs"].max()),
                "preference pairs": taught.get(name, 0),
                "updates": updates,
                **rate_of(stage.run, step),
                "seeds": jobs["seed"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def given_to(stage: Stage, step: Step, pairs: float) -> dict[str, object]:
    """What a job learns from, how many of them, and how often it goes over them."""
    kind, method, _ = step
    given = read_manifest(stage.run, kind)["parameters"]
    if kind == "03_codepmp":
        items = ("code pairs", len(store.read_code_pairs(stage.run, "train")))
    elif kind == "07_ppo":
        items = ("sampled replies", given["rollouts"] * given["episodes"])
        return {
            **job_name(items),
            "passes": float(epochs_of(method, given["ppo_epochs"])),
        }
    else:
        available = len(store.read_pairs(stage.run, "train"))
        what = "chosen replies" if method == "sft" else "pairs"
        items = (what, min(int(pairs), available))
    return {**job_name(items), "passes": given["epochs"]}


def job_name(items: tuple[str, int]) -> dict[str, object]:
    """What is learned from, as two columns."""
    return dict(zip(("learns from", "items"), items))


def rate_of(run: Path, step: Step, project: Project = PROJECT) -> dict[str, object]:
    """A method's learning rate, how many trials of it are recorded, and their say."""
    kind, method, _ = step
    name = rate_name(method)
    rate = read_manifest(run, kind, project)["parameters"][name]
    recorded = project.root / "book" / "recorded" / TUNING / "table.csv"
    if not recorded.exists():
        return {"learning rate": f"{rate:g}", "trials": 0, "rate": "set by hand"}
    trials = pd.read_csv(recorded).query("parameter == @kind + '.' + @name")
    chosen = trials[trials["chosen"]]["value"]
    by = "chosen" if (chosen == rate).any() else "set by hand"
    return {"learning rate": f"{rate:g}", "trials": len(trials), "rate": by}


# --- what each took ------------------------------------------------------------------------


def cost_table(stage: Stage) -> pd.DataFrame:
    """Labels, processor time, FLOPs and memory of all a method needs beyond the base.

    Means over seeds, at the strength that is compared; memory is the largest of the
    method's trainings, less what the libraries hold. Of best-of-N, what it takes to
    sample and score N replies to the prompts of 08 is booked. FLOPs: see `flops`.
    Columns: name, HH pairs, code pairs, processor seconds, teraFLOPs, memory MiB above
    idle (missing where several processes trained), replies per answer (what is sampled
    and thrown away at use).
    """
    code_pairs = len(store.read_code_pairs(stage.run, "train"))
    best_of = read_manifest(stage.run, "08_evaluate")["parameters"]["best_of"]
    available = len(store.read_pairs(stage.run, "train"))
    records = cost_records(stage)
    rows = []
    for name, steps in LINEAGE.items():
        jobs = [job_costs(records, step) for step in steps if step != WRITERS]
        if any(job.empty for job in jobs) or steps[-1][1] in PARTS:
            continue
        if WRITERS in steps:
            jobs += writers_costs(records)
        table = pd.DataFrame(jobs).reindex(columns=[*COSTS, "pairs"])
        rows.append(
            {
                "name": name,
                "HH pairs": min(int(table["pairs"].max()), available),
                "code pairs": code_pairs if WRITERS in steps else 0,
                "processor seconds": table[PROCESSOR].sum(),
                "teraFLOPs": table["train_flops"].sum() / 1e12,
                "memory MiB above idle": table[ABOVE_IDLE].max(),
                "replies per answer": max(best_of) if "best_of_n" in name else 1,
            }
        )
    return pd.DataFrame(rows)


def cost_records(stage: Stage) -> pd.DataFrame:
    """The costs of all jobs that methods rest on, at the strengths that are compared."""
    sources = sorted({step[0] for steps in LINEAGE.values() for step in steps})
    records = compare.stacked(*map(stage.records, sources))
    records = records[records["metric"].isin(COSTS)]
    return compared(records, store.strengths(stage.run))


def of_step(records: pd.DataFrame, step: Step) -> pd.DataFrame:
    """The records of one kind of job; of several numbers of pairs the largest."""
    keys = zip(records["stage"], records["method"], records["init"])
    records = records[[key == step for key in keys]]
    if records["pairs"].notna().any():
        records = records[records["pairs"] == records["pairs"].max()]
    return records


def job_costs(records: pd.DataFrame, step: Step) -> pd.Series:
    """Mean over seeds of what one kind of job costs, by metric, and its `pairs`.

    Empty if there is no such job.
    """
    records = of_step(records, step)
    means = records.groupby("metric")["value"].mean()
    if records["pairs"].notna().any():
        means["pairs"] = float(records["pairs"].max())
    return means


def writers_costs(records: pd.DataFrame) -> list[pd.Series]:
    """The costs of those who wrote the code pairs: none where no job did."""
    written = records[records["stage"] == WRITERS[0]]
    methods = written["method"].unique()
    return [job_costs(records, (WRITERS[0], each, "")) for each in methods]
