"""Preference dialogues as texts: cut into prompt and reply, and held against each other.

The form of HH-RLHF (Bai et al. 2022, arXiv:2204.05862): turns that begin with
`\\n\\nHuman:` and `\\n\\nAssistant:`, two dialogues that share all but the last reply.
"""

import re

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"

# why a pair cannot be compared fairly
MALFORMED = "malformed dialogue"
CONTEXTS = "contexts differ"
EMPTY = "empty reply"
MARKER = "reply holds a turn marker"
IDENTICAL = "identical replies"
ALIKE = "replies differ only in case or punctuation"
FAULTS = (MALFORMED, CONTEXTS, EMPTY, MARKER, IDENTICAL, ALIKE)

# where a turn begins: a line, or on the same line what follows the end of a sentence
_TURN = re.compile(
    r"""(?:^\s*|[.!?]["'”’)\]]*\s+)(?:Human|Assistant)\s*:""", re.MULTILINE
)


def cut(dialogue: str) -> tuple[str, str] | None:
    """Cut a dialogue after its last `\\n\\nAssistant:` into (prompt, reply).

    The prompt ends with the marker; the reply keeps its leading space and loses
    trailing whitespace. None if the dialogue does not begin with a human turn or
    the assistant never speaks.
    """
    text = dialogue.replace("\r\n", "\n").replace("\r", "\n")
    end = text.rfind(ASSISTANT) + len(ASSISTANT)
    if not text.startswith(HUMAN) or end < len(ASSISTANT):
        return None
    return text[:end], text[end:].rstrip()


def conversation(prompt: str) -> list[dict[str, str]]:
    """A prompt as messages of `user` and `assistant`, as chat templates take them.

    Turns lose the whitespace around them; the last one, which a reply is to fill, is not
    a message. A text that is no dialogue is one message of a user.
    """
    if not prompt.startswith(HUMAN):
        return [{"role": "user", "content": prompt.strip()}]
    roles = {HUMAN: "user", ASSISTANT: "assistant"}
    _, *parts = re.split(f"({HUMAN}|{ASSISTANT})", prompt)
    found: list[dict[str, str]] = []
    for marker, text in zip(parts[::2], parts[1::2]):
        role, content = roles[marker], text.strip()
        if found and found[-1]["role"] == role:  # two turns of one speaker
            found[-1]["content"] += f"\n\n{content}"
        else:
            found.append({"role": role, "content": content})
    open_turn = found[-1]["role"] == "assistant" and not found[-1]["content"]
    return found[:-1] if open_turn else found


def opening(prompt: str) -> str:
    """The first human turn without its marker, whitespace made single spaces."""
    return spaced(_first_turn(prompt))


def turns(prompt: str) -> int:
    """The number of human turns."""
    return prompt.count(HUMAN)


def compare(chosen: str, rejected: str) -> tuple[str, str, str] | str:
    """Cut a pair of dialogues into (prompt, chosen, rejected), or say why not.

    Each dialogue is cut at its own last marker. If a reply itself holds
    `\\n\\nAssistant:`, the two cuts leave different contexts and the pair is refused;
    cutting both at the same length would tear one of them in the middle.

    A reply is refused that goes on with a turn of its own: `Human:` or `Assistant:` at
    the start of a line or, on the same line, after `.`, `!` or `?`, closing quotes or
    brackets and whitespace. A marker within a sentence, or behind an opening quote or
    bracket, is one that the reply speaks of, and stays. So do markers within lines of a
    prompt: both replies answer the same one.
    """
    first, second = cut(chosen), cut(rejected)
    if first is None or second is None:
        return MALFORMED
    if first[0] != second[0]:
        return CONTEXTS
    replies = first[1], second[1]
    if not all(reply.strip() for reply in replies):
        return EMPTY
    if any(_TURN.search(reply) for reply in replies):
        return MARKER
    if spaced(replies[0]) == spaced(replies[1]):
        return IDENTICAL
    if _letters(replies[0]) == _letters(replies[1]) != "":
        return ALIKE
    return first[0], *replies


def _first_turn(prompt: str) -> str:
    start = len(HUMAN)
    ends = (prompt.find(marker, start) for marker in (HUMAN, ASSISTANT))
    return prompt[start : min((end for end in ends if end >= 0), default=len(prompt))]


def spaced(text: str) -> str:
    return " ".join(text.split())


def _letters(text: str) -> str:
    """Letters and digits only, without case."""
    return "".join(filter(str.isalnum, text.casefold()))
