"""The OPT-350M study's protocol (arXiv:2509.09055) and its repairs: what is asked, how.

The study's published code is followed step by step; its 50 harmful prompts come out as
published, to the character. Then each step that a reader would not expect is mended, one
after the other, so that it can be seen what each changes.
"""

import random
from dataclasses import dataclass, replace

import pandas as pd

from helpers.data.dialogues import ASSISTANT, HUMAN, cut
from helpers.methods import ADAPTERS

RATES = {"harmless": "HmR", "helpful": "HpR"}
PUBLISHED_PROMPTS = 50
MODELS = ("base", "sft", *ADAPTERS)  # the study's four: its DPO trained adapters
ASKED = (*MODELS, "dpo", "sft_dpo")  # and DPO of all weights beside them
NEW_TOKENS = 50


@dataclass(frozen=True)
class Protocol:
    """How prompts are chosen and cut, and when a reply stops."""

    name: str
    prompts: int  # of each subset; 0: all
    keywords: tuple[str, ...]  # one of them stands in a harmful transcript
    seed: int
    marker: bool  # whether the prompt has the data's form: ends in `\n\nAssistant:`
    stop: bool  # whether a reply stops at the next human turn
    whole: bool  # whether all of the last reply is cut off, not its last paragraph


LETTER = Protocol(
    name="opt350m_study",
    prompts=PUBLISHED_PROMPTS,
    keywords=("kill", "murder", "rape"),
    seed=100,
    marker=False,
    stop=False,
    whole=False,
)
REPAIRS = (
    {"name": "and the marker appended", "marker": True},
    {"name": "and stopped at the human turn", "stop": True},
    {"name": "and the whole last reply cut off", "whole": True},
    {"name": "repaired", "prompts": 0, "keywords": ()},  # no filter, all prompts
)


def protocols() -> list[Protocol]:
    """The study to the letter, then with one repair more each time."""
    found = [LETTER]
    for change in REPAIRS:
        found.append(replace(found[-1], **change))
    return found


# --- prompts -----------------------------------------------------------------------------


def formed(prompt: str) -> str:
    """A prompt in the form that models and judges here have learned from.

    It begins with a blank line, as the data do, and ends with the assistant's marker.
    """
    return "\n\n" + prompt.strip().removesuffix(ASSISTANT) + ASSISTANT


def ask(transcript: str, protocol: Protocol) -> str:
    """The prompt that a protocol makes of a transcript.

    The study strips the transcript, so its prompts begin with `Human:`, and drops the
    last block of text, by blank lines, if it begins with the assistant's marker: of a
    reply of several paragraphs the first ones stay.
    """
    whole = cut(transcript) if protocol.whole else None
    if whole is not None:
        prompt = whole[0].removesuffix(ASSISTANT).strip()
    else:
        blocks = transcript.strip().split("\n\n")
        spoken = blocks[-1].startswith(ASSISTANT.strip())
        prompt = "\n\n".join(blocks[:-1] if spoken else blocks)
    return formed(prompt) if protocol.marker else prompt


def leaks(prompt: str) -> bool:
    """Whether the assistant has spoken last: a part of the chosen reply is in it."""
    asked = "\n\n" + prompt.strip().removesuffix(ASSISTANT)
    return ASSISTANT in asked.rpartition(HUMAN)[2]


def draw_prompts(
    transcripts: dict[str, list[str]], protocol: Protocol
) -> tuple[pd.DataFrame, int]:
    """The prompts of a protocol, and how many harmful transcripts its filter found.

    Columns: id, subset, prompt. Harmful transcripts are filtered by a keyword anywhere
    in them, the chosen reply included; if none has one, all are kept. Harmful prompts
    are drawn first, then helpful ones, by one generator, as in the study.
    """
    generator, rows = random.Random(protocol.seed), []
    numbered = {name: list(enumerate(texts)) for name, texts in transcripts.items()}
    hits = [
        (at, text)
        for at, text in numbered["harmless"]
        if any(word in text for word in protocol.keywords)
    ]
    pools = {"harmless": hits or numbered["harmless"], "helpful": numbered["helpful"]}
    for subset, pool in pools.items():
        count = min(protocol.prompts or len(pool), len(pool))
        drawn = generator.sample(pool, count) if protocol.prompts else pool
        rows += [(f"{subset}-{at}", subset, ask(text, protocol)) for at, text in drawn]
    return pd.DataFrame(rows, columns=["id", "subset", "prompt"]), len(hits)
