"""The OPT-350M study (arXiv:2509.09055) on a run's models: replies, rates, tests.

The study asks four models (base, SFT, DPO, SFT+DPO) 50 + 50 prompts of HH-RLHF's test
split and counts how many replies pass a judge's thresholds. `protocols` says how the
prompts are made, to the letter and repaired.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from helpers.core.records import example_rows
from helpers.data.dialogues import HUMAN
from helpers.data.opt350m_prompts import (
    ASKED,
    NEW_TOKENS,
    draw_prompts,
    formed,
    leaks,
    protocols,
)
from helpers.models import loading
from helpers.models.encoding import prompt_room, reply_room
from helpers.models.generation import generate
from helpers.recipes.judging import judges
from helpers.rewards.judges import (
    Judge,
    PairTextJudge,
    WordsJudge,
)
from helpers.runs import store


def asked_models(run: Path) -> list[dict]:
    """The jobs of the study's models, DPO in full or with adapters, that the run holds."""
    grid = store.compared_jobs(run, store.policies(run))
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
    folder = store.policy_folder(run, seed=seed, **job)
    policy, tokenizer = loading.load_policy(folder), loading.load_tokenizer(folder)
    transcripts, rows, written = store.test_transcripts(run), [], []
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
        rows += judged_rows(prompts, texts, protocol.name, scoring)
        written.append(prompts.assign(reply=texts, protocol=protocol.name))
    pd.concat(written).to_parquet(out / "replies.parquet")
    return rows


def judged_rows(
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
