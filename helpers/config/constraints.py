"""What parameters must agree on, beyond the range of each.

A rule of `RULES` holds for every stage that declares all of its names; one of `ACROSS` for
a stage and earlier ones. They are checked before anything runs, like a range.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from os.path import isdir, isfile  # unlike Path's, False for a name that is too long
from typing import NamedTuple

from helpers.config.parameters import ParameterError
from helpers.core.hub import is_located
from helpers.core.inputs import each_of, shown
from helpers.core.model_files import ModelError, check_source
from helpers.core.paths import ROOT, in_runs

SOURCES = (  # parameters that name a model of the hub
    "pretrained",
    "strong_model",
    "weak_model",
    "describer_model",
    "judge_model",
    "judge_starts",
)


class Rule(NamedTuple):
    """Names, a test of their values in this order, and what is expected, in words."""

    names: tuple[str, ...]
    holds: Callable[..., bool]
    expected: str


RULES = (
    Rule(
        ("hidden", "heads"),
        lambda hidden, heads: hidden % heads == 0,
        "hidden to be a multiple of heads",
    ),
    Rule(
        ("max_new_tokens", "max_length"),
        lambda new, length: new + 1 < length,
        "max_new_tokens below max_length - 1: a prompt and an end need room",
    ),
    Rule(
        ("episodes", "minibatches"),  # four: replies a prompt
        lambda episodes, minibatches: episodes % (4 * minibatches) == 0,
        "episodes to be a multiple of 4 times minibatches",
    ),
    Rule(
        ("episodes", "minibatches", "processes"),
        lambda episodes, minibatches, processes: (
            episodes % (4 * minibatches * processes) == 0
        ),
        "episodes to be a multiple of 4 times minibatches times processes",
    ),
    Rule(
        ("rounds", "rollouts", "episodes"),
        lambda rounds, rollouts, episodes: rollouts * episodes >= 4 * rounds,
        "rollouts times episodes to give each of the rounds 4 replies",
    ),
    Rule(
        ("kl_coef", "methods"),
        lambda kl_coef, methods: kl_coef > 0 or "dpo_iter" not in methods,
        "kl_coef above 0, or no dpo_iter: it is its beta, at 0 nothing is learned",
    ),
    Rule(
        ("prompt_form", "pretrained"),
        lambda form, pretrained: form == "data" or bool(pretrained),
        "prompt_form=data: only a pretrained model knows a form of its own",
    ),
    Rule(
        ("weak_hidden",),
        lambda hidden: hidden % 4 == 0,
        "weak_hidden to be a multiple of 4, its attention heads",
    ),
    Rule(
        ("strong_errors", "weak_errors"),
        lambda strong, weak: strong < weak,
        "strong_errors below weak_errors: the stronger writer makes fewer",
    ),
    Rule(
        ("strong_model", "weak_model", "code_source"),
        lambda strong, weak, source: source == "writers" or not (strong or weak),
        "code_source=writers, whom the models are",
    ),
    Rule(
        ("code_source",),
        lambda source: source in ("built-in", "writers") or isdir(ROOT / source),
        "built-in, writers, or a folder of code pairs",
    ),
    Rule(
        ("code_source", "verified_gap"),
        lambda source, verified: not verified or source not in ("built-in", "writers"),
        "a folder of code pairs: only there it is known who passed",
    ),
    Rule(
        ("minibatches", "variants"),
        lambda minibatches, variants: minibatches > 1 or "small_batch" not in variants,
        "no small_batch among variants: a batch of one mini-batch cannot shrink",
    ),
    Rule(
        ("adapters", "variants"),
        lambda adapters, variants: not adapters or "ema_reference" not in variants,
        "no ema_reference among variants: with adapters the reference is the policy",
    ),
    Rule(
        ("report_to",),
        lambda name: name == "none" or find_spec(name) is not None,
        "a package that is installed: pip install it, or none",
    ),
    Rule(
        ("batch_size", "processes"),
        lambda size, processes: size % processes == 0,
        "batch_size to be a multiple of processes: each gets its share",
    ),
    Rule(
        ("strategy", "processes"),
        lambda strategy, processes: strategy == "ddp" or processes > 1,
        "at least 2 processes, among which a model can be spread",
    ),
    Rule(
        ("strategy",),
        lambda strategy: strategy != "zero2" or find_spec("deepspeed") is not None,
        "ddp or fsdp, or DeepSpeed to be installed: pip install deepspeed",
    ),
    Rule(("run_dir",), in_runs, "the folder of a run, runs/NAME: results stay there"),
    Rule(
        ("sweep",),
        lambda sweep: (
            not sweep or (in_runs(sweep) and isfile(ROOT / sweep / "sweep.json"))
        ),
        "the folder of a sweep, runs/NAME",
    ),
)
LOCATED = (
    "a folder, a hub name that is pinned or name@commit, or what `prefbook weights NAME` "
    "has fetched"
)


class Across(NamedTuple):
    """Parameters of a stage and of earlier ones, as (stage, name), and as `Rule`."""

    stage: str  # whose training it is that is refused
    names: tuple[tuple[str, str], ...]
    holds: Callable[..., bool]
    expected: str


ACROSS = (
    Across(
        "04_reward_model",
        (
            ("04_reward_model", "seeds"),
            ("04_reward_model", "small_seeds"),
            ("03_codepmp", "seeds"),
            ("03_codepmp", "codepmp_seeds"),
        ),
        lambda seeds, small, *started: max(seeds, small) <= max(started),
        "03 to have no fewer: each seed starts from a CodePMP of its own",
    ),
    Across(
        "06_dpo",
        (("06_dpo", "pairs"), ("06_dpo", "methods"), ("04_reward_model", "sizes")),
        lambda pairs, methods, sizes: (
            pairs == max(sizes) or not {"dpo", "sft_dpo"} & set(methods)
        ),
        "pairs to be the largest of sizes: policies and reward models are compared, and "
        "only what learned from the same pairs can be",
    ),
)


def check_across(stage: str, values: Mapping[str, Mapping[str, object]]) -> None:
    """Raise ParameterError for the first rule that a stage breaks with earlier ones.

    values: parameters by stage, of all stages that are known.
    """
    for rule in ACROSS:
        known = all(name in values.get(of, {}) for of, name in rule.names)
        if stage != rule.stage or not known:
            continue
        given = {f"{of}.{name}": values[of][name] for of, name in rule.names}
        if not rule.holds(*given.values()):
            raise broken(stage, given, rule.expected)


def check_together(stage: str, values: Mapping[str, object]) -> None:
    """Raise ParameterError for the first rule that a stage's values break."""
    for rule in RULES:
        if not all(name in values for name in rule.names):
            continue
        given = {name: values[name] for name in rule.names}
        if not rule.holds(*given.values()):
            raise broken(stage, given, rule.expected)


def check_models(stage: str, values: Mapping[str, object]) -> None:
    """Raise ParameterError for the first model that is not there or may not be loaded."""
    for name in SOURCES:
        for source in each_of(values.get(name, "")):
            if not is_located(source):
                raise broken(stage, {name: source}, LOCATED)
            try:
                check_source(str(source))
            except ModelError as error:
                raise ParameterError(f"{stage}: {name}: {error}") from None


def broken(stage: str, given: Mapping[str, object], expected: str) -> ParameterError:
    """The error for values that do not fit together."""
    listed = ", ".join(f"{name}={shown(value)}" for name, value in given.items())
    return ParameterError(f"{stage}: {listed}: expected {expected}")
