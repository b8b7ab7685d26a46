"""The answer: what 09 computes from a run's records and says in words.

Each function is one of the book's comparisons. The sentences stand here as templates;
their numbers are filled in by `report.say`, and a difference whose interval holds zero
is called none.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from helpers import compare, evaluation, stats
from helpers.evaluation import compared, strengths
from helpers.hh import BUILT_IN
from helpers.hub import plain_name
from helpers.methods import ONLINE, RELATIVES
from helpers.metrics import preference_accuracy
from helpers.project import ROOT, read_manifest
from helpers.recipes import data_source
from helpers.runs import Stage
from helpers.stats import Interval

CONTRASTS = [  # of policies, at the strength at which each is compared
    ("sft", "base"),
    ("dpo", "base"),
    ("sft_dpo", "sft"),
    ("dpo_iter (base)", "sft"),
    ("ppo (base)", "sft"),
    ("ppo (codepmp)", "sft"),
    ("rloo (base)", "sft"),
    ("grpo (base)", "sft"),
    ("best_of_n (base)", "sft"),
    ("dpo", "sft"),
    ("ppo (base)", "sft_dpo"),
    ("ppo (base)", "dpo_iter (base)"),
    ("dpo_iter (base)", "sft_dpo"),
    ("ppo (base)", "best_of_n (base)"),
    ("rloo (base)", "ppo (base)"),
    ("grpo (base)", "ppo (base)"),
    ("ppo (codepmp)", "ppo (base)"),
    ("best_of_n (codepmp)", "best_of_n (base)"),
    ("best_of_n (base)", "best_of_n (random)"),
]
# DPO's relatives, all on the same pairs; tis_equal is DPO
RELATIVE_CONTRASTS = [
    ("tis_equal", "sft"),
    ("ipo", "tis_equal"),
    ("dpo_norm", "tis_equal"),
    ("dpo_robust", "tis_equal"),
    ("tis_dpo", "tis_equal"),
    ("tis_dpo_s", "tis_equal"),
    ("tis_random", "tis_equal"),
    ("tis_dpo", "tis_random"),
    ("tis_dpo", "tis_dpo_s"),
]
EQUAL_KL = [
    ("ppo (base)", "sft_dpo"),
    ("ppo (base)", "best_of_n (base)"),
    ("sft_dpo", "best_of_n (base)"),
    ("best_of_n (codepmp)", "best_of_n (base)"),
]
FRONTIER = ("sft_dpo", "ppo", "best_of_n", "rloo", "grpo", "dpo_iter")

ANSWER = """\
On {source} data, with models {models} and {seeds} seeds:

- **CodePMP.** A reward model that read code pairs first differs from one that did not by
  {codepmp_gain} in accuracy on held-out pairs, with all {pairs} pairs: {codepmp_verdict}.
  Inside PPO it changes the reward of replies by {ppo_codepmp_gain}:
  {ppo_codepmp_verdict}.
- **DPO and PPO.** Over SFT, SFT+DPO gains {dpo_over_sft} and PPO {ppo_over_sft} in judged
  reward. PPO minus SFT+DPO is {ppo_over_dpo}: {ppo_dpo_verdict}. At equal KL from SFT,
  {equal_kl} nats a reply, it is {ppo_dpo_equal}: {ppo_dpo_equal_verdict}.
- **Without training a policy.** The best of {best_of} replies by the reward model gains
  {best_over_sft} over SFT; with CodePMP's reward model instead, {best_codepmp_gain} more:
  {best_codepmp_verdict}.
- **The judge of replies** is right on {judge_accuracy} of held-out pairs itself.
- **As judges of pairs.** The reward model is right on {rm_accuracy}, DPO's implicit reward
  on {dpo_accuracy}, a bag of words on {words_accuracy}.
- **Cost.** Training time beyond the base model: SFT+DPO {dpo_seconds} s, PPO {ppo_seconds}
  s, PPO with CodePMP {ppo_codepmp_seconds} s.
"""

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


def setting(run: Path) -> dict[str, object]:
    """What every number of the run has to be read with: data, models, seeds, judge."""
    synthetic = data_source(run) == BUILT_IN
    start = read_manifest(run, "01_base_model")["parameters"].get("pretrained", "")
    origin = f"fine-tuned here from {plain_name(start)}"
    return {
        "source": "synthetic (built-in)" if synthetic else "real HH-RLHF",
        "models": origin if start else "trained here from scratch",
        "seeds": int(read_manifest(run, "05_sft")["parameters"]["seeds"]),
        "judge": judge_of(run),
        "note": data_note(run),
    }


def judge_of(run: Path) -> str:
    """Who decides between policies, in words."""
    panel = evaluation.panel(run)
    learned = panel[0].startswith("judge ")
    return f"{len(panel)} held-out reward models" if learned else panel[0]


# Bai et al. (2022), as a review quotes it: of researchers with crowdworkers
AGREEMENT = "People themselves agreed on 63 % of such pairs {cite}`bai2022`."


def data_note(run: Path) -> str:
    """What a page of results says of the data: where the splits are from, the ceiling."""
    given = read_manifest(run, "00_data")["parameters"]
    source = given["data_source"]
    if source == BUILT_IN:
        return "Labels are noisy by design: 00 shows the Bayes accuracy of each subset."
    own = "The splits are those of a folder whose origin this run was not told."
    if not (ROOT / source).is_dir():
        own = "The splits are the published ones."
    return f"{given['data_note'] or own} {AGREEMENT}"


def judged(records: pd.DataFrame, judge: str, decoding: str) -> pd.DataFrame:
    """Per-reply rewards of every policy from one judge, named for comparison."""
    kept = {"judge": judge, "decoding": decoding}
    return compare.named(compare.select(records, "reward", **kept))


def against(records: pd.DataFrame, opponent: str) -> dict[str, np.ndarray]:
    """Every model's per-example values less the opponent's: arrays (seeds, examples)."""
    arrays = {name: compare.by_seed(part) for name, part in records.groupby("name")}
    other = arrays.pop(opponent)
    return {name: stats.paired_difference(own, other) for name, own in arrays.items()}


def win_rates(
    scores: pd.DataFrame, lengths: pd.DataFrame, opponent: str
) -> pd.DataFrame:
    """Every policy's replies against the opponent's, on the same prompts and seeds.

    scores and lengths: records with a column `name`; an opponent of one seed meets all.
    Columns: name, subset, win, tie, lose (shares), rate (ties count one half, with its
    interval), at equal length (the same by `stats.length_controlled`), length gap
    (characters, mean).
    """
    rows = []
    for subset, part in scores.groupby("subset", sort=False):
        gaps = against(lengths[lengths["subset"] == subset], opponent)
        for name, margin in against(part, opponent).items():
            won, gap = preference_accuracy(margin), gaps[name]
            fair = stats.mean_interval(stats.length_controlled(won, gap))
            rows.append(
                {
                    "name": name,
                    "subset": subset,
                    "win": float((margin > 0).mean()),
                    "tie": float((margin == 0).mean()),
                    "lose": float((margin < 0).mean()),
                    "rate": stats.mean_interval(won).within(0, 1),
                    "at equal length": fair.within(0, 1),
                    "length gap": float(gap.mean()),
                }
            )
    return pd.DataFrame(rows)


def rates_over_both(scores: pd.DataFrame, opponent: str) -> pd.DataFrame:
    """Win rates over both subsets, ties one half: name, method, opponent and bounds."""
    rows, subsets = [], compare.subsets_of(scores)
    for name, margin in against(scores, opponent).items():
        won = compare.balanced(preference_accuracy(margin), subsets)
        rate = stats.mean_interval(won).within(0, 1)
        sides = {"name": name, "method": name, "opponent": opponent}
        rows.append({**sides, **compare.bounds(rate)})
    return pd.DataFrame(rows)


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


def findings(
    gains: pd.DataFrame,
    differences: pd.DataFrame,
    margins: pd.DataFrame,
    cost: pd.DataFrame,
    equal: pd.DataFrame,
) -> dict[str, object]:
    """The values of `ANSWER`, over both subsets; a method that was not run says so.

    gains, margins, cost and equal are what `pretraining_gains`, `scorer_margins`,
    `cost_table` and `frontier.equal_kl_table` gave; differences are those of `CONTRASTS`
    over both subsets.
    """
    rewards = differences.set_index("name")["interval"]
    gains = gains[
        (gains["subset"] == "both") & (gains["pairs"] == gains["pairs"].max())
    ]
    accuracy = compare.accuracy_table(margins, by=["name"], subsets=False)
    accuracy = accuracy.set_index("name")["interval"]
    seconds = cost.set_index("name")["seconds"]
    none = "(not run)"
    judge = "truth" if "truth" in accuracy else "judge"
    found = {
        "pairs": int(gains["pairs"].max()),
        "codepmp_gain": gains.set_index("init")["interval"].get("codepmp", none),
        "ppo_codepmp_gain": rewards.get("ppo (codepmp) − ppo (base)", none),
        "dpo_over_sft": rewards.get("sft_dpo − sft", none),
        "ppo_over_sft": rewards.get("ppo (base) − sft", none),
        "ppo_over_dpo": rewards.get("ppo (base) − sft_dpo", none),
        "rm_accuracy": accuracy.get("rm (base)", none),
        "dpo_accuracy": accuracy.get("sft_dpo implicit", none),
        "words_accuracy": accuracy.get("bag of words", none),
        "judge_accuracy": accuracy.get(judge, none),
        "best_of": int(cost["replies per answer"].max()),
        "best_over_sft": rewards.get("best_of_n (base) − sft", none),
        "best_codepmp_gain": rewards.get(
            "best_of_n (codepmp) − best_of_n (base)", none
        ),
    }
    equal = equal.set_index("name")
    found["equal_kl"] = equal["kl"].get("ppo (base) − sft_dpo", none)
    found["ppo_dpo_equal"] = equal["interval"].get("ppo (base) − sft_dpo", none)
    for name, key in (("dpo", "sft_dpo"), ("ppo", "ppo (base)")):
        found[f"{name}_seconds"] = round_seconds(seconds.get(key, none))
    found["ppo_codepmp_seconds"] = round_seconds(seconds.get("ppo (codepmp)", none))
    words = ("it helps", "it hurts")
    found["codepmp_verdict"] = in_words(found["codepmp_gain"], *words)
    found["ppo_codepmp_verdict"] = in_words(found["ppo_codepmp_gain"], *words)
    found["best_codepmp_verdict"] = in_words(found["best_codepmp_gain"], *words)
    better = ("PPO is better", "SFT+DPO is better")
    found["ppo_dpo_verdict"] = in_words(found["ppo_over_dpo"], *better)
    found["ppo_dpo_equal_verdict"] = in_words(found["ppo_dpo_equal"], *better)
    return found


def in_words(found: object, positive: str, negative: str) -> str:
    """The verdict of an interval; what is not an interval has none."""
    if isinstance(found, Interval):
        return compare.verdict(found, positive, negative)
    return str(found)


def round_seconds(seconds: object) -> object:
    """Whole seconds: prose needs no more."""
    return round(seconds) if isinstance(seconds, float) else seconds
