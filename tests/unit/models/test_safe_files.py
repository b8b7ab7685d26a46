"""Loading refuses what is not a whole model in safetensors: tiny ones, spoilt on disk."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import transformers.utils.hub
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from helpers.core import model_files
from helpers.core.model_files import ModelError
from helpers.models import hub_files, loading
from helpers.models.whole_weights import not_finite
from tests import lookalikes

TEXTS = ["\n\nHuman: Name a herb.\n\nAssistant:", " Basil.", " Take some thyme."]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = model_files.WEIGHTS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four kinds of models, whole."""
    root = tmp_path_factory.mktemp("whole")
    lookalikes.opt_350m(root / "opt", TEXTS)
    lookalikes.deepseek_coder(root / "llama", TEXTS)  # its language head is its own
    lookalikes.deberta(root / "deberta", TEXTS)
    scorer = loading.load_scorer(root / "opt", seed=0)
    loading.save(scorer, loading.load_tokenizer(root / "opt"), root / "scorer")
    return root


@pytest.fixture
def whole(made: Path, tmp_path: Path) -> Path:
    """Copies of them, to be spoilt."""
    return shutil.copytree(made, tmp_path / "models")


def changed(folder: Path, **tensors: torch.Tensor | None) -> Path:
    """The folder with some tensors replaced or left out; `__` stands for a dot."""
    held = load_file(folder / WEIGHTS)
    for name, tensor in tensors.items():
        held.pop(name.replace("__", "."), None)
        if tensor is not None:
            held[name.replace("__", ".")] = tensor
    save_file(held, folder / WEIGHTS, {"format": "pt"})
    return folder


def refused(load: object, folder: Path, *said: str) -> None:
    with pytest.raises(ModelError) as error:
        load(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    for each in (str(folder), *said):
        assert each in str(error.value)


def judge(folder: Path) -> torch.nn.Module:
    return loading.load_scorer(folder, new_head=False)


# --- missing, further and other tensors -----------------------------------------------


def test_whole_models_are_loaded(made: Path) -> None:
    for name in ("opt", "llama", "scorer"):
        loading.load_tokenizer(made / name)
        loading.load_scorer(made / name, seed=0)
    for name in ("opt", "llama"):  # of opt the head is tied and in no file
        assert loading.load_policy(made / name).get_output_embeddings() is not None
    judge(made / "scorer")
    judge(made / "deberta")


def test_a_folder_with_three_tensors_is_no_model(whole: Path) -> None:
    folder = whole / "llama"
    held = load_file(folder / WEIGHTS)
    kept = dict(list(held.items())[:3])
    save_file(kept, folder / WEIGHTS, {"format": "pt"})
    for load in (loading.load_policy, loading.load_scorer):
        refused(load, folder, "tensors are missing: ", ", ...")
    count = f"{len(held) - 3} of {len(held)} tensors"
    refused(loading.load_policy, folder, count)


def test_one_tensor_that_is_missing_is_named(whole: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    folder = changed(whole / "llama", **{name.replace(".", "__"): None})
    refused(loading.load_policy, folder, f"1 of 21 tensors are missing: {name}")
    refused(loading.load_scorer, folder, name)


def test_a_head_that_is_missing_is_drawn_for_scorers_only(whole: Path) -> None:
    folder = changed(whole / "llama", lm_head__weight=None)
    loading.load_scorer(folder, seed=0)
    refused(loading.load_policy, folder, "lm_head.weight")
    refused(judge, folder, "score.weight")


def test_a_tied_head_does_not_stand_for_missing_embeddings(whole: Path) -> None:
    names = [name for name in load_file(whole / "opt" / WEIGHTS) if "embed_tok" in name]
    (name,) = names
    folder = changed(whole / "opt", **{name.replace(".", "__"): None})
    refused(loading.load_policy, folder, "embed_tokens.weight")


def test_a_head_that_is_not_used_is_no_fault(whole: Path) -> None:
    folder = changed(whole / "llama", score__weight=torch.ones(1, 16))
    loading.load_policy(folder)
    loading.load_scorer(folder)


def test_layers_that_the_configuration_lacks_are_refused(whole: Path) -> None:
    config = whole / "llama" / "config.json"
    content = json.loads(config.read_text()) | {"num_hidden_layers": 1}
    content.pop("layer_types", None)
    config.write_text(json.dumps(content))
    refused(
        loading.load_policy, whole / "llama", "9 tensors are of layers", "layers.1."
    )


def test_a_tensor_of_another_shape_is_refused(whole: Path) -> None:
    folder = changed(whole / "llama", model__norm__weight=torch.ones(8))
    refused(loading.load_policy, folder, "model.norm.weight is (8,): expected (16,)")
    folder = changed(whole / "scorer", score__weight=torch.ones(2, 16))
    refused(judge, folder, "score.weight is (2, ")
    refused(loading.load_scorer, folder, "score.weight is (2, ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(whole: Path, value: float) -> None:
    weight = torch.ones(16)
    weight[3] = value
    folder = changed(whole / "llama", model__norm__weight=weight)
    for load in (loading.load_policy, loading.load_scorer):
        refused(load, folder, "model.norm.weight", "finite")


def test_what_is_not_finite_is_found_in_every_dtype() -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        fine, nan = torch.ones(4, dtype=dtype), torch.ones(4, dtype=dtype)
        nan[2] = float("nan")
        assert not_finite([("a", fine), ("b", nan)]) == "b"
        assert not_finite([("a", fine), ("none", fine[:0])]) is None
    assert not_finite([("ids", torch.arange(3))]) is None


# --- files that are broken, or name others --------------------------------------------


def test_an_index_that_leaves_the_folder_reads_nothing(whole: Path) -> None:
    """Both of the review's: a pickle that would act when loaded, and weights outside."""
    folder, outside = whole / "llama", whole / "outside.safetensors"
    marker = whole / "acted"

    class Acts:
        def __reduce__(self):
            return (Path.touch, (marker,))

    (whole / "x").mkdir()
    torch.save({"w": Acts()}, whole / "x" / "pytorch_model.bin")
    held = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).rename(outside)
    for name in ("../x/pytorch_model.bin", "../outside.safetensors"):
        content = {"metadata": {}, "weight_map": dict.fromkeys(held, name)}
        (folder / model_files.INDEX).write_text(json.dumps(content))
        for load in (loading.load_policy, loading.load_scorer, judge):
            refused(load, folder, "plain name")
    assert not marker.exists()


def test_weights_in_parts_are_loaded(whole: Path) -> None:
    folder = whole / "llama"
    expected = loading.load_policy(folder).state_dict()
    held, names = load_file(folder / WEIGHTS), ["a.safetensors", "b.safetensors"]
    places = {tensor: names[at % 2] for at, tensor in enumerate(held)}
    for name in names:
        part = {tensor: held[tensor] for tensor in held if places[tensor] == name}
        save_file(part, folder / name, {"format": "pt"})
    (folder / WEIGHTS).unlink()
    content = {"metadata": {}, "weight_map": places}
    (folder / model_files.INDEX).write_text(json.dumps(content))
    found = loading.load_policy(folder).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("known", [True, False])
def test_code_that_a_folder_brings_is_never_run(whole: Path, known: bool) -> None:
    """A known kind of model is loaded by the library's own code, another is refused."""
    folder, marker = whole / "llama", whole / "acted"
    names = {
        "AutoConfig": "own.Config",
        "AutoModelForCausalLM": "own.Model",
        "AutoTokenizer": ["own.Tokenizer", None],
    }
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    (folder / "own.py").write_text(code)
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text()) | {"auto_map": names}
        if not known and name == "config.json":
            content["model_type"] = "own"
        (folder / name).write_text(json.dumps(content))
    loading.load_tokenizer(folder) if known else None
    if known:
        loading.load_policy(folder)
    else:
        refused(loading.load_policy, folder, "cannot be loaded as a model")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", ""),
        ("config.json", "[]"),
        ("config.json", '{"model_type": "no such kind"}'),
        ("config.json", '{"model_type": "llama", "hidden_size": "many"}'),
        (WEIGHTS, "garbage"),
        ("adapter_config.json", '{"base_model_name_or_path": "x/y"}'),
    ],
)
def test_a_broken_model_is_told_in_one_line(whole: Path, name: str, text: str) -> None:
    (whole / "llama" / name).write_text(text)
    for load in (loading.load_policy, loading.load_scorer):
        refused(load, whole / "llama")


def test_weights_that_were_cut_short(whole: Path) -> None:
    file = whole / "llama" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-10])
    refused(loading.load_policy, whole / "llama", WEIGHTS, "cut short")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": "1.0", "model": 3}'])
def test_a_broken_tokenizer_is_told_in_one_line(whole: Path, text: str) -> None:
    (whole / "llama" / "tokenizer.json").write_text(text)
    refused(loading.load_tokenizer, whole / "llama")


# --- the hub --------------------------------------------------------------------------


@pytest.fixture
def cached(whole: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`some/model` as the hub's cache holds it, and no network: the snapshot's folder."""
    cache = whole / "cache"
    snapshot = cache / "models--some--model" / "snapshots" / COMMIT
    blobs = cache / "models--some--model" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate((whole / "llama").iterdir()):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    for module in (huggingface_hub.constants, transformers.utils.hub.constants):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    return snapshot


def test_a_model_of_the_hub_is_loaded_from_its_cache(cached: Path) -> None:
    loading.load_policy(f"some/model@{COMMIT}")
    loading.load_policy(cached)  # by its folder: links to blobs


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (model_files.INDEX, '{"weight_map": {"w": "../x.bin"}}', "plain name"),
        ("adapter_config.json", '{"base_model_name_or_path": "x/y"}', "an adapter"),
        ("config.json", '{"model_type": "opt", "transformers_weights": "x"}', "names"),
    ],
)
def test_a_model_of_the_hub_is_held_to_the_same(
    cached: Path, name: str, text: str, said: str
) -> None:
    (cached / name).unlink(missing_ok=True)
    (cached / name).write_text(text)
    with pytest.raises(ModelError, match=said):
        loading.load_policy(f"some/model@{COMMIT}")


def test_a_hub_that_does_not_answer_is_not_taken_for_a_no(monkeypatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(hub_files, "hf_hub_download", unreachable)
    monkeypatch.setattr(hub_files, "is_offline_mode", lambda: False)
    with pytest.raises(ModelError, match="no connection"):
        hub_files.fetched("some/model", COMMIT, "config.json")
    monkeypatch.setattr(hub_files, "is_offline_mode", lambda: True)
    assert hub_files.fetched("some/model", COMMIT, "config.json") is None
