"""What a run gives to others: models and code pairs, each with its card, for the hub.

A card says what the model is, what it learned from, at which commit, how well it did
with which interval, and what it is not good for. The numbers are those of chapter 09.
Pairs of HH-RLHF, and replies to its prompts, are never uploaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from huggingface_hub import (
    DatasetCard,
    DatasetCardData,
    HfApi,
    ModelCard,
    ModelCardData,
    get_token,
)

from helpers.analysis import run_notes
from helpers.config.parameters import ParameterError
from helpers.core import escape, hub
from helpers.core.manifests import read_manifest
from helpers.core.paths import RunError, whole_name
from helpers.core.records import read_records
from helpers.data.hh import BUILT_IN
from helpers.publish.card_numbers import eval_result, refusals, results
from helpers.publish.card_templates import (
    BUILT_IN_LIMIT,
    LIMITS,
    MODEL,
    PAIRS,
    REAL_LIMIT,
)
from helpers.publish.hub_rules import ask_hub, check_card, check_repository
from helpers.recipes.code_writers import in_words
from helpers.runs import store
from helpers.statistics.formats import cell

# what is uploaded of a folder: weights, configuration, tokenizer, per-example numbers
FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja", "records.parquet")
SEED = 0  # the seed whose models are given away


@dataclass(frozen=True)
class Upload:
    """What goes into one repository of the hub: its kind, its card and its files."""

    name: str
    repository: str  # OWNER/NAME
    kind: str  # model or dataset
    card: str
    folder: Path
    files: tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """A model that is given away: what it is, where it lies, what 09 says of it."""

    name: str
    title: str
    what: str
    stage: str
    job: dict[str, object]
    results: tuple[tuple[str, str, str], ...]  # metric, method, opponent, in 09


def given_models(run: Path) -> list[Given]:
    """The models of a run that are worth giving away, as far as it holds them."""
    results = (("difference", "sft", "base"),)
    what, job = "Fine-tuned on chosen replies.", {"method": "sft"}
    found = [Given("sft", "SFT policy", what, "05_sft", job, results)]
    for init in ("base", "codepmp"):
        start = "CodePMP" if init == "codepmp" else "the base model"
        job = {"method": "rm", "init": init, "pairs": store.labels(run)}
        results = (("accuracy", f"rm ({init})", ""),)
        what = f"A Bradley-Terry reward model that starts from {start}."
        title = f"Reward model from {start}"
        found.append(Given(f"rm-{init}", title, what, "04_reward_model", job, results))
        job = {"method": "ppo", "init": init, "strength": store.strengths(run)["ppo"]}
        versus = "sft" if init == "base" else "ppo (base)"
        results = (("difference", f"ppo ({init})", versus),)
        what = f"Trained by PPO on the reward model that starts from {start}."
        title = f"PPO policy, reward model from {start}"
        found.append(Given(f"ppo-{init}", title, what, "07_ppo", job, results))
    job = {"method": "sft_dpo", "strength": store.strengths(run)["sft_dpo"]}
    results = (
        ("accuracy", "sft_dpo implicit", ""),
        ("difference", "sft_dpo", "sft"),
    )
    what = "SFT, then direct preference optimisation."
    found.append(Given("sft-dpo", "SFT+DPO policy", what, "06_dpo", job, results))
    return [each for each in found if holds(run, each)]


def holds(run: Path, given: Given) -> bool:
    """Whether the run has trained this model."""
    try:
        return folder_of(run, given).is_dir()
    except RunError:
        return False


def folder_of(run: Path, given: Given) -> Path:
    """Where the model of `SEED` lies."""
    return store.job_folder(run, given.stage, **given.job, seed=SEED)


# --- cards -----------------------------------------------------------------------------


def uploads(run: Path, owner: str = "owner") -> list[Upload]:
    """All that `prefbook push` gives to the hub, held against the hub's rules.

    Raises RunError if 09 is not done, ParameterError for a name or a card that the hub
    would refuse.
    """
    read_manifest(run, "09_compare")  # it must be done
    records = read_records(run / "09_compare" / "records.parquet")
    found = [
        Upload(
            name=each.name,
            repository=repository(owner, run, each.name),
            kind="model",
            card=model_card(run, each, records),
            folder=folder_of(run, each),
            files=FILES,
        )
        for each in given_models(run)
    ]
    pairs = {"folder": run / "02_code_pairs", "files": ("pairs.parquet",)}
    name, place = "code-pairs", repository(owner, run, "code-pairs")
    found.append(Upload(name, place, "dataset", pairs_card(run), **pairs))
    for each in found:
        check_repository(each.repository)
        check_card(each.name, each.card)
    return found


def repository(owner: str, run: Path, name: str) -> str:
    """Where the hub keeps one thing of a run: no other run has this name."""
    return f"{owner}/prefbook-{whole_name(run)}-{name}"


def model_card(run: Path, given: Given, records: pd.DataFrame) -> str:
    """The card of one model, with its metrics for the hub's model index."""
    facts = data_facts(run)
    own = pd.concat([results(records, *each) for each in given.results])
    title = f"{given.title} ({whole_name(run)})"
    data = ModelCardData(
        license="other" if facts["start"] else "mit",
        license_name="base-model" if facts["start"] else None,
        license_link=licence_page(facts["base_model"]) if facts["start"] else None,
        base_model=facts["base_model"],
        library_name="transformers",
        tags=["hh-rlhf", "codepmp", given.stage.partition("_")[2]],
        datasets=facts["datasets"],
        model_name=title,
        eval_results=[eval_result(row, facts) for row in own.itertuples()],
    )
    shown = own[["metric", "subset"]].assign(value=own["interval"].map(cell))
    limit = BUILT_IN_LIMIT if facts["synthetic"] else REAL_LIMIT
    text = MODEL.format(
        metadata=data.to_yaml(),
        title=title,
        what=given.what,
        run=whole_name(run),
        seed=SEED,
        measured=shown.to_markdown(index=False) + refusals(records),
        limits=LIMITS.format(seed=SEED, data_limit=limit),
        **{name: escape.markdown(str(facts[name])) for name in FACTS},
    )
    return str(ModelCard(text))


FACTS = ("source", "commit", "models", "judge", "versions", "code", "seeds")


def data_facts(run: Path) -> dict[str, object]:
    """What a card says of the run: data, models, versions; never a place on a disk."""
    setting = run_notes.setting(run)
    source = store.data_source(run)
    start = read_manifest(run, "01_base_model")["parameters"].get("pretrained", "")
    last = read_manifest(run, "09_compare")
    synthetic = source == BUILT_IN
    folder = not synthetic and name_on_hub(source) is None
    name, _, commit = source.partition("@")
    commit = "none: a folder" if folder else commit or hub.PINNED.get(name, "none")
    packages = ("torch", "transformers", "trl")
    return {
        **setting,
        "synthetic": synthetic,
        "source": "a folder in the layout of Anthropic/hh-rlhf" if folder else name,
        "datasets": None if synthetic or folder else [name],
        "commit": "none: generated" if synthetic else commit,
        "start": start,
        "base_model": name_on_hub(start),
        "versions": ", ".join(f"{each} {last['versions'][each]}" for each in packages),
        "code": last.get("commit", "no repository"),
    }


def name_on_hub(source: str) -> str | None:
    """The hub's name of a source; None for a folder, whose place concerns nobody."""
    name = hub.located(source)[0] if source else ""
    return None if not name or Path(name).is_dir() else name


def licence_page(base_model: str | None) -> str | None:
    """Where the licence of a base model stands, if the model is the hub's."""
    return f"https://huggingface.co/{base_model}" if base_model else None


def pairs_card(run: Path) -> str:
    """The card of the code pairs."""
    given = read_manifest(run, "02_code_pairs")["parameters"]
    sources, errors = (
        {side: given[f"{side}_{what}"] for side in ("strong", "weak")}
        for what in ("model", "errors")
    )
    names = in_words(sources, given["code_source"], errors)
    pairs = store.read_code_pairs(run, "train", "test")
    data = DatasetCardData(
        license="other",  # the hub has no name for that of Python's standard library
        license_name="psf-2.0",
        license_link="https://docs.python.org/3/license.html",
        tags=["codepmp", "preference"],
        pretty_name="CodePMP pairs",
    )
    count, held = len(pairs), int((pairs["split"] == "test").sum())
    writers = {side: escape.markdown(name) for side, name in names.items()}
    about = {"count": count, "held": held, "run": whole_name(run), **writers}
    text = PAIRS.format(metadata=data.to_yaml(), **about)
    return str(DatasetCard(text))


# --- to the hub ------------------------------------------------------------------------


def logged_in(owner: str) -> HfApi:
    """The hub, ready to write to; ParameterError if it is not."""
    if not owner:
        raise ParameterError("--to: got nothing, expected a user or organisation")
    if not get_token():
        raise ParameterError(
            "push: the hub does not know you; log in by `hf auth login`, or look at the "
            "cards with --dry-run"
        )
    return HfApi()


def push(
    run: Path,
    owner: str,
    public: bool,
    say: Callable[[str], None],
    api: HfApi,
    ask: Callable[[str, str, str], None] = ask_hub,
) -> None:
    """Upload everything to repositories `OWNER/prefbook-RUN-NAME`, private by default.

    Nothing is created if one card or name is refused, by our rules or by `ask`.
    """
    found = uploads(run, owner)
    for each in found:
        ask(each.name, each.kind, each.card)
    for each in found:
        name = each.repository
        api.create_repo(name, repo_type=each.kind, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            repo_type=each.kind,
            folder_path=each.folder,
            allow_patterns=list(each.files),
            ignore_patterns=["*/*"],  # a pattern's `*` reaches into folders
            commit_message=f"{each.name} of run {whole_name(run)}",
        )
        api.upload_file(
            repo_id=name,
            repo_type=each.kind,
            path_or_fileobj=each.card.encode(),
            path_in_repo="README.md",
            commit_message=f"Card of {each.name}",
        )
        say(f"uploaded {name}")
