"""Who writes CodePMP's pairs: small models trained here, or coders of the hub.

A writer is asked for every function of 02_code_pairs and leaves `replies.parquet`, with
columns id and reply. Functions are rows of `codepairs.harvest`, as dictionaries: a job
depends on what it is asked. A coder of the hub can also describe them, as the paper's.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerBase

from helpers import codepairs, models
from helpers.generate import generate
from helpers.recipes import base_folder, fit_replies
from helpers.training import Fit

Function = Mapping[str, object]


def code_model(
    out: Path,
    *,
    run: Path,
    method: str,
    functions: Sequence[Function],
    shapes: dict[str, dict],
    fits: dict[str, Fit],
    seed: int,
    max_new_tokens: int,
    temperature: float,
) -> list[dict]:
    """The strong or the weak coder: trained on code, then asked for every description."""
    start = base_folder(run)
    tokenizer = models.load_tokenizer(start)
    if shapes[method]:
        model = models.build_opt(tokenizer, seed=seed, **shapes[method])
    else:  # no shape of its own: goes on from the base model
        model = models.load_policy(start)
    documents = codepairs.code_documents(pd.DataFrame(functions))
    prompts, replies = map(list, zip(*documents))
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
    method: str,
    functions: Sequence[Function],
    sources: dict[str, str],
    seed: int,
    max_new_tokens: int,
    max_length: int,
    temperature: float,
) -> list[dict]:
    """An instruction-tuned coder, not trained here; method: one of `REQUESTS`."""
    model = models.load_policy(sources[method], models.reading_dtype())
    tokenizer = models.load_tokenizer(sources[method])
    request, taken = REQUESTS[method]
    answers = generate(
        model,
        tokenizer,
        [chat_prompt(tokenizer, request(each)) for each in functions],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        max_prompt_tokens=max_length,
    )
    keep_replies(functions, [taken(answer.text) for answer in answers], out)
    return [{"metric": "parameters", "value": models.size(model)}]


def keep_replies(
    functions: Sequence[Function], replies: Sequence[str], out: Path
) -> None:
    """Write the replies, in the order of the functions, into a job's folder."""
    ids = [each["id"] for each in functions]
    table = pd.DataFrame({"id": ids, "reply": list(replies)})
    table.to_parquet(out / "replies.parquet")


# --- what coders of the hub are asked --------------------------------------------------


def chat_prompt(tokenizer: PreTrainedTokenizerBase, asked: str) -> list[dict]:
    """A request as a conversation, for the chat template of an instruction-tuned model.

    Raises ValueError if its tokenizer has none.
    """
    if tokenizer.chat_template is None:
        raise ValueError(f"{tokenizer.name_or_path}: a coder needs a chat template")
    return [{"role": "user", "content": asked}]


def request_for_code(function: Function) -> str:
    """What a writer is asked."""
    return (
        "Write one Python function, without a docstring, comments or explanations, "
        f"that fits this description:\n{codepairs.describe(function)}"
    )


def request_for_description(function: Function) -> str:
    """What a describer is asked; the paper's generates the instruction from the code."""
    return (
        "Say in one sentence what this Python function is for, so that a programmer "
        f"could write it from your sentence alone:\n```python\n{function['code']}\n```"
    )


def code_of(reply: str) -> str:
    """The code in a chat reply: its first fenced block, or all of it."""
    fenced = re.search(r"```(?:[Pp]ython|py)?[ \t]*\n(.*?)(?:```|\Z)", reply, re.DOTALL)
    return (fenced[1] if fenced else reply).strip("\n").rstrip()


# method of a job -> what is asked of a function, and what is taken from the reply
REQUESTS = {
    "strong": (request_for_code, code_of),
    "weak": (request_for_code, code_of),
    "describer": (request_for_description, str.strip),
}
