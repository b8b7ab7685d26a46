"""The OPT-350M study (arXiv:2509.09055) on a run's models: replies, rates, tests.

The study asks four models (base, SFT, DPO, SFT+DPO) 50 + 50 prompts of HH-RLHF's test
split and counts how many replies pass a judge's thresholds. `protocols` says how the
prompts are made, to the letter and repaired.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pandas as pd

from helpers import compare, metrics, models, rates, stats
from helpers.cas import cas, mean_of, over_seeds, percent, wilson_of, winner
from helpers.dialogues import HUMAN
from helpers.encoding import prompt_room, reply_room
from helpers.evaluation import compared_jobs, judges, policies, policy_folder
from helpers.generate import generate
from helpers.hh import source_rows
from helpers.judge import (
    Judge,
    PairTextJudge,
    Thresholds,
    WordsJudge,
    median_thresholds,
)
from helpers.methods import ADAPTERS
from helpers.project import read_manifest
from helpers.protocols import (
    LETTER,
    PUBLISHED_PROMPTS,
    RATES,
    draw_prompts,
    formed,
    leaks,
    protocols,
)
from helpers.recipes import read_pairs
from helpers.records import example_rows, select

MODELS = ("base", "sft", *ADAPTERS)  # the study's four: its DPO trained adapters
ASKED = (*MODELS, "dpo", "sft_dpo")  # and DPO of all weights beside them
# percent of 50 replies that pass: tables 1 and 2 of the study
PUBLISHED = pd.DataFrame(
    {"HmR": [42, 48, 36, 44], "HpR": [22, 56, 46, 66]}, index=pd.Index(MODELS)
)
NEW_TOKENS = 50
DEFECTS = {"runs on": "study_runon", "empty": "study_empty", "leaks": "study_leak"}
CONTRASTS = [
    ("sft", "base"),
    ("dpo_lora", "base"),
    ("sft_dpo_lora", "base"),
    ("sft_dpo_lora", "sft"),
    ("sft_dpo_lora", "dpo_lora"),
    ("dpo_lora", "dpo"),
    ("sft_dpo_lora", "sft_dpo"),
]


# --- prompts -----------------------------------------------------------------------------


def test_rows(run: Path) -> dict[str, list[tuple[str, str]]]:
    """(chosen, rejected) transcripts of the official test split, as they come, by subset."""
    given = read_manifest(run, "00_data")["parameters"]
    where = (given["data_source"],)
    size = {"n_builtin": given["n_builtin"], "seed": given["seed"]}
    return {
        subset: list(source_rows(*where, subset, "test", **size)) for subset in RATES
    }


def test_transcripts(run: Path) -> dict[str, list[str]]:
    """The chosen transcripts of the official test split, as they come, by subset."""
    rows = test_rows(run)
    return {subset: [chosen for chosen, _ in own] for subset, own in rows.items()}


# --- replies -----------------------------------------------------------------------------


def asked_models(run: Path) -> list[dict]:
    """The jobs of the study's models, DPO in full or with adapters, that the run holds."""
    grid = compared_jobs(run, policies(run))
    return [job for job in grid if job["method"] in ASKED]


def answer(
    out: Path,
    *,
    run: Path,
    seed: int,
    judge_model: str,
    limit: int,
    max_length: int,
    part: str = "study",
    **job: object,
) -> list[dict]:
    """Greedy replies of one model under every protocol, judged; per-example records.

    Metrics, by protocol: `study` (a judge's score), `study_runon` (a human turn in the
    reply), `study_empty`, `study_leak` (the assistant speaks last in the prompt). limit: prompts of each subset under `repaired`, 0: all;
    part: tells these jobs from others of the stage.
    """
    folder = policy_folder(run, seed=seed, **job)
    policy, tokenizer = models.load_policy(folder), models.load_tokenizer(folder)
    transcripts, rows, written = test_transcripts(run), [], []
    for protocol in protocols():
        if not protocol.prompts:
            protocol = replace(protocol, prompts=limit)
        prompts, _ = draw_prompts(transcripts, protocol)
        replies = generate(
            policy,
            tokenizer,
            prompts["prompt"].tolist(),
            max_new_tokens=NEW_TOKENS,
            max_prompt_tokens=prompt_room(max_length, NEW_TOKENS),
            stop_at_human=protocol.stop,
        )
        texts = [reply.text for reply in replies]
        every = judges(run, judge_model, reply_room(NEW_TOKENS))
        # a bag of words knows the prompts of the pairs only
        scoring = [judge for judge in every if not isinstance(judge, WordsJudge)]
        rows += judged(prompts, texts, protocol.name, scoring)
        written.append(prompts.assign(reply=texts, protocol=protocol.name))
    pd.concat(written).to_parquet(out / "replies.parquet")
    return rows


def judged(
    prompts: pd.DataFrame, texts: Sequence[str], name: str, judges: Sequence[Judge]
) -> list[dict]:
    """Per-example records of replies under one protocol."""
    asked, texts = prompts["prompt"].tolist(), list(texts)
    measured = {
        ("study_runon", ""): [HUMAN.strip() in text for text in texts],
        ("study_empty", ""): [not text.strip() for text in texts],
        ("study_leak", ""): list(map(leaks, asked)),
    }
    for judge in judges:
        scores = judge.score(*read_by(judge, asked, texts))
        measured["study", judge.name] = scores
    return [
        row
        for (metric, judge), values in measured.items()
        for row in example_rows(prompts, metric, values, protocol=name, judge=judge)
    ]


def read_by(
    judge: Judge, prompts: list[str], replies: list[str]
) -> tuple[list[str], list[str]]:
    """Prompts and replies as a judge is to read them.

    A judge of two texts, as the study's, reads what the model was given and the stripped
    reply. Ours know dialogues only in the form of the data.
    """
    if isinstance(judge, PairTextJudge):
        return prompts, [reply.strip() for reply in replies]
    return list(map(formed, prompts)), replies


# --- rates -------------------------------------------------------------------------------


def limits_of(run: Path, judge: Judge) -> Thresholds:
    """The judge's own thresholds, or the scores of the median chosen test reply."""
    return judge.thresholds or median_thresholds(judge, read_pairs(run, "test"))


def passes(
    records: pd.DataFrame, protocol: str, judge: Judge, limits: Thresholds
) -> dict:
    """Whether replies pass, (seeds, examples), by (rate, model): HmR >=, HpR > the limit."""
    part = select(records, "study", protocol=protocol, judge=judge.name)
    found = {}
    for subset, rate in RATES.items():
        for method, group in part[part["subset"] == subset].groupby("method"):
            scores = compare.by_seed(group)
            found[rate, method] = metrics.passes(scores, subset, limits)
    return found


def rate_table(records: pd.DataFrame, judge: Judge, limits: Thresholds) -> pd.DataFrame:
    """HmR, HpR and CAS in percent per protocol and model.

    To the letter the study has one seed: its rates are those of seed 0, with Wilson's
    intervals. Repaired ones have intervals over seeds and prompts. CAS is the mean of
    the two rates, with its interval. Columns: protocol, model, HmR, HpR, CAS, runs on,
    empty, leaks.
    """
    rows = []
    for protocol in protocols():
        found = passes(records, protocol.name, judge, limits)
        for method in [each for each in ASKED if ("HmR", each) in found]:
            one_seed = protocol == LETTER
            interval = wilson_of if one_seed else over_seeds
            passed = [found[rate, method] for rate in RATES.values()]
            both = dict(zip(RATES.values(), map(interval, passed)))
            own = select(records, protocol=protocol.name, method=method)
            defects = {
                words: 100 * select(own, metric)["value"].mean()
                for words, metric in DEFECTS.items()
            }
            rows.append(
                {
                    "protocol": protocol.name,
                    "model": method,
                    **both,
                    "CAS": mean_of(*both.values()) if one_seed else cas(*passed),
                    **defects,
                }
            )
    return pd.DataFrame(rows)


def best_cas(
    records: pd.DataFrame, protocol: str, judge: Judge, limits: Thresholds
) -> str:
    """The model with the highest CAS, or that none has: words for a sentence.

    See `cas.winner`. To the letter the study has one seed: seed 0.
    """
    found = passes(records, protocol, judge, limits)
    seeds = slice(0, 1) if protocol == LETTER.name else slice(None)
    models = [each for each in ASKED if ("HmR", each) in found]
    passed = {
        each: [found[rate, each][seeds].astype(float) for rate in RATES.values()]
        for each in models
    }
    return winner(passed)


def mcnemar_table(
    records: pd.DataFrame, judge: Judge, limits: Thresholds
) -> pd.DataFrame:
    """Exact McNemar tests between the models, to the letter, seed 0; Holm per rate.

    Columns: rate, models, p, p_holm.
    """
    found = passes(records, LETTER.name, judge, limits)
    rows = [
        {
            "rate": rate,
            "models": f"{first}, {second}",
            "p": rates.mcnemar_exact(found[rate, first][0], found[rate, second][0]),
        }
        for rate in RATES.values()
        for first, second in combinations(MODELS, 2)
        if {(rate, first), (rate, second)} <= found.keys()
    ]
    table = pd.DataFrame(rows, columns=["rate", "models", "p"])
    return table.assign(p_holm=table.groupby("rate")["p"].transform(stats.holm))


def difference_table(
    records: pd.DataFrame, judge: Judge, limits: Thresholds
) -> pd.DataFrame:
    """Paired differences in HmR and HpR, repaired protocol; as in `compare`, in shares."""
    part = select(records, "study", protocol="repaired", judge=judge.name)
    passed = [
        group.assign(value=metrics.passes(group["value"], subset, limits).astype(float))
        for subset, group in part.groupby("subset")
    ]
    named = pd.concat(passed).assign(name=lambda each: each["method"])
    return compare.difference_table(named, CONTRASTS)


def published_table() -> pd.DataFrame:
    """The study's own rates, and CAS, with the intervals that 50 replies imply."""
    table = PUBLISHED.map(
        lambda rate: percent(
            rates.wilson(round(rate * PUBLISHED_PROMPTS / 100), PUBLISHED_PROMPTS)
        )
    )
    return table.assign(CAS=list(map(mean_of, table["HmR"], table["HpR"])))


def mean_defect(
    rates: pd.DataFrame, defect: str, protocols: dict[str, str]
) -> dict[str, float]:
    """A column of `rate_table` as its mean over models: `runs_KEY` by protocol."""
    means = rates.groupby("protocol")[defect].mean()
    return {
        f"{defect.split()[0]}_{key}": means[name] for key, name in protocols.items()
    }
