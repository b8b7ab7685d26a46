"""What reads bad input: how one is made by chance from a valid one, and how it is read."""

import gzip
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from helpers.config.constraints import check_models, check_together
from helpers.config.parameters import Parameter, resolve
from helpers.config.schema import read_schema
from helpers.config.settings import from_texts, from_yaml, select, tier_files
from helpers.core.paths import PROJECT, STAGES, checked_name, in_runs
from helpers.core.records import tidy
from helpers.data import hh
from helpers.data.code import pair_files
from helpers.data.dialogues import compare
from helpers.ledger import claims
from helpers.ledger.checks import Evidence
from helpers.ledger.entries import read_reported
from helpers.runs import sweeps
from tests.chaos.mutations import spoiled, spoiled_bytes, spoiled_json

SETTINGS = """# values of a run
all:
  seeds: 5
  max_length: 768
00_data: {data_source: built-in, data_note: "a note"}
04_reward_model:
  sizes: [1000, 4000]
  learning_rate: 1.0e-5  # small
06_dpo:
  methods: [dpo, sft_dpo]
  share_prompts: true
"""
CLAIMS = """families: {f: why together}
least:
  reward: {value: 0.1, why: logits}
  factor:
    value: 1.25
sections:
  A section:
    - claim: PPO is better on {subset} prompts.
      source: here
      how: judged reward
      id: ppo
      family: f
      least: reward
      subsets: [helpful, harmless]
      words: {holds: it is, fails: it is not}
      records:
        - {stage: 09_compare, metric: difference, method: ppo (base), opponent: sft, above: 0}
    - claim: It saves labels.
      source: here
      how: >-
        a factor
      id: labels
      family: f
      least: factor
      records:
        - {stage: 09_compare, metric: label_factor, method: codepmp, above: 1}
    - {claim: c, source: here, how: h, test: "tests/unit/test_house.py::test_of_it"}
    - {claim: c, source: here, how: h, check: four_models}
    - {claim: c, source: here, how: h, untestable: nobody counted}
"""
REPORTED = """- quantity: Accuracy
  reported: "0.737 (a large one)"
  source: yang2024ric
  record: {metric: accuracy, method: rm (base), subset: harmless}
- quantity: Wins
  reported: none
  record: {stage: 08_evaluate, metric: win_rate, method: ppo (base), opponent: sft}
"""
TALK = "\n\nHuman: How do I bake {}?\n\nAssistant: {}"
CODE = 'import math\n\ndef f(x):\n    """It."""\n    return [math.pi * x, f"{x!r}", 0x1F]\n'
NAMES = ("cpu", "beta/00", "my-run.2", "real_2026", "a", "x" * 100)


@dataclass(frozen=True)
class Parser:
    """What reads an input: how one is made by chance, and how it is read in a folder."""

    name: str
    share: int  # of all inputs, in percent
    make: Callable[[random.Random], object]
    read: Callable[[object, Path], object]


# --- how inputs are read ----------------------------------------------------------------


@cache
def schemas() -> dict[str, dict[str, Parameter]]:
    """The parameters of all notebooks."""
    return {stage: read_schema(PROJECT.notebook(stage)) for stage in STAGES}


@cache
def nothing() -> dict[str, pd.DataFrame]:
    """Records of all stages, none."""
    return dict.fromkeys(STAGES, tidy([]))


def written(content: str | bytes, path: Path) -> Path:
    """A file with this content; what no text can be is written as it is."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    path.write_bytes(content)
    return path


def read_settings(text: object, folder: Path) -> None:
    """As `-f FILE`."""
    from_yaml(written(text, folder / "values.yaml"), schemas())


def read_text(given: object, folder: Path) -> None:
    """As `-p STAGE.name=value`, with the rules of the stage."""
    stage, text = given
    found = from_texts([text], schemas(), [stage])
    values = resolve(schemas()[stage], found[stage])
    check_together(stage, values)
    check_models(stage, values)


def read_option(given: object, folder: Path) -> None:
    """As `--only STAGE`, `--tier TIER`, `--seeds N` or `--cluster NAME`."""
    option, text = given
    if option == "stage":
        select(list(STAGES), [text])
    elif option == "tier":
        tier_files(PROJECT, text)
    elif option == "seeds":
        from_texts([f"seeds={text}"], schemas(), ["04_reward_model"])
    else:
        sweeps.check_cluster(text)


def read_grid(texts: object, folder: Path) -> None:
    """As `-g name=value,value`, with each value as one of a parameter."""
    for name, values in sweeps.parse_grid(texts).items():
        for value in values[:3]:
            from_texts([f"{name}={value}"], schemas(), list(STAGES))


def read_rows(content: object, folder: Path) -> None:
    """As a file in the layout of HH-RLHF."""
    kind = "jsonl.gz" if content.startswith(b"\x1f\x8b") else "jsonl"
    for row in hh.read_rows(written(content, folder / f"train.{kind}")):
        compare(*row)


def read_code(content: object, folder: Path) -> None:
    """As a folder of code pairs."""
    place = folder / "pairs"
    place.mkdir(exist_ok=True)
    written(content, place / "a.jsonl")
    pair_files.read_pairs(place, length_ratio=9)


def read_claims(text: object, folder: Path) -> None:
    """As `book/claims.yml`, decided on a run that measured nothing."""
    (folder / "book").mkdir(exist_ok=True)
    written(text, folder / "book" / "claims.yml")
    claims.decide(Evidence(folder, nothing()), folder)


def read_quantities(text: object, folder: Path) -> None:
    """As `book/reported.yml`."""
    read_reported(written(text, folder / "reported.yml"))


def read_name(text: object, folder: Path) -> None:
    """As `--run NAME` and as `run_dir`; AssertionError for a folder that is elsewhere."""
    path = folder / "runs" / checked_name(text, "--run")
    inside = Path(os.path.normpath(path)).relative_to(folder / "runs").parts
    assert 1 <= len(inside) <= 2 and in_runs(f"runs/{text}"), inside


# --- how inputs are made ----------------------------------------------------------------


def make_text(chance: random.Random) -> tuple[str, str]:
    """A parameter of some stage with its default, spoiled."""
    stage = chance.choice(list(STAGES))
    parameter = chance.choice(list(schemas()[stage].values()))
    value = str(parameter.default)
    if chance.random() < 0.1:
        return stage, spoiled(chance, f"{stage}.{parameter.name}={value}")
    return stage, f"{parameter.name}={spoiled(chance, value)}"


def make_options(chance: random.Random) -> tuple[str, str]:
    """An option that names something of the project, and its value."""
    valid = {"stage": "06_dpo", "tier": "smoke", "seeds": "3", "cluster": "slurm"}
    option = chance.choice(list(valid))
    return option, spoiled(chance, valid[option])


def make_grid(chance: random.Random) -> list[str]:
    """One to three names, each with values."""
    valid = (
        "beta=0.1,0.3",
        "06_dpo.betas=[0.1,0.2],[0.3]",
        "seeds=1,2",
        "methods=[dpo]",
    )
    return [
        spoiled(chance, each) for each in chance.sample(valid, chance.randint(1, 3))
    ]


def pair(chance: random.Random) -> dict:
    """A row of HH-RLHF in form."""
    what = chance.choice(("bread", "cake", "tea"))
    return {side: TALK.format(what, f"Use {side}.") for side in ("chosen", "rejected")}


def code_pair(chance: random.Random) -> dict:
    """A row of code pairs."""
    row = {"prompt": "Task.", "chosen": CODE, "rejected": CODE.replace("* x", "+ x")}
    row |= {"bench": "mbpp", "task": f"M/{chance.randint(0, 99)}", "entry_point": "f"}
    row |= {"chosen_model": "large", "rejected_model": "small"}
    side = chance.choice(("chosen", "rejected", "prompt"))
    row[side] = spoiled(chance, row[side])
    return row | {"chosen_pass": True, "rejected_pass": chance.choice((False, None))}


def make_lines(chance: random.Random, row: Callable[[random.Random], dict]) -> bytes:
    """A file of rows of which one is spoiled."""
    lines = [json.dumps(row(chance)) for _ in range(chance.randint(0, 4))]
    kind = chance.randrange(3)
    if kind == 0:
        lines.append(spoiled(chance, json.dumps(row(chance))))
    elif kind == 1:
        lines.append(spoiled_json(chance, row(chance)))
    chance.shuffle(lines)
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return spoiled_bytes(chance, content)


def make_rows(chance: random.Random) -> bytes:
    """A file in the layout of HH-RLHF, now and then packed."""
    content = make_lines(chance, pair)
    if chance.random() < 0.2:
        return spoiled_bytes(chance, gzip.compress(content, mtime=0))
    return content


PARSERS = (
    Parser("settings", 15, lambda chance: spoiled(chance, SETTINGS), read_settings),
    Parser("texts", 30, make_text, read_text),
    Parser("grids", 10, make_grid, read_grid),
    Parser("options", 5, make_options, read_option),
    Parser("rows", 12, make_rows, read_rows),
    Parser("code", 5, lambda chance: make_lines(chance, code_pair), read_code),
    Parser("claims", 6, lambda chance: spoiled(chance, CLAIMS), read_claims),
    Parser("reported", 4, lambda chance: spoiled(chance, REPORTED), read_quantities),
    Parser(
        "names", 13, lambda chance: spoiled(chance, chance.choice(NAMES)), read_name
    ),
)
BY_NAME = {parser.name: parser for parser in PARSERS}
