"""Who writes CodePMP's pairs: copyists with errors, small models, or coders of the hub.

A writer is asked for every function of 02_code_pairs and leaves `replies.parquet`, with
columns id and reply. Functions are rows of `harvesting.harvest`, as dictionaries: a job
depends on what it is asked. A coder of the hub can also describe them, as the paper's.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerBase

from helpers.core.hub import plain_name
from helpers.data.code.descriptions import code_documents, code_prompt, describe
from helpers.data.code.mutations import written
from helpers.models import hardware, loading
from helpers.models.generation import generate
from helpers.recipes.language_models import fit_replies
from helpers.runs import store
from helpers.trainers.training import Fit

Function = Mapping[str, object]


def copyist(
    out: Path,
    *,
    method: str,
    functions: Sequence[Function],
    errors: dict[str, float],
    seed: int,
) -> list[dict]:
    """Copies each function with errors, `errors[method]` on average (`code_mutations`)."""
    replies = [
        written(each["code"], errors[method], f"{seed}:{method}:{each['id']}")
        for each in functions
    ]
    keep_replies(functions, replies, out)
    return [{"metric": "errors", "value": errors[method]}]


def code_model(
    out: Path,
    *,
    run: Path,
    method: str,
    functions: Sequence[Function],
    learned: Sequence[Function],
    shapes: dict[str, dict],
    fits: dict[str, Fit],
    seed: int,
    max_new_tokens: int,
    temperature: float,
) -> list[dict]:
    """The strong or the weak coder: trained on code, then asked for every description.

    learned: the functions that it is trained on. Raises ValueError if it is asked for one
    of them, whose code it could know by heart.
    """
    check_apart(functions, learned)
    start = store.base_folder(run)
    tokenizer = loading.load_tokenizer(start)
    if shapes[method]:
        model = loading.build_opt(tokenizer, seed=seed, **shapes[method])
    else:  # no shape of its own: goes on from the base model
        model = loading.load_policy(start)
    documents = code_documents(pd.DataFrame(learned))
    prompts, replies = map(list, zip(*documents))
    rows = fit_replies(model, tokenizer, prompts, replies, fits[method], out)
    answers = generate(
        model.eval(),
        tokenizer,
        [code_prompt(describe(each)) for each in functions],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        max_prompt_tokens=fits[method].max_length - max_new_tokens,
    )
    keep_replies(functions, [answer.text for answer in answers], out)
    return [*rows, {"metric": "parameters", "value": hardware.parameters(model)}]


def check_apart(asked: Sequence[Function], learned: Sequence[Function]) -> None:
    """ValueError if a function that is asked for is among those learned from."""
    if both := {each["id"] for each in asked} & {each["id"] for each in learned}:
        raise ValueError(
            f"{len(both)} functions, {min(both)} first, are asked for and learned from: "
            "harvest the latter without the former"
        )


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
    model = loading.load_policy(sources[method], hardware.reading_dtype())
    tokenizer = loading.load_tokenizer(sources[method])
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
    return [{"metric": "parameters", "value": hardware.parameters(model)}]


def in_words(
    sources: Mapping[str, str], code_source: str, errors: Mapping[str, float]
) -> dict[str, str]:
    """What the strong and the weak writer are, by name, for sentences."""
    found = {}
    for name in ("strong", "weak"):
        own = {
            "built-in": f"a copyist with {errors[name]:g} errors per function",
            "writers": "a small model trained here",
        }
        there = f"as in the folder {plain_name(code_source)}"
        found[name] = plain_name(sources[name]) or own.get(code_source, there)
    return found


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
        f"that fits this description:\n{describe(function)}"
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
