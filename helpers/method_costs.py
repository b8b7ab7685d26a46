"""What each method needs beyond the base model: labels, time, FLOPs, memory.

A method's costs are those of all the jobs it rests on, so PPO is charged its SFT and its
reward model, too.
"""

import pandas as pd

from helpers import compare
from helpers.evaluation import compared, strengths
from helpers.methods import ONLINE, RELATIVES
from helpers.project import read_manifest
from helpers.runs import Stage

COSTS = ("seconds", "train_flops", "peak_memory_mib")  # of a job, as records
# what a method needs beyond the base model: (stage, method, init of its jobs)
SFT = ("05_sft", "sft", "")
LINEAGE = {
    "sft": [SFT],
    "dpo": [("06_dpo", "dpo", "")],
    **{method: [SFT, ("06_dpo", method, "")] for method in ("sft_dpo", *RELATIVES)},
}
CODE = [("02_code_pairs", "strong", ""), ("02_code_pairs", "weak", "")]
CODE += [("03_codepmp", "", "codepmp")]
for _init, _before in (("base", []), ("codepmp", CODE)):
    _reward = [*_before, ("04_reward_model", "rm", _init)]
    LINEAGE[f"rm ({_init})"] = _reward
    LINEAGE[f"best_of_n ({_init})"] = [SFT, *_reward]
    for _method in ONLINE:
        _online = ("07_ppo", _method, _init)
        LINEAGE[f"{_method} ({_init})"] = [SFT, *_reward, _online]


def cost_table(stage: Stage) -> pd.DataFrame:
    """Labels, time, FLOPs and memory of all a method needs beyond the base model.

    Means over seeds, at the strength that is compared; memory is the largest of the
    method's trainings. Columns: name, HH pairs, code pairs, seconds, teraFLOPs,
    peak MiB, replies per answer (what is sampled and thrown away at use).
    """
    code_pairs = len(pd.read_parquet(stage.input("02_code_pairs") / "pairs.parquet"))
    best_of = read_manifest(stage.run, "08_evaluate")["parameters"]["best_of"]
    sources = sorted({step[0] for steps in LINEAGE.values() for step in steps})
    records = compare.together(*map(stage.records, sources))
    records = compared(records[records["metric"].isin(COSTS)], strengths(stage.run))
    rows = []
    for name, steps in LINEAGE.items():
        jobs = [job_costs(records, *step) for step in steps]
        if any(job.empty for job in jobs):
            continue
        labels = max(job["pairs"].max() for job in jobs if job["pairs"].notna().any())
        jobs = pd.DataFrame([job.set_index("metric")["value"] for job in jobs])
        rows.append(
            {
                "name": name,
                "HH pairs": int(labels),
                "code pairs": code_pairs if CODE[-1] in steps else 0,
                "seconds": jobs["seconds"].sum(),
                "teraFLOPs": jobs["train_flops"].sum() / 1e12,
                "peak MiB": jobs["peak_memory_mib"].max(),
                "replies per answer": max(best_of) if "best_of_n" in name else 1,
            }
        )
    return pd.DataFrame(rows)


def job_costs(
    records: pd.DataFrame, stage: str, method: str, init: str
) -> pd.DataFrame:
    """Mean over seeds of what one kind of job costs: metric, pairs, value."""
    keys = zip(records["stage"], records["method"], records["init"])
    records = records[[key == (stage, method, init) for key in keys]]
    if records["pairs"].notna().any():
        records = records[records["pairs"] == records["pairs"].max()]
    means = records.groupby("metric").agg({"value": "mean", "pairs": "max"})
    return means.reset_index()
