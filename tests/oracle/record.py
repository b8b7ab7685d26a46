"""Record one rollout of TRL 1.12.0's PPO trainer, its last: `make oracle` runs this.

    python tests/oracle/record.py FOLDER

It runs in an environment of its own, without this project. A tiny OPT policy, critic,
reward model and reference, prompts and a tokenizer are made; TRL's own trainer takes one
rollout and its updates. At every backward pass the tensors of its `train` are read from
the frame that called: nothing of TRL's is written again here. FOLDER then holds, for
each case, `rollout.safetensors`, and for each update `update-N.safetensors` with the
rows, losses, gradients, and the weights that gave them.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    OPTConfig,
    OPTForCausalLM,
    OPTForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

WORDS, EPISODES, REPLY = 12, 16, 10  # an end is likely: 1 token of 12
SHAPE = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "dropout": 0.0}
CASES = {  # settings of TRL; replies of full length, and replies that end
    "full": {"stop_token": None, "kl_estimator": "k1"},
    "early": {"stop_token": "eos", "kl_estimator": "k3"},
}
SETTINGS = {
    "total_episodes": EPISODES,
    "per_device_train_batch_size": EPISODES,
    "num_mini_batches": 2,
    "num_ppo_epochs": 2,
    "response_length": REPLY,
    "temperature": 0.7,
    "kl_coef": 0.3,
    "missing_eos_penalty": 0.6,
    "gamma": 0.97,
    "lam": 0.9,
    "cliprange": 0.05,  # narrow, so that updates do clip
    "cliprange_value": 0.05,
    "vf_coef": 0.4,
    "learning_rate": 3e-3,
}
QUIET = {
    "num_sample_generations": 0,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}
ROLLOUT = (
    *("query_responses", "logprobs", "ref_logprobs", "values", "scores"),
    *("rewards", "advantages", "returns", "padding_mask", "padding_mask_p1"),
    *("sequence_lengths", "contain_eos_token"),
)
UPDATE = ("pg_loss", "vf_loss", "new_logprobs", "vpred")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word a token: `w2 w7` reads as it was written."""
    vocabulary = {"<pad>": 0, "</s>": 1, **{f"w{i}": i for i in range(2, WORDS)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="w2"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, padding_side="left", unk_token="w2", **special
    )


def make_model(kind: type[PreTrainedModel], seed: int) -> PreTrainedModel:
    """A small OPT with random weights that never samples padding."""
    torch.manual_seed(seed)
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    config = OPTConfig(
        vocab_size=WORDS,
        word_embed_proj_dim=SHAPE["hidden_size"],
        num_attention_heads=2,
        max_position_embeddings=32,
        init_std=0.25,
        num_labels=1,
        **SHAPE,
        **ids,
    )
    model = kind(config).eval()
    with torch.no_grad():  # padding leans against what every final state has in common
        decoder = model.get_decoder()
        decoder.final_layer_norm.bias[0] = 4.0
        decoder.embed_tokens.weight[0] = 0.0
        decoder.embed_tokens.weight[0, 0] = -10.0
    return model


def make_parts(folder: Path) -> dict[str, PreTrainedModel]:
    """Policy, reference, critic and reward model, all different, and saved."""
    parts = {
        "policy": make_model(OPTForCausalLM, 1),
        "reference": make_model(OPTForCausalLM, 2),
        "critic": make_model(OPTForSequenceClassification, 3),
        "reward": make_model(OPTForSequenceClassification, 4),
    }
    for name, model in parts.items():
        model.save_pretrained(folder / name)
    return parts


def make_prompts() -> Dataset:
    """As many prompts as episodes, of 3 to 8 words, so that most are padded."""
    chance = torch.Generator().manual_seed(5)
    lengths = torch.randint(3, 9, (EPISODES,), generator=chance).tolist()
    rows = [
        torch.randint(2, WORDS, (length,), generator=chance).tolist()
        for length in lengths
    ]
    return Dataset.from_dict({"input_ids": rows})


def watch(trainer: PPOTrainer, folder: Path) -> None:
    """Write what `train` holds whenever it calls for a backward pass."""
    backward = trainer.accelerator.backward
    folder.mkdir(parents=True, exist_ok=True)
    state = {"update": 0}

    def watched(loss: Tensor, **options) -> None:
        seen = sys._getframe(1).f_locals
        if state["update"] == 0:
            tensors = {name: seen[name] for name in ROLLOUT}
            context = torch.tensor(seen["context_length"])
            write(tensors | {"context_length": context}, folder / "rollout.safetensors")
        weights = copied(trainer.model, lambda parameter: parameter)
        backward(loss, **options)
        tensors = {name: seen[name] for name in UPDATE} | {"loss": loss}
        tensors["rows"] = torch.from_numpy(seen["micro_batch_inds"])
        tensors |= {f"weight.{name}": each for name, each in weights.items()}
        gradients = copied(trainer.model, lambda parameter: parameter.grad)
        tensors |= {f"grad.{name}": each for name, each in gradients.items()}
        write(tensors, folder / f"update-{state['update']}.safetensors")
        state["update"] += 1

    trainer.accelerator.backward = watched


def copied(model: nn.Module, part) -> dict[str, Tensor]:
    """A part of each parameter, copied; those without it are left out."""
    found = {name: part(parameter) for name, parameter in model.named_parameters()}
    return {name: each.clone() for name, each in found.items() if each is not None}


def write(tensors: dict[str, Tensor], file: Path) -> None:
    save_file({n: t.detach().contiguous() for n, t in tensors.items()}, file)


def record(case: str, folder: Path) -> None:
    """Let TRL take one rollout and its updates."""
    parts = make_parts(folder)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = PPOTrainer(
            PPOConfig(output_dir=scratch, seed=7, **SETTINGS, **QUIET, **CASES[case]),
            make_tokenizer(),
            parts["policy"],
            parts["reference"],
            parts["reward"],
            make_prompts(),
            parts["critic"],
        )
        watch(trainer, folder / case)
        trainer.train()
    settings = {**SETTINGS, **CASES[case]}
    (folder / case / "settings.json").write_text(json.dumps(settings), "utf-8")


if __name__ == "__main__":
    out = Path(sys.argv[1])
    make_tokenizer().save_pretrained(out / "tokenizer")
    for each in CASES:
        record(each, out)
