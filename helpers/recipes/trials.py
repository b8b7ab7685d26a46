"""One trial of a setting: a training at another learning rate, scored on `dev`.

Everything else is as the run has it, and what is trained is trained by the same functions
as in the stages. The pairs of `dev` neither train nor test anything.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.config.schema import read_schema
from helpers.core.flops import aside
from helpers.core.manifests import read_manifest
from helpers.core.paths import PROJECT, Project, RunError
from helpers.data import drawing
from helpers.methods import BY_NAME, OFFLINE, ONLINE
from helpers.models import loading
from helpers.models.encoding import prompt_room, reply_room
from helpers.models.generation import generate
from helpers.models.scoring import exact_kl
from helpers.recipes import dpo, judging, language_models, online, reward_models
from helpers.rewards.judges import reward_scores
from helpers.runs import store
from helpers.statistics.metrics import preference_accuracy
from helpers.trainers.training import Fit
from helpers.trainers.watched import NotFinite

PROMPTS = 200  # of dev, half of each subset
SEED = 0
ALONG = {"ppo": "critic_learning_rate"}  # multiplied by the same factor
# what is tried, with its stage: reward models, and methods that 09 compares
STAGES = {"sft": BY_NAME["sft"].stage, "rm": "04_reward_model"}
STAGES |= {method: BY_NAME[method].stage for method in (*OFFLINE, *ONLINE)}

# --- what a trial changes ------------------------------------------------------------


def parameters(run: Path, stage: str, project: Project = PROJECT) -> dict:
    """A stage's parameters in a run; its defaults where the run has not come to it yet.

    The longest text is then that of 05, which every stage of a run has.
    """
    schema = read_schema(project.notebook(stage))
    found = {name: each.default for name, each in schema.items()}
    try:
        return found | read_manifest(run, stage, project)["parameters"]
    except RunError:
        length = read_manifest(run, "05_sft", project)["parameters"]["max_length"]
        return found | {"max_length": length}


def rate_name(method: str) -> str:
    """The parameter that is a method's learning rate, in its stage."""
    return BY_NAME[method].rate if method in BY_NAME else "learning_rate"


def changed(method: str, given: Mapping[str, object], factor: float) -> dict:
    """The parameters that a trial changes, times `factor`, to two significant digits."""
    names = [rate_name(method), *filter(None, [ALONG.get(method)])]
    return {name: float(f"{factor * given[name]:.2g}") for name in names}


# --- one trial ------------------------------------------------------------------------


def trial(
    out: Path,
    *,
    run: Path,
    method: str,
    factor: float,
    seed: int,
    given: dict,
    examined: dict,
) -> list[dict]:
    """Train a method once and score it on dev; the model itself is not kept.

    given: parameters of its stage; examined: how replies are sampled and judged, from
    08. The records of training on test pairs are left out: they have no say here. A rate
    may be too high for any number to come out: then there is no score.
    """
    given = given | changed(method, given, factor)
    with tempfile.TemporaryDirectory(dir=out) as place:
        try:
            train(Path(place), run, method, seed, given)
        except NotFinite:
            pairs = dev_pairs(run)
            return subset_rows(pairs, np.full(len(pairs), np.nan))
        with aside():
            if method == "rm":
                return reward_model_scores(Path(place), run, given["max_length"])
            return policy_scores(Path(place), run, seed, **examined)


def train(
    out: Path, run: Path, method: str, seed: int, given: Mapping[str, object]
) -> list[dict]:
    """One training as the method's stage does it, into the folder `out`."""
    job = {"run": run, "method": method, "seed": seed}
    if method in ONLINE:
        job |= {"init": "base", "strength": given["kl_coef"]}
        settings = online.settings_of(given)
        return online.train(
            out, **job, settings=settings, max_length=given["max_length"]
        )
    fit = Fit(
        given[rate_name(method)],
        given["batch_size"],
        given["epochs"],
        max_length=given["max_length"],
        token_budget=given.get("token_budget", 0),
    )
    if method == "sft":
        return language_models.sft(out, **job, pairs=given["pairs"], fit=fit)
    if method == "rm":
        job |= {"init": "base", "pairs": store.labels(run)}
        return reward_models.reward_model(out, **job, fit=fit)
    job["pairs"] = given[BY_NAME[method].pairs]
    job["strength"] = given[BY_NAME[method].strength]
    rate = given["contrast_learning_rate"]
    contrast = replace(fit, learning_rate=rate, token_budget=0)
    fits = dict.fromkeys(OFFLINE, fit) | {"contrast": contrast}
    return dpo.dpo(out, **job, fits=fits, label_noise=given["label_noise"])


def policy_scores(
    folder: Path, run: Path, seed: int, max_new_tokens: int, max_length: int
) -> list[dict]:
    """What the judge says of one sampled reply to each prompt of dev.

    Beside it the KL from SFT in nats a reply, the mean length in characters and the
    share of replies that ended. A prompt that has several pairs is asked once.
    """
    policy, tokenizer = loading.load_policy(folder), loading.load_tokenizer(folder)
    asked = dev_pairs(run).drop_duplicates("prompt")
    parts = [part for _, part in asked.groupby("subset")]
    pairs = pd.concat([drawing.draw(part, PROMPTS // 2, seed=SEED) for part in parts])
    prompts = pairs["prompt"].tolist()
    replies = generate(
        policy,
        tokenizer,
        prompts,
        temperature=1.0,
        seed=seed,
        max_new_tokens=max_new_tokens,
        max_prompt_tokens=prompt_room(max_length, max_new_tokens),
    )
    judge = judging.judges(run, room=reply_room(max_new_tokens))[0]
    texts = [reply.text for reply in replies]
    scores = judge.score(prompts, texts)
    reference = loading.load_policy(store.job_folder(run, "05_sft", seed=seed))
    encoded = [(reply.prompt, reply.ids) for reply in replies]
    means = {
        "kl": exact_kl(policy, reference, encoded).mean(),
        "length": np.mean([len(text) for text in texts]),
        "ended": np.mean([reply.ended for reply in replies]),
    }
    further = [{"metric": name, "value": float(each)} for name, each in means.items()]
    return [*subset_rows(pairs, scores), *further]


def reward_model_scores(folder: Path, run: Path, max_length: int) -> list[dict]:
    """The accuracy of a reward model on all pairs of dev.

    A rate may be too high for any number to come out: such a pair is not ranked right.
    """
    scorer, tokenizer = loading.load_scorer(folder), loading.load_tokenizer(folder)
    pairs = dev_pairs(run)

    def score(prompts: list[str], replies: list[str]) -> np.ndarray:
        return reward_scores(scorer, tokenizer, prompts, replies, max_length=max_length)

    chosen, rejected = drawing.both_sides(score, pairs)
    margins = chosen - rejected
    margins[~np.isfinite(margins)] = -1.0
    return subset_rows(pairs, preference_accuracy(margins))


def dev_pairs(run: Path) -> pd.DataFrame:
    """The pairs of dev; RunError unless both subsets have some."""
    pairs = store.read_pairs(run, "dev")
    if pairs["subset"].nunique() < 2:
        hint = "no settings can be chosen: `-p 00_data.dev_fraction=0.05`"
        raise RunError(f"{run.name} has no dev pairs of both subsets, {hint}")
    return pairs


def subset_rows(pairs: pd.DataFrame, scores: np.ndarray) -> list[dict]:
    """The mean score of each subset and the number of pairs, as records."""
    means = pd.Series(scores).groupby(pairs["subset"].to_numpy()).mean()
    rows = [{"metric": "score", "subset": s, "value": v} for s, v in means.items()]
    return [*rows, {"metric": "n", "value": len(pairs)}]
