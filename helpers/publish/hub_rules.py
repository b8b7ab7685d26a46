"""The hub's rules for names and cards, held before anything is created there.

They are those of its documentation, as far as our cards have such fields; the hub itself
is asked, too, once somebody is logged in (`ask_hub`).
"""

import math
import re
from collections.abc import Iterator

from huggingface_hub import RepoCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from helpers.config.parameters import ParameterError

LICENCES = ("mit", "apache-2.0", "other")  # the hub's names, as far as cards have them
LICENCE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
LICENCE_LINK = re.compile(r"LICENSE(\.md)?|https://\S+")
LONGEST = 96  # characters of a repository's name, of its owner's, and of a tag


def check_repository(name: str) -> None:
    """ParameterError for a repository, OWNER/NAME, that the hub would refuse."""
    try:
        check_id(name)
    except ValueError as error:
        raise ParameterError(f"push to {name}: {error}") from None


def check_id(name: str) -> None:
    """ValueError for what is no OWNER/NAME, or a NAME alone, of a repository."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"the hub takes no such name: {error}") from None
    if name.endswith(".ipynb"):
        raise ValueError("the hub takes no name that ends in .ipynb")


def check_card(name: str, card: str) -> None:
    """Refuse a card that the hub would refuse.

    Raises ParameterError with the card, its field, what is there and what was expected.
    """
    for field, got, expected in faults(RepoCard(card).data.to_dict()):
        raise ParameterError(
            f"card of {name}: {field}: got {got!r}, expected {expected}"
        )


def faults(data: dict) -> Iterator[tuple[str, object, str]]:
    """What is wrong with a card's metadata: the field, what it holds, what it should."""
    licence = data.get("license")
    if licence not in LICENCES:
        yield "license", licence, f"one of {', '.join(LICENCES)}"
    name, link = data.get("license_name"), data.get("license_link")
    if (licence == "other" or name) and not matches(LICENCE_NAME, name):
        yield "license_name", name, "small letters, digits, dots and dashes"
    if link is not None and not matches(LICENCE_LINK, link):
        yield "license_link", link, "LICENSE, LICENSE.md or an address, https://..."
    for tag in data.get("tags", []):
        if not (
            isinstance(tag, str) and tag == tag.strip() and 0 < len(tag) <= LONGEST
        ):
            yield "tags", tag, f"text of at most {LONGEST} characters"
    for field in ("base_model", "datasets"):
        given = data.get(field) or []
        for each in [given] if isinstance(given, str) else given:
            try:
                check_id(each)
            except ValueError as error:
                yield field, each, f"the name of a repository ({error})"
    for model in data.get("model-index", []):
        for result in model["results"]:
            for metric in result["metrics"]:
                if not math.isfinite(metric["value"]):
                    told = metric.get("name", metric["type"])
                    yield f"metric {told}", metric["value"], "a finite number"


def matches(pattern: re.Pattern, text: object) -> bool:
    """Whether something is a text that a pattern describes whole."""
    return isinstance(text, str) and bool(pattern.fullmatch(text))


def ask_hub(name: str, kind: str, card: str) -> None:
    """Let the hub check a card; ParameterError with what it says if it refuses."""
    try:
        RepoCard(card).validate(kind)
    except ValueError as error:
        said = " ".join(str(error).split())
        raise ParameterError(f"card of {name}: the hub says: {said}") from None
