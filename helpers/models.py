"""Tokenizers and models: built small here, or loaded from a folder or the hub.

Every stage asks this file for its models, so the rules of safe loading stand in one
place: safetensors weights only, no remote code, a revision that is named.
"""

from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

PAD, EOS = "<pad>", "</s>"  # the names OPT's own tokenizer uses
SAFE = {"use_safetensors": True, "trust_remote_code": False}


class ModelError(ValueError):
    """A model or tokenizer that cannot be built or loaded as asked."""


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on `texts`; every byte has a token, so nothing is unknown.

    Raises ModelError if `vocab_size` leaves no room beyond the 256 bytes and 2 specials.
    """
    if vocab_size < 260:
        raise ModelError(f"vocab_size {vocab_size}: expected at least 260 (256 bytes)")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts, vocab_size, special_tokens=[PAD, EOS], show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_opt(
    tokenizer: PreTrainedTokenizerBase,
    *,
    hidden: int,
    layers: int,
    heads: int,
    max_positions: int,
    seed: int,
) -> OPTForCausalLM:
    """A small OPT (Zhang et al. 2022) with random weights drawn from `seed`.

    Their spread is OPT's 0.02 at the width of its 1.3B model and grows as 1/sqrt(width)
    below it: with 0.02, a narrow model learns to look back at the request far later.
    """
    torch.manual_seed(seed)
    config = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        word_embed_proj_dim=hidden,
        ffn_dim=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=max_positions,
        init_std=0.02 * (2048 / hidden) ** 0.5,
        dropout=0.0,  # small data, one or two epochs: nothing to regularise
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return OPTForCausalLM(config)


def load_tokenizer(
    source: str | Path, revision: str = "main"
) -> PreTrainedTokenizerBase:
    """Load a tokenizer; pads on the left, so that replies start at one column."""
    tokenizer = AutoTokenizer.from_pretrained(
        str(source), revision=revision, trust_remote_code=False, padding_side="left"
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(source: str | Path, revision: str = "main") -> PreTrainedModel:
    """Load a causal language model in float32, on the best device, ready to generate."""
    model = AutoModelForCausalLM.from_pretrained(
        str(source), revision=revision, dtype=torch.float32, **SAFE
    )
    return model.to(device()).eval()


def load_scorer(
    source: str | Path, seed: int = 0, revision: str = "main"
) -> PreTrainedModel:
    """Load a model with one scalar output per sequence (a reward model or a critic).

    Where `source` holds a language model, the missing score head is drawn from `seed`.
    """
    torch.manual_seed(seed)
    with expected_missing_head():
        model = AutoModelForSequenceClassification.from_pretrained(
            str(source), revision=revision, num_labels=1, dtype=torch.float32, **SAFE
        )
    return model.to(device()).eval()


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write model and tokenizer to the folder `out`, in the hub's layout."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def native_bf16() -> bool:
    """Whether the GPU, if there is one, computes in bfloat16.

    T4 and older only emulate it, slowly: ask the chip, not the library.
    """
    cuda = torch.cuda.is_available()
    return cuda and torch.cuda.get_device_capability() >= (8, 0)


def size(model: PreTrainedModel) -> int:
    """Number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def expected_missing_head():
    """Hide the report that a score head is new and a language head unused: both are meant."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
