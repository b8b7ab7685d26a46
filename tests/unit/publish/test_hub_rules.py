"""What the hub refuses is refused before: licences, names, links, numbers."""

import pytest
from huggingface_hub import (
    DatasetCard,
    DatasetCardData,
    EvalResult,
    ModelCard,
    ModelCardData,
)

from helpers.config.parameters import ParameterError
from helpers.publish import hub_rules


def card(**data: object) -> str:
    fields = {"license": "mit"} | data
    return str(ModelCard(f"---\n{ModelCardData(**fields).to_yaml()}\n---\n\n# Title\n"))


def result(value: float) -> EvalResult:
    names = {"task_type": "text-generation", "dataset_type": "x", "dataset_name": "x"}
    return EvalResult(**names, metric_type="reward", metric_value=value)


OTHER = {"license": "other", "license_name": "psf-2.0"}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {
            "license": "apache-2.0",
            "tags": ["hh-rlhf"],
            "base_model": "facebook/opt-350m",
        },
        OTHER | {"license_link": "https://docs.python.org/3/license.html"},
        OTHER | {"license_link": "LICENSE.md"},
        {"datasets": ["Anthropic/hh-rlhf"]},
        {"model_name": "x", "eval_results": [result(0.5)]},
    ],
)
def test_a_card_that_the_hub_takes_is_taken(data) -> None:
    hub_rules.check_card("x", card(**data))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"license": "psf-2.0"}, "license: got 'psf-2.0', expected one of mit, "),
        ({"license": "MIT"}, "license: got 'MIT'"),
        ({"license": None}, "license: got None"),
        ({"license": "other"}, "license_name: got None"),
        (OTHER | {"license_name": "My Licence"}, "license_name: got 'My Licence'"),
        (OTHER | {"license_link": "/home/a/LICENSE"}, "license_link: got '/home/a"),
        (OTHER | {"license_link": "javascript:alert(1)"}, "license_link: got 'javasc"),
        ({"tags": ["x" * 97]}, "tags: got 'xxx"),
        ({"tags": [""]}, "tags: got ''"),
        ({"base_model": "/home/a/opt"}, "base_model: got '/home/a/opt'"),
        ({"base_model": "a/b--c"}, "base_model: got 'a/b--c'"),
        ({"datasets": ["a folder"]}, "datasets: got 'a folder'"),
        ({"model_name": "x", "eval_results": [result(float("nan"))]}, "got nan"),
    ],
)
def test_a_card_that_the_hub_refuses_is_refused_in_one_line(data, says) -> None:
    with pytest.raises(ParameterError) as error:
        hub_rules.check_card("sft", card(**data))
    assert str(error.value).startswith("card of sft: ") and says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_data_sets_card_is_held_against_the_same_rules() -> None:
    data = DatasetCardData(license="psf-2.0", pretty_name="x")
    text = str(DatasetCard(f"---\n{data.to_yaml()}\n---\n\n# Title\n"))
    with pytest.raises(ParameterError, match="license: got 'psf-2.0'"):
        hub_rules.check_card("x", text)


@pytest.mark.parametrize(
    "name",
    [
        "me/a--b",
        "me/a..b",
        "me/-a",
        "me/a.",
        "me/a.git",
        "me/a.ipynb",
        "me/ä",
        "me/a+1",
        "me/a b",
        "me/a/b",
        "me/" + "x" * 97,
        "/a",
        "me--you/a",
    ],
)
def test_a_name_that_the_hub_refuses_is_refused(name) -> None:
    with pytest.raises(ParameterError, match="push to "):
        hub_rules.check_repository(name)


def test_a_name_that_the_hub_takes_is_taken() -> None:
    for name in ("me/prefbook-cpu-sft", "me/" + "x" * 96, "Me_1/a_b.c-d"):
        hub_rules.check_repository(name)


def test_the_hub_is_asked_and_its_refusal_is_one_line(monkeypatch) -> None:
    def refuse(self, kind: str) -> None:
        raise ValueError(f'Invalid metadata.\n- "license" of a {kind} is odd')

    monkeypatch.setattr(hub_rules.RepoCard, "validate", refuse)
    with pytest.raises(ParameterError, match='card of x: the hub says: .* "license"'):
        hub_rules.ask_hub("x", "model", card())
