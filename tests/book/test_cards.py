"""What `prefbook push` would upload of the smoke run."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.utils import filter_repo_objects

from helpers.config.parameters import ParameterError
from helpers.core.paths import ROOT
from helpers.publish import model_cards
from tests.book.conftest import NAME, prefbook


class Hub:
    """Stands for the hub's client; keeps what it is given."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict] = {}
        self.folders: dict[str, dict] = {}
        self.cards: dict[str, str] = {}

    def create_repo(self, name: str, **settings: object) -> None:
        self.repositories[name] = settings

    def upload_folder(self, repo_id: str, **settings: object) -> None:
        self.folders[repo_id] = settings

    def upload_file(self, repo_id: str, path_or_fileobj: bytes, **_: object) -> None:
        self.cards[repo_id] = path_or_fileobj.decode()


@pytest.fixture
def hub(run: Path) -> Hub:
    api = Hub()
    asked = []
    model_cards.push(run, "someone", False, str, api, lambda *card: asked.append(card))
    assert len(asked) == len(api.repositories)  # the hub has seen every card before
    return api


def test_models_and_code_pairs_are_given_privately(hub: Hub) -> None:
    kinds = {name: each["repo_type"] for name, each in hub.repositories.items()}
    names = ("sft", "rm-base", "rm-codepmp", "ppo-base", "ppo-codepmp", "sft-dpo")
    expected = {f"someone/prefbook-{NAME}-{name}": "model" for name in names}
    assert kinds == expected | {f"someone/prefbook-{NAME}-code-pairs": "dataset"}
    assert all(each["private"] for each in hub.repositories.values())
    assert hub.cards.keys() == hub.folders.keys() == kinds.keys()


def test_nothing_but_weights_tokenizers_and_numbers_is_given(hub: Hub) -> None:
    for name, each in hub.folders.items():
        files = [
            path.relative_to(each["folder_path"]).as_posix()
            for pattern in each["allow_patterns"]
            for path in Path(each["folder_path"]).glob(pattern)
        ]
        if name.endswith("code-pairs"):
            assert files == ["pairs.parquet"]
        else:
            assert "model.safetensors" in files and "tokenizer.json" in files
            assert "replies.parquet" not in files


def test_a_card_has_its_numbers_with_intervals(hub: Hub) -> None:
    card = ModelCard(hub.cards[f"someone/prefbook-{NAME}-rm-codepmp"])
    assert card.data.license == "mit" and card.data.library_name == "transformers"
    assert {each.dataset_name for each in card.data.eval_results} == {
        "synthetic (built-in), helpful",
        "synthetic (built-in), harmless",
    }
    for each in card.data.eval_results:
        bounds = each.metric_args
        assert bounds["low"] <= each.metric_value <= bounds["high"]
        assert f"{each.metric_value:.3f} [" in card.text
    assert "## Limits" in card.text and "synthetic data" in card.text
    for words in (str(ROOT), "None", "nan"):
        assert words not in card.text


def test_the_cards_can_be_looked_at_without_an_account(run: Path) -> None:
    done = prefbook("push", "--run", NAME, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("# model ") == 6 and "# dataset code-pairs" in done.stdout
    heads = [part for part in done.stdout.split("---\n") if "library_name" in part]
    assert len(heads) == 6 and all(yaml.safe_load(head)["license"] for head in heads)


def test_runs_of_two_sweeps_have_repositories_of_their_own(run: Path, tmp_path) -> None:
    names = []
    for sweep in ("beta", "rate"):
        place = tmp_path / sweep / "00"
        place.parent.mkdir()
        place.symlink_to(run, target_is_directory=True)
        api = Hub()
        model_cards.push(place, "someone", False, str, api, print)
        names.append(set(api.repositories))
    assert names[0].isdisjoint(names[1])
    assert all(each.startswith("someone/prefbook-beta-00-x") for each in names[0])


def refuse_pairs(name: str, kind: str, card: str) -> None:
    if kind == "dataset":
        raise ParameterError(f"card of {name}: the hub says no")


@pytest.mark.parametrize("way", ["our rules", "the hub", "the name"])
def test_what_the_hub_would_refuse_stops_everything_before(
    run: Path, monkeypatch, way: str
) -> None:
    api, ask, owner = Hub(), print, "someone"
    if way == "our rules":  # the last card alone is bad
        bad = model_cards.pairs_card(run).replace("license: other", "license: psf-2.0")
        monkeypatch.setattr(model_cards, "pairs_card", lambda run: bad)
    elif way == "the hub":
        ask = refuse_pairs
    else:
        owner = "some--one"
    says = {"our rules": "got 'psf-2.0', expected one of", "the hub": "hub says no"}
    with pytest.raises(ParameterError, match=says.get(way, "Cannot have -- or ..")):
        model_cards.push(run, owner, False, print, api, ask)
    assert not api.repositories
    if way != "the hub":  # which a dry run does not ask
        with pytest.raises(ParameterError):
            model_cards.uploads(run, owner)


def test_files_in_folders_are_not_given(hub: Hub, tmp_path: Path) -> None:
    """A tracker's or a trainer's own files may lie there, with names of the machine."""
    names = ["config.json", "runs/host/args.json", "checkpoint-1/trainer_state.json"]
    for each in hub.folders.values():
        rules = {name: each[name] for name in ("allow_patterns", "ignore_patterns")}
        kept = list(filter_repo_objects(names, **rules))
        assert kept in (["config.json"], [])


def test_without_an_account_nothing_is_tried(run: Path) -> None:
    for arguments, says in ((["--to", "someone"], "hf auth login"), ([], "--to")):
        done = prefbook("push", "--run", NAME, *arguments)
        assert done.returncode == 2 and says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_run_that_is_not_finished_has_no_cards() -> None:
    done = prefbook("push", "--run", "no-such-run", "--dry-run")
    assert done.returncode == 2 and "there is no runs/no-such-run" in done.stderr
