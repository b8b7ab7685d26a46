"""What a run would take, before it runs: trainings, tokens, FLOPs, minutes.

An estimate from parameters and the shape of the data. The trainings are those that the
notebooks' grids make, which a test holds against a finished run.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from helpers.config.settings import Values
from helpers.data.hh import FOLDERS
from helpers.data.opt350m_prompts import ASKED, NEW_TOKENS, PUBLISHED_PROMPTS, REPAIRS
from helpers.methods import WEIGHTED
from helpers.models.weights import CATALOGUE
from helpers.planning.machines import Work
from helpers.recipes import grids
from helpers.recipes.grids import DECODINGS
from helpers.trainers.online_settings import VARIANTS, Online, epochs_of

Parameters = Mapping[str, object]


@dataclass(frozen=True)
class Shape:
    """How large model and data are; lengths are means, in tokens."""

    parameters: float
    prompt: float
    reply: float
    train: int  # pairs
    judge: int
    test: int
    code_prompt: float = 40
    code: float = 80

    @property
    def pair(self) -> float:
        """Tokens of a pair that shares its prompt."""
        return self.prompt + 2 * self.reply


BUILT_IN, WRITERS = "built-in", "writers"  # sources of code; all else are folders
# tasks and answers of real models, by SmolLM2's tokenizer: 1,323 pairs of verified gap
REAL_CODE = {"code_prompt": 192, "code": 72}

# OPT-350M on HH-RLHF. Lengths: harmless-base at four characters a token, cut at 384.
REAL = Shape(331e6, prompt=110, reply=43, train=86_000, judge=0, test=4_600)


def shape_of(values: Values) -> Shape:
    """Real pairs, and a model as large as the one of 01 if the catalogue has it."""
    start = values["01_base_model"]["pretrained"]
    return replace(REAL, parameters=size_of(start, REAL))


def size_of(start: str, shape: Shape) -> float:
    """Parameters of a model that is named; the shape's, where the catalogue has none."""
    known = CATALOGUE.get(start)
    return known.parameters if known else shape.parameters


# --- the trainings of a run ----------------------------------------------------------


def works(values: Values, shape: Shape) -> list[Work]:
    """Everything that a run of these values would train, read and sample."""
    shape = drawn(values["00_data"], shape)
    found: list[Work] = []
    for stage, count in COUNTS.items():
        found += [each for each in count(stage, values, shape) if each.jobs]
    return found


def drawn(data: Parameters, shape: Shape) -> Shape:
    """The shape after the draw and the cut of 00_data."""
    kept = min(shape.train, data["max_pairs"] or shape.train)
    judge, dev = (int(kept * data[f"{split}_fraction"]) for split in ("judge", "dev"))
    test = min(shape.test, data["max_test_pairs"] or shape.test)
    train = kept - judge - dev
    return replace(shape, train=train, judge=shape.judge + judge, test=test)


def base(stage: str, values: Values, shape: Shape) -> Iterator[Work]:
    """The base model of 01, unless it is pretrained."""
    given = values[stage]
    if given["pretrained"]:
        return
    dialogues = 2 * (shape.train + shape.judge) * (shape.prompt + shape.reply)
    code = given["code_functions"] * (shape.code_prompt + shape.code)
    tokens = given["epochs"] * (dialogues + code)
    yield Work(stage, "base model", 1, shape.parameters, trained=tokens)


def code(stage: str, values: Values, shape: Shape) -> Iterator[Work]:
    """The writers of 02: a hub's has its size in its name, copyists take no model."""
    given = values[stage]
    if given["code_source"] not in (BUILT_IN, WRITERS):
        return  # pairs that are there
    for name in ("strong", "weak", "describer"):
        source = given[f"{name}_model"]
        if name == "describer" and not source:
            continue  # docstrings
        billions = re.search(r"(\d+(\.\d+)?)b\b", source.lower())
        parameters = 1e9 * float(billions[1]) if billions else shape.parameters
        trained = not source and given["code_source"] == WRITERS
        epochs = given[f"{name}_epochs"] if trained else 0
        tokens = epochs * given["functions"] * (shape.code_prompt + shape.code)
        sampled = given["functions"] * given["max_new_tokens"]
        sampled *= bool(source) or trained
        yield Work(stage, name, 1, parameters, tokens, 0, sampled)


def codepmp(stage: str, values: Values, shape: Shape) -> Iterator[Work]:
    """CodePMP and its controls; all read the held-out code pairs."""
    given, pairs = values[stage], values["02_code_pairs"]
    if pairs["code_source"] not in (BUILT_IN, WRITERS):
        shape = replace(shape, **REAL_CODE)  # as if there were `functions` of them
    jobs = len(grids.codepmp(given))
    tokens = jobs * pairs["functions"] * (shape.code_prompt + 2 * shape.code)
    trained = given["epochs"] * (1 - pairs["held_out"]) * tokens
    read = pairs["held_out"] * tokens
    common = (shape.parameters, trained, read)
    yield Work(stage, "CodePMP and controls", jobs, *common)


def reward(stage: str, values: Values, shape: Shape) -> Iterator[Work]:
    """Reward models by start and number of pairs, and judges; all read the test pairs."""
    given = values[stage]
    grid = grids.reward_models(given, shape.train)
    halves = dict.fromkeys(FOLDERS, shape.train // 2)
    grid += grids.of_one_subset(given, halves)
    jobs, pairs = len(grid), sum(job["pairs"] for job in grid)
    per_pair = given["epochs"] * shape.pair
    test = shape.test * shape.pair
    common = (shape.parameters, per_pair * pairs, jobs * test)
    yield Work(stage, "reward models", jobs, *common)
    panel = grids.judges(given, shape.judge)
    trained = given["judge_epochs"] * shape.pair * sum(job["pairs"] for job in panel)
    size = judge_parameters(values, shape)
    yield Work(stage, "judges", len(panel), size, trained, len(panel) * test)


def judge_parameters(values: Values, shape: Shape) -> float:
    """Weights of a judge without its embeddings: 01's small shape, or models' mean."""
    starts = values["04_reward_model"]["judge_starts"]
    if starts:
        return sum(size_of(start, shape) for start in starts) / len(starts)
    small = values["01_base_model"]
    return 12 * small["layers"] * small["hidden"] ** 2


def sft(stage: str, values: Values, shape: Shape) -> Iterator[Work]:
    """SFT; all test pairs are read before and after it."""
    given, jobs = values[stage], len(grids.sft(values[stage]))
    replies = jobs * given["epochs"] * min(given["pairs"], shape.train)
    tokens = replies * (shape.prompt + shape.reply)
    read = 2 * jobs * shape.test * shape.pair
    yield Work(stage, "SFT", jobs, shape.parameters, tokens, read)


def dpo(stage: str, values: Values, shape: Shape) -> Iterator[Work]:
    """DPO and its relatives; the reference reads every pair once."""
    given = values[stage]
    grid = grids.dpo(given, shape.train)
    for method, jobs in by_method(grid).items():
        pairs = sum(job["pairs"] for job in grid if job["method"] == method)
        tokens = pairs * shape.pair
        # weights of tokens come of two other policies, or are all 1
        policies = 3 if method in WEIGHTED and method != "tis_equal" else 1
        trained = policies * given["epochs"] * tokens
        yield Work(stage, method, jobs, shape.parameters, trained, policies * tokens)


def online(stage: str, values: Values, shape: Shape) -> Iterator[Work]:
    """Online methods and the variants of PPO."""
    for method, jobs in by_method(grids.online(values[stage])).items():
        yield episodes(stage, method, jobs, values, shape)


def by_method(grid: grids.Jobs) -> Counter[str]:
    """Jobs of a grid, counted by method."""
    return Counter(job["method"] for job in grid)


def episodes(
    stage: str,
    method: str,
    jobs: int,
    values: Values,
    shape: Shape,
) -> Work:
    """Online trainings: replies sampled, read by four models or five, learned from."""
    given = values["07_ppo"]
    critic = method in VARIANTS and not given["adapters"]
    count = jobs * given["rollouts"] * given["episodes"]
    tokens = count * (shape.prompt + given["max_new_tokens"])
    share = 2 / Online.generations if method == "dpo_iter" else 1  # best and worst
    trained = (1 + critic) * share * epochs_of(method, given["ppo_epochs"]) * tokens
    sampled = count * given["max_new_tokens"]
    read = (4 + critic) * tokens
    common = (shape.parameters, trained, read, sampled)
    return Work(stage, method, jobs, *common)


def evaluation(stage: str, values: Values, shape: Shape) -> Iterator[Work]:
    """Replies of every policy, read by all that judge; best of N; the study."""
    given, seeds = values[stage], values["05_sft"]["seeds"]
    replies = given["prompts"] * given["max_new_tokens"]
    tuned = len(grids.dpo(values["06_dpo"], shape.train))
    learned = len(grids.online(values["07_ppo"]))
    policies = 1 + seeds + tuned + learned  # and the base model, and SFT
    readers = (
        len(DECODINGS) + 2 + len(values["07_ppo"]["inits"])
    )  # a judge, KL, proxies
    own = readers * given["prompts"] * (shape.prompt + given["max_new_tokens"])
    read = policies * (shape.test * shape.pair + own)
    sampled = policies * len(DECODINGS) * replies
    yield Work(stage, "policies", policies, shape.parameters, 0, read, sampled)
    best = seeds * max(given["best_of"]) * replies
    read = best + seeds * max(given["best_of"]) * given["prompts"] * shape.prompt
    yield Work(stage, "best of N", seeds, shape.parameters, 0, 3 * read, best)
    judges = values["04_reward_model"]["judges"]
    texts = policies * len(DECODINGS) * given["prompts"]
    scored = judges * (texts * (shape.prompt + given["max_new_tokens"]) + read)
    size = judge_parameters(values, shape)
    yield Work(stage, "held-out judges", 0, size, 0, scored)  # in the same jobs
    methods = {"sft", *values["06_dpo"]["methods"]}
    asked = 1 + seeds * len(methods & set(ASKED))
    few = len(REPAIRS) * 2 * PUBLISHED_PROMPTS  # all protocols but the last repair
    prompts = few + min(2 * given["study_prompts"] or shape.test, shape.test)
    sampled = asked * prompts * NEW_TOKENS
    yield Work(stage, "the study", asked, shape.parameters, 0, 2 * sampled, sampled)


def broken(stage: str, values: Values, shape: Shape) -> Iterator[Work]:
    """Broken runs of PPO."""
    grid = grids.broken(values[stage], values["07_ppo"])
    for method, jobs in by_method(grid).items():
        yield episodes(stage, method, jobs, values, shape)


COUNTS = {
    "01_base_model": base,
    "02_code_pairs": code,
    "03_codepmp": codepmp,
    "04_reward_model": reward,
    "05_sft": sft,
    "06_dpo": dpo,
    "07_ppo": online,
    "08_evaluate": evaluation,
    "10_ppo_curves": broken,
}
