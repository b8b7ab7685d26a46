"""What a card says of its run: names, never a place on a disk."""

from pathlib import Path

import pytest

from helpers.publish import model_cards


@pytest.fixture
def facts(monkeypatch):
    """The facts of a run with these data and this start."""

    def made(source: str, start: str = "") -> dict[str, object]:
        manifest = {"parameters": {"pretrained": start}, "versions": {}}
        manifest["versions"] = dict.fromkeys(("torch", "transformers", "trl"), "1.0")
        monkeypatch.setattr(model_cards.run_notes, "setting", lambda run: {})
        monkeypatch.setattr(model_cards.store, "data_source", lambda run: source)
        monkeypatch.setattr(model_cards, "read_manifest", lambda *_: manifest)
        return model_cards.data_facts(Path("runs/x"))

    return made


@pytest.mark.parametrize("name", ["hh-rlhf", "hh@secret"])
def test_a_folder_is_said_to_be_one_and_no_more(facts, tmp_path, name) -> None:
    folder = tmp_path / "planted" / name
    folder.mkdir(parents=True)
    found = facts(str(folder), str(folder))
    assert found["source"] == "a folder in the layout of Anthropic/hh-rlhf"
    assert found["datasets"] is None and found["base_model"] is None
    told = {key: each for key, each in found.items() if key != "start"}  # kept inside
    assert "planted" not in str(told) and "secret" not in str(told)
    assert found["commit"] == "none: a folder"


def test_data_of_the_hub_have_their_commit(facts) -> None:
    found = facts("Anthropic/hh-rlhf", "facebook/opt-350m")
    assert found["datasets"] == ["Anthropic/hh-rlhf"] and len(found["commit"]) == 40
    assert found["base_model"] == "facebook/opt-350m"
    assert facts("some/data@abc")["commit"] == "abc"
