"""Make a base model of your own for `pretrained`: here a small Llama that knows nothing.

python book/examples/my_model.py cpu my_model
"""

import sys
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

from helpers.core.paths import PROJECT
from helpers.core.progress import quiet
from helpers.models.loading import build_tokenizer
from helpers.runs import store


def main(run: str, folder: Path) -> None:
    """The tokenizer is learned from the pairs of a run; the weights are random."""
    pairs = store.read_pairs(PROJECT.run(run), "train")
    tokenizer = build_tokenizer((pairs["prompt"] + pairs["chosen"]).tolist(), 1000)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    quiet()
    main(sys.argv[1], Path(sys.argv[2]))
