"""What comes from the hub: at which commit each model and data set is read.

A name alone would give another model tomorrow. So a hub name is read at the commit that
stands here, or at the one that is given with it, as `name@commit`.
"""

from os.path import isdir, isfile  # unlike Path's, False for a name that is too long
from pathlib import Path

from helpers.core import escape
from helpers.core.inputs import shown
from helpers.core.paths import ROOT

WEIGHTS = ROOT / "weights"  # what `prefbook weights` has fetched, a folder per name
PINNED = {
    "Anthropic/hh-rlhf": "09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa",
    # the model of the OPT-350M study, and the judge of it
    "facebook/opt-350m": "08ab08cc4b72ff5593870b5d527cf4230323703c",
    "OpenAssistant/reward-model-deberta-v3-large-v2": (
        "c355404efa9ad2ad069f3a197cae0523c14244fc"
    ),
    # CodePMP's two writers of code, and one that is weak beside the smaller of them
    "deepseek-ai/deepseek-coder-6.7b-instruct": (
        "e5d64addd26a6a1db0f9b863abf6ee3141936807"
    ),
    "deepseek-ai/deepseek-coder-1.3b-instruct": (
        "e063262dac8366fc1f28a4da0ff3c50ea66259ca"
    ),
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": "ea3f2471cf1b1f0db85067f1ef93848e38e88c25",
}


class SourceError(ValueError):
    """A source that is neither a folder nor a hub name with a commit."""


def located(source: str | Path) -> tuple[str, str]:
    """Where to read `source`: a folder, or a hub name and its commit.

    A relative folder starts at the project root, or is one of `weights/`; its commit is
    "main", which the libraries do not look at. Raises SourceError for a hub name without a commit.
    """
    for folder in (ROOT / source, WEIGHTS / source):
        if isdir(folder):
            return str(folder), "main"
    name, _, given = str(source).partition("@")
    commit = given or PINNED.get(name)
    if not commit:
        known = ", ".join(PINNED)
        raise SourceError(
            f"{shown(source)}: no such folder, nothing that `prefbook weights` has fetched, and "
            f"no commit is known for a hub repository of this name; write {shown(name)}@COMMIT, "
            f"or one of: {known}"
        )
    return name, commit


def is_located(source: str) -> bool:
    """Whether a parameter's value names a source; "" names none and is fine.

    So does a `.gguf` file of this machine; one of the hub has no digest and is refused.
    """
    try:
        return not source or is_gguf(source) or bool(located(source))
    except SourceError:
        return False


def is_gguf(source: str | Path) -> bool:
    """Whether a source is a `.gguf` file of this machine."""
    file = ROOT / source
    return file.suffix == ".gguf" and isfile(file)


def plain_name(source: str | Path) -> str:
    """How a source is called in tables: the last part of its name, without a commit."""
    return escape.visible(Path(str(source).partition("@")[0]).name)
