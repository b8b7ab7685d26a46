"""Small look-alikes of what the hub holds: random weights, true architecture and files.

Each function fills a folder as `from_pretrained` would find it on the hub.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import (
    ByteLevelBPETokenizer,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.models import BPE, Unigram
from tokenizers.trainers import BpeTrainer
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

# the chat formats of the two families of coders
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INSTRUCTION = (
    "{{ bos_token }}{% for m in messages %}### Instruction:\n{{ m['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}### Response:\n{% endif %}"
)


def opt_350m(folder: Path, texts: Iterable[str]) -> Path:
    """`facebook/opt-350m`: narrower embeddings than states, norms after the blocks.

    Its tokenizer is GPT-2's, as two files, and starts every text with `</s>`.
    """
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, 400, special_tokens=special, show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    bpe.save_model(str(folder))
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "add_bos_token": True,
        "add_prefix_space": False,
        "bos_token": "</s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "</s>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=416,  # more rows than tokens, as on the hub
        hidden_size=16,
        word_embed_proj_dim=8,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        do_layer_norm_before=False,
        pad_token_id=1,
        bos_token_id=2,
        eos_token_id=2,
    )
    OPTForCausalLM(config).half().save_pretrained(folder)
    return folder


def qwen_coder(folder: Path, texts: Iterable[str]) -> Path:
    """`Qwen/Qwen2.5-Coder-0.5B-Instruct`: ChatML, no start token, tied embeddings."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = byte_tokenizer(
        texts,
        special,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        chat_template=CHATML,
    )
    config = Qwen2Config(tie_word_embeddings=True, **shape_of(tokenizer))
    model = Qwen2ForCausalLM(config)
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    model.generation_config.eos_token_id = ends
    return saved(model, tokenizer, folder)


def deepseek_coder(folder: Path, texts: Iterable[str]) -> Path:
    """`deepseek-ai/deepseek-coder-1.3b-instruct`: a Llama whose tokenizer adds a start."""
    start, end = "<｜begin▁of▁sentence｜>", "<|EOT|>"
    special = [start, "<｜end▁of▁sentence｜>", end]
    tokenizer = byte_tokenizer(
        texts,
        special,
        bos_token=start,
        pad_token="<｜end▁of▁sentence｜>",
        eos_token=end,
        chat_template=INSTRUCTION,
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, tokenizer.bos_token_id)]
    )
    config = LlamaConfig(**shape_of(tokenizer))
    return saved(LlamaForCausalLM(config), tokenizer, folder)


def smollm2(folder: Path, texts: Iterable[str]) -> Path:
    """`HuggingFaceTB/SmolLM2-135M-Instruct`: a Llama in ChatML; padding is its end."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = byte_tokenizer(
        texts,
        special,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|im_end|>",
        chat_template=CHATML,
    )
    config = LlamaConfig(tie_word_embeddings=True, **shape_of(tokenizer))
    return saved(LlamaForCausalLM(config), tokenizer, folder)


def gpt2(folder: Path, texts: Iterable[str]) -> Path:
    """`openai-community/gpt2`: one special token for everything, none for padding."""
    bpe = ByteLevelBPETokenizer()
    end = "<|endoftext|>"
    bpe.train_from_iterator(texts, 400, special_tokens=[end], show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    bpe.save_model(str(folder))
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), end)
    settings = {"tokenizer_class": "GPT2Tokenizer", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=bpe.get_vocab_size(),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=256,
        bos_token_id=0,
        eos_token_id=0,
    )  # dropout 0.1, as on the hub
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def llama_2(folder: Path, texts: Iterable[str]) -> Path:
    """`meta-llama/Llama-2-7b-hf`: a space mark before every text, bytes, no padding."""
    special = ["<unk>", "<s>", "</s>"]
    backend = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    # no token spans lines, and none spells a special one
    lines = [line for text in texts for line in text.split("\n") if "<" not in line]
    trainer = BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    backend.train_from_iterator(lines, trainer)
    parts = json.loads(backend.to_str())
    vocabulary = parts["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    backend = Tokenizer.from_str(json.dumps(parts))
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    return saved(
        LlamaForCausalLM(LlamaConfig(**shape_of(tokenizer))), tokenizer, folder
    )


def deberta(folder: Path, texts: Iterable[str]) -> Path:
    """`OpenAssistant/reward-model-deberta-v3-large-v2`: a judge of pairs of texts."""
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    letters = sorted(set("▁" + "".join(texts)) - {" ", "\n"})
    pieces = [(token, 0.0) for token in special] + [(x, -3.0) for x in letters]
    backend = Tokenizer(Unigram(pieces, unk_id=3))
    backend.normalizer = normalizers.Replace("\n", " ")
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        relative_attention=True,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.5,  # so that replies score visibly apart
    )
    return saved(DebertaV2ForSequenceClassification(config), tokenizer, folder)


# --- what they share ---------------------------------------------------------------------


def byte_tokenizer(
    texts: Iterable[str], special: list[str], **settings: str
) -> PreTrainedTokenizerFast:
    """A byte-level BPE with these special tokens."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, 400, special_tokens=special, show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, **settings)


def shape_of(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """A tiny Llama-like shape for a tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def saved(model: torch.nn.Module, tokenizer, folder: Path) -> Path:
    """Model and tokenizer in `folder`, in the hub's layout."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
