"""Tokenizers and models: built small here, or loaded from a folder or the hub.

Every stage asks this file for its models, so the rules of safe loading stand in one
place: safetensors weights only, no remote code, a revision that is named, all tensors
there and finite.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import HfApi
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
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

from helpers.core import hub, model_files
from helpers.core.model_files import ModelError, told_in_one_line
from helpers.models import encoding
from helpers.models.hardware import device
from helpers.models.hub_files import check_files
from helpers.models.own_forward import check_own_forward
from helpers.models.whole_weights import check_whole

PAD, EOS = "<pad>", "</s>"  # the names OPT's own tokenizer uses
# tokens that stand in many vocabularies and come of no text: names of padding, and a byte
# that UTF-8 never has, as GPT-2's and as Llama's tokenizers write it
UNWRITTEN = ("<pad>", "[PAD]", "<|pad|>", "\u00ff", "<0xFF>")
SAFE = {"use_safetensors": True, "trust_remote_code": False}
# tensors that are missing or of another shape are told, and refused here
REPORTED = {"output_loading_info": True, "ignore_mismatched_sizes": True}


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


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer; pads on the left, so that replies start at one column.

    Where padding is missing or is the end token, as with GPT-2 and many others, it gets
    a token of its own (`padding_of`): who looks for the last token that is no padding,
    as the sequence classifiers of transformers do, would overlook the end. An encoder's
    separator stands for the end that it does not have. Raises ModelError for what is no
    tokenizer, naming its file or its folder.
    """
    name, commit = hub.located(source)
    model_files.check_tokenizer(Path(name))
    with told_in_one_line(source, "a tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(
            name, revision=commit, trust_remote_code=False, padding_side="left"
        )
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token
    tokenizer.pad_token = padding_of(tokenizer)
    return tokenizer


def padding_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token to pad with: the tokenizer's own, or one that no text gives.

    Never the end token, if there is another. None is added, since a model has no row for
    it; the trainers rest on attention masks, so the end serves where nothing is found.
    """
    end, vocabulary = tokenizer.eos_token, tokenizer.get_vocab()
    if tokenizer.pad_token not in (None, end):
        return tokenizer.pad_token
    for token in (*UNWRITTEN, tokenizer.unk_token):
        index = vocabulary.get(token)
        if index is None or token == end:
            continue
        if index not in encoding.plain_tokens(tokenizer, token):
            return token
    return end


# --- models that are there ------------------------------------------------------------


def from_pretrained(
    loader: type, source: str | Path, *, new_head: bool = False, **settings: object
) -> PreTrainedModel:
    """`loader.from_pretrained` of a folder or a pinned hub name, from safetensors only.

    new_head: whether the head is drawn anew where it is missing. Raises ModelError, in
    one line, for files that may not be read (`model_files`) and for a model that is not
    whole (`whole_weights`).
    """
    name, commit = hub.located(source)
    check_files(name, commit)
    with told_in_one_line(source, "a model"), no_report():
        model, report = read(loader, name, commit, settings)
    check_whole(model, report, source, new_head)
    return model


def read(loader: type, name: str, commit: str, settings: Mapping) -> tuple:
    """A model and the library's report of its tensors.

    Where a pinned commit has no safetensors, the hub's own conversion is taken, which
    the library finds for the newest commit only: the pinned one must be that.
    """
    settings = {"dtype": torch.float32, **settings, **SAFE, **REPORTED}
    try:
        return loader.from_pretrained(name, revision=commit, **settings)
    except OSError as error:
        if "safetensors" not in str(error) or Path(name).is_dir():
            raise
        if HfApi().model_info(name).sha != commit:
            raise ModelError(
                f"{name}: commit {commit[:8]} has no safetensors and is not the newest, "
                "so the hub's conversion is of other weights; name a commit that has"
            ) from error
        return loader.from_pretrained(name, **settings)


@contextmanager
def no_report() -> Iterator[None]:
    """Hide the library's report of tensors: `check_whole` reads it, and says what is wrong."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def load_policy(
    source: str | Path, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """Load a causal language model on the best device, ready to generate.

    Raises ModelError for one that could not be sampled here (`own_forward`).
    """
    model = from_pretrained(AutoModelForCausalLM, source, dtype=dtype)
    model = model.to(device()).eval()
    check_own_forward(model, source)
    return model


def load_scorer(
    source: str | Path, seed: int = 0, new_head: bool = True
) -> PreTrainedModel:
    """Load a model with one scalar output per sequence (a reward model or a critic).

    Where `source` holds a language model, the missing score head is drawn from `seed`, or
    it is refused if there is to be no `new_head`.
    """
    torch.manual_seed(seed)
    loader = AutoModelForSequenceClassification
    model = from_pretrained(loader, source, new_head=new_head, num_labels=1)
    return model.to(device()).eval()


def check_scored(model: PreTrainedModel, source: object) -> None:
    """Raise ModelError if no reward model of this family can be loaded."""
    if type(model.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelError(
            f"{source}: transformers has no sequence classifier of the family "
            f"{model.config.model_type}, so no reward model could start from it"
        )


def new_scorer(
    tokenizer: PreTrainedTokenizerBase, shape: Mapping[str, int], seed: int
) -> PreTrainedModel:
    """A scorer of random weights, all drawn from `seed`; shape: as `build_opt` takes."""
    config = build_opt(tokenizer, **shape, seed=seed).config
    config.num_labels = 1
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)
    return model.to(device()).eval()


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write model and tokenizer to the folder `out`, in the hub's layout.

    The configuration names the tokenizer's padding, where a classifier of transformers
    looks for it; no padding where it is the end token, so that batches are refused
    rather than read at the token before their end.
    """
    own = tokenizer.pad_token_id != tokenizer.eos_token_id
    model.config.get_text_config().pad_token_id = (
        tokenizer.pad_token_id if own else None
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def disable_dropout(model: nn.Module) -> None:
    """Switch all dropout off for good, in place, adapters' too.

    OPT, Llama and others keep rates as numbers beside their layers of dropout, which
    TRL's function of this name passes over. A configuration is left as it is.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
