"""The two writers of CodePMP's pairs: small models trained here, or coders of the hub.

Both are asked for every function of 02_code_pairs and leave `replies.parquet`, whose
columns are id and reply.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerBase

from helpers import codepairs, models
from helpers.generate import generate
from helpers.recipes import base_folder, fit_replies, read_code
from helpers.training import Fit


def code_model(
    out: Path,
    *,
    run: Path,
    method: str,
    shapes: dict[str, dict],
    fits: dict[str, Fit],
    seed: int,
    max_new_tokens: int,
    temperature: float,
) -> list[dict]:
    """The strong or the weak coder: trained on code, then asked for every description."""
    functions = read_code(run, "functions")
    start = base_folder(run)
    tokenizer = models.load_tokenizer(start)
    if shapes[method]:
        model = models.build_opt(tokenizer, seed=seed, **shapes[method])
    else:  # no shape of its own: goes on from the base model
        model = models.load_policy(start)
    prompts, replies = map(list, zip(*codepairs.code_documents(functions)))
    rows = fit_replies(model, tokenizer, prompts, replies, fits[method], out)
    answers = generate(
        model.eval(),
        tokenizer,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        max_prompt_tokens=fits[method].max_length - max_new_tokens,
    )
    keep_replies(functions, [answer.text for answer in answers], out)
    return [*rows, {"metric": "parameters", "value": models.size(model)}]


def pretrained_coder(
    out: Path,
    *,
    run: Path,
    method: str,
    sources: dict[str, str],
    seed: int,
    max_new_tokens: int,
    max_length: int,
    temperature: float,
) -> list[dict]:
    """An instruction-tuned coder, not trained here, asked for every description."""
    source, functions = sources[method], read_code(run, "functions")
    model = models.load_policy(source, models.reading_dtype())
    tokenizer = models.load_tokenizer(source)
    answers = generate(
        model,
        tokenizer,
        [chat_prompt(tokenizer, row) for row in functions.to_dict("records")],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        max_prompt_tokens=max_length,
    )
    keep_replies(functions, [code_of(answer.text) for answer in answers], out)
    return [{"metric": "parameters", "value": models.size(model)}]


def keep_replies(functions: pd.DataFrame, replies: list[str], out: Path) -> None:
    """Write a coder's code, in the order of the functions, into its job's folder."""
    table = pd.DataFrame({"id": functions["id"], "reply": replies})
    table.to_parquet(out / "replies.parquet")


# --- coders of the hub -----------------------------------------------------------------


def chat_prompt(
    tokenizer: PreTrainedTokenizerBase, function: Mapping[str, object]
) -> str:
    """What an instruction-tuned coder is asked for a row of `harvest`, in its own format.

    Raises ValueError if its tokenizer has no chat template.
    """
    if tokenizer.chat_template is None:
        raise ValueError(f"{tokenizer.name_or_path}: a writer needs a chat template")
    asked = (
        "Write one Python function, without a docstring, comments or explanations, "
        f"that fits this description:\n{codepairs.describe(function)}"
    )
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked}], tokenize=False, add_generation_prompt=True
    )
    start = tokenizer.bos_token
    adds_start = start and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    # a start that the tokenizer adds by itself would stand there twice
    return text.removeprefix(start) if adds_start else text


def code_of(reply: str) -> str:
    """The code in a chat reply: its first fenced block, or all of it."""
    fenced = re.search(r"```(?:[Pp]ython|py)?[ \t]*\n(.*?)(?:```|\Z)", reply, re.DOTALL)
    return (fenced[1] if fenced else reply).strip("\n").rstrip()
