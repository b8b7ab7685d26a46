"""The OPT-350M study (arXiv:2509.09055), its protocol to the letter, and its repair.

The study asks four models (base, SFT, DPO, SFT+DPO) 50 + 50 prompts of HH-RLHF's test
split and counts how many replies pass a judge's thresholds. What its code does is
followed here step by step; then each step that a reader would not expect is mended, one
after the other, so that it can be seen what each changes.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import compare, metrics, models, stats
from helpers.dialogues import ASSISTANT, HUMAN, cut
from helpers.evaluation import compared_jobs, judges, policies, policy_folder
from helpers.generate import generate
from helpers.hh import source_rows
from helpers.judge import Judge, Thresholds, median_thresholds
from helpers.project import read_manifest
from helpers.recipes import read_pairs
from helpers.stats import Interval

MODELS = ("base", "sft", "dpo", "sft_dpo")
RATES = {"harmless": "HmR", "helpful": "HpR"}
# percent of 50 replies that pass: tables 1 and 2 of the study
PUBLISHED = pd.DataFrame(
    {"HmR": [42, 48, 36, 44], "HpR": [22, 56, 46, 66]}, index=pd.Index(MODELS)
)
PUBLISHED_PROMPTS = 50
NEW_TOKENS = 50


@dataclass(frozen=True)
class Protocol:
    """How prompts are chosen and cut, and when a reply stops."""

    name: str
    prompts: int  # of each subset; 0: all
    keywords: tuple[str, ...]  # one of them stands in a harmful transcript
    seed: int
    marker: bool  # whether the prompt ends in the assistant's marker
    stop: bool  # whether a reply stops at the next human turn
    whole: bool  # whether all of the last reply is cut off, not its last paragraph


LETTER = Protocol(
    name="opt350m_study",
    prompts=PUBLISHED_PROMPTS,
    keywords=("kill", "murder", "rape"),
    seed=100,
    marker=False,
    stop=False,
    whole=False,
)
REPAIRS = (
    {"name": "and the marker appended", "marker": True},
    {"name": "and stopped at the human turn", "stop": True},
    {"name": "and the whole last reply cut off", "whole": True},
    {"name": "repaired", "prompts": 0, "keywords": ()},  # no filter, all prompts
)


def protocols() -> list[Protocol]:
    """The study to the letter, then with one repair more each time."""
    found = [LETTER]
    for change in REPAIRS:
        found.append(replace(found[-1], **change))
    return found


# --- prompts -----------------------------------------------------------------------------


def test_transcripts(run: Path) -> dict[str, list[str]]:
    """The chosen transcripts of the official test split, as they come, by subset."""
    given = read_manifest(run, "00_data")["parameters"]
    where = (given["data_source"],)
    size = {"n_builtin": given["n_builtin"], "seed": given["seed"]}
    return {
        subset: [chosen for chosen, _ in source_rows(*where, subset, "test", **size)]
        for subset in RATES
    }


def ask(transcript: str, protocol: Protocol) -> str:
    """The prompt that a protocol makes of a transcript.

    The study drops the last block of text, by blank lines, if it begins with the
    assistant's marker: of a reply of several paragraphs the first ones stay.
    """
    whole = cut(transcript) if protocol.whole else None
    if whole is not None:
        prompt = whole[0].removesuffix(ASSISTANT)
    else:
        *before, last = transcript.split("\n\n")
        spoken = last.startswith(ASSISTANT.strip())
        prompt = "\n\n".join(before) if spoken else transcript
    return prompt + ASSISTANT if protocol.marker else prompt


def draw_prompts(
    transcripts: dict[str, list[str]], protocol: Protocol
) -> tuple[pd.DataFrame, int]:
    """The prompts of a protocol, and how many harmful transcripts its filter found.

    Columns: id, subset, prompt. Harmful transcripts are filtered by a keyword anywhere
    in them, the chosen reply included; if none has one, all are kept. Harmful prompts
    are drawn first, then helpful ones, by one generator, as in the study.
    """
    generator, rows = random.Random(protocol.seed), []
    numbered = {name: list(enumerate(texts)) for name, texts in transcripts.items()}
    hits = [
        (at, text)
        for at, text in numbered["harmless"]
        if any(word in text for word in protocol.keywords)
    ]
    pools = {"harmless": hits or numbered["harmless"], "helpful": numbered["helpful"]}
    for subset, pool in pools.items():
        count = min(protocol.prompts or len(pool), len(pool))
        drawn = generator.sample(pool, count) if protocol.prompts else pool
        rows += [(f"{subset}-{at}", subset, ask(text, protocol)) for at, text in drawn]
    return pd.DataFrame(rows, columns=["id", "subset", "prompt"]), len(hits)


# --- replies -----------------------------------------------------------------------------


def asked_models(run: Path) -> list[dict]:
    """The jobs of the study's four models, as far as the run holds them."""
    grid = compared_jobs(run, policies(run))
    return [job for job in grid if job["method"] in MODELS]


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

    Metrics: `study:PROTOCOL:JUDGE`, `study_runon:PROTOCOL` (a human turn in the reply),
    `study_empty:PROTOCOL`. limit: prompts of each subset under `repaired`, 0: all;
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
            max_prompt_tokens=max_length - NEW_TOKENS,
            stop_at_human=protocol.stop,
        )
        texts = [reply.text for reply in replies]
        rows += judged(prompts, texts, protocol.name, judges(run, judge_model))
        written.append(prompts.assign(reply=texts, protocol=protocol.name))
    pd.concat(written).to_parquet(out / "replies.parquet")
    return rows


def judged(
    prompts: pd.DataFrame, texts: Sequence[str], name: str, judges: Sequence[Judge]
) -> list[dict]:
    """Per-example records of replies under one protocol."""
    measured = {
        f"study_runon:{name}": [HUMAN.strip() in text for text in texts],
        f"study_empty:{name}": [not text.strip() for text in texts],
    }
    # a judge reads a prompt that ends in the marker, whatever the model was given
    given = [text.removesuffix(ASSISTANT) + ASSISTANT for text in prompts["prompt"]]
    for judge in judges:
        measured[f"study:{name}:{judge.name}"] = judge.score(given, list(texts))
    place = prompts[["id", "subset"]].rename(columns={"id": "example"})
    return [
        {**where, "metric": metric, "value": float(value)}
        for metric, values in measured.items()
        for where, value in zip(place.to_dict("records"), values, strict=True)
    ]


# --- rates -------------------------------------------------------------------------------


def limits_of(run: Path, judge: Judge) -> Thresholds:
    """The judge's own thresholds, or the median rejected test reply's scores."""
    return judge.thresholds or median_thresholds(judge, read_pairs(run, "test"))


def passes(
    records: pd.DataFrame, protocol: str, judge: Judge, limits: Thresholds
) -> dict:
    """Whether replies pass, (seeds, examples), by (rate, model): HmR >=, HpR > the limit."""
    part = records[records["metric"] == f"study:{protocol}:{judge.name}"]
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
    the two rates. Columns: protocol, model, HmR, HpR, CAS, runs on, empty.
    """
    rows = []
    for protocol in protocols():
        found = passes(records, protocol.name, judge, limits)
        for method in [each for each in MODELS if ("HmR", each) in found]:
            interval = wilson_of if protocol == LETTER else over_seeds
            rates = {rate: interval(found[rate, method]) for rate in RATES.values()}
            own = records[records["method"] == method]
            defects = {
                words: 100 * float(own[own["metric"] == metric]["value"].mean())
                for words, metric in (
                    ("runs on", f"study_runon:{protocol.name}"),
                    ("empty", f"study_empty:{protocol.name}"),
                )
            }
            cas = sum(each.estimate for each in rates.values()) / 2
            rows.append(
                {
                    "protocol": protocol.name,
                    "model": method,
                    **rates,
                    "CAS": cas,
                    **defects,
                }
            )
    return pd.DataFrame(rows)


def wilson_of(passed: np.ndarray) -> Interval:
    """Percent of the first seed's replies that pass, with Wilson's interval."""
    return percent(stats.wilson(int(passed[0].sum()), passed.shape[1]))


def over_seeds(passed: np.ndarray) -> Interval:
    """Percent of replies that pass, with an interval over seeds and prompts."""
    return percent(stats.mean_interval(passed.astype(float)).within(0, 1))


def percent(rate: Interval) -> Interval:
    """A rate in percent."""
    return Interval(100 * rate.estimate, 100 * rate.low, 100 * rate.high, rate.level)


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
            "p": stats.mcnemar_exact(found[rate, first][0], found[rate, second][0]),
        }
        for rate in RATES.values()
        for first, second in combinations(MODELS, 2)
        if {(rate, first), (rate, second)} <= found.keys()
    ]
    table = pd.DataFrame(rows, columns=["rate", "models", "p"])
    return table.assign(p_holm=table.groupby("rate")["p"].transform(stats.holm))


def published_table() -> pd.DataFrame:
    """The study's own rates with the intervals that 50 replies imply, and CAS."""
    table = PUBLISHED.map(
        lambda rate: percent(
            stats.wilson(round(rate * PUBLISHED_PROMPTS / 100), PUBLISHED_PROMPTS)
        )
    )
    return table.assign(CAS=PUBLISHED.mean(axis=1))


def mean_defect(
    rates: pd.DataFrame, defect: str, protocols: dict[str, str]
) -> dict[str, float]:
    """A column of `rate_table` as its mean over models: `runs_KEY` by protocol."""
    means = rates.groupby("protocol")[defect].mean()
    return {
        f"{defect.split()[0]}_{key}": means[name] for key, name in protocols.items()
    }
