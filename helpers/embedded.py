"""The built-in corpus: generated HH-style dialogues whose true reward is known.

Two replies to a prompt are drawn independently, each with its own attributes: on
topic, concrete, polite, refusing or not, padded or not. `true_reward` reads them back
from the text; labels are drawn from Bradley-Terry on it. Everything scored with it is
synthetic and has to be called so.
"""

import hashlib
import random
from typing import NamedTuple

from helpers import embedded_text as words
from helpers.dialogues import ASSISTANT, HUMAN
from helpers.embedded_reward import bayes_accuracy, sigmoid, true_reward

__all__ = ["SUBSETS", "bayes_accuracy", "transcripts", "true_reward"]

SUBSETS = ("helpful", "harmless")
TEST_SHARE = 5  # one opening turn in five belongs to the test split


class Habits(NamedTuple):
    """How often a random reply of a subset shows an attribute."""

    named: float = 0.95
    on_topic: float = 0.75
    declines_wanted: float = 0.05
    declines_unwanted: float = 0.7
    concrete: float = 0.5
    alternative: float = 0.5
    polite: float = 0.4
    curt: float = 0.25
    filler: float = 0.5


HABITS = {"helpful": Habits(), "harmless": Habits(on_topic=0.9, declines_wanted=0.2)}
UNWANTED_SHARE = 0.65


class Request(NamedTuple):
    """A prompt up to its last `Assistant:` and what a good reply has to match."""

    prompt: str
    thing: str
    named: str  # the thing as a reply puts it: "apple pies", "the mail"
    steps: tuple[str, ...]
    unwanted: bool


# --- What people ask ------------------------------------------------------------


def _opening(rng: random.Random, subset: str) -> Request:
    """A first human turn; `prompt` holds its bare text."""
    ask = rng.choice(words.ASKS)
    context = rng.choice(words.CONTEXTS) if rng.random() < 0.4 else ""
    domain = rng.choice(words.DOMAINS[subset])
    task, thing = rng.choice(domain.tasks), rng.choice(domain.things)
    if subset == "helpful":
        named, unwanted = thing, False
        wish = f"{thing} {rng.choice(words.CONSTRAINTS)}"
    else:
        named, unwanted = f"the {thing}", rng.random() < UNWANTED_SHARE
        wish = _circumstance(rng, thing, unwanted)
    text = f"{context} {ask} {task} {wish}?".strip()
    return Request(text, thing, named, domain.steps, unwanted)


def _circumstance(rng: random.Random, thing: str, unwanted: bool) -> str:
    """Whose thing it is and how it is to happen: only this makes a wish unwanted."""
    if not unwanted and rng.random() < 0.3:
        return f"my own {thing} {rng.choice(words.OWN)}"
    manner = rng.choice(words.UNWANTED if unwanted else words.WANTED)
    return f"my {rng.choice(words.OWNERS)} {thing} {manner}"


def _in_test(opening: str) -> bool:
    """Whether an opening turn belongs to the test split, whatever the seed."""
    return hashlib.sha1(opening.encode()).digest()[0] % TEST_SHARE == 0


def _request(rng: random.Random, subset: str, split: str) -> Request:
    """A dialogue of one to three human turns, the last of them unanswered."""
    request = _opening(rng, subset)
    while _in_test(request.prompt) != (split == "test"):
        request = _opening(rng, subset)
    dialogue = f"{HUMAN} {request.prompt}"
    for _ in range(rng.choices((0, 1, 2), (0.7, 0.2, 0.1))[0]):
        follow_up = rng.choice(words.FOLLOW_UPS).format(thing=request.named)
        dialogue += f"{ASSISTANT} {_answer_between(rng, request)}{HUMAN} {follow_up}"
    return request._replace(prompt=dialogue + ASSISTANT)


def _answer_between(rng: random.Random, request: Request) -> str:
    """A short earlier answer: it asks back, gives a step, or declines."""
    if rng.random() < 0.4:
        return rng.choice(words.QUESTIONS_BACK)
    if request.unwanted:
        return rng.choice(words.REFUSALS).format(thing=request.named)
    return _advice(rng, rng.choice(request.steps), ordered=False)


# --- What replies say -----------------------------------------------------------


def _advice(rng: random.Random, step: str, ordered: bool = True) -> str:
    """One sentence of advice, with its numbers filled in."""
    step = step.format(few=rng.choice(words.FEW), many=rng.choice(words.MANY))
    if ordered and rng.random() < 0.6:
        return f"{rng.choice(words.STARTERS)}, {step}."
    return f"{step[0].upper()}{step[1:]}."


def _reply(rng: random.Random, subset: str, request: Request) -> str:
    """A random reply: every attribute is drawn on its own (starts with a space)."""
    about, habits = request, HABITS[subset]
    if rng.random() > habits.on_topic:
        about = _elsewhere(rng, subset, request)
    named = rng.random() < habits.named
    declines = habits.declines_unwanted if request.unwanted else habits.declines_wanted
    compose = _refusal if rng.random() < declines else _compliance
    body = compose(rng, about, named, habits)
    _add_manner(rng, body, habits)
    if rng.random() < habits.filler:
        body.insert(rng.randint(1, len(body)), rng.choice(words.FILLER))
    return " " + " ".join(body)


def _elsewhere(rng: random.Random, subset: str, request: Request) -> Request:
    """A request of the subset about something of another domain."""
    other = _opening(rng, subset)
    while other.steps == request.steps:
        other = _opening(rng, subset)
    return other


def _add_manner(rng: random.Random, body: list[str], habits: Habits) -> None:
    """Begin or end politely, curtly, or neither."""
    phrases = rng.choices(
        (words.POLITE, words.CURT, ()),
        (habits.polite, habits.curt, 1 - habits.polite - habits.curt),
    )[0]
    if phrases:
        body.insert(rng.choice((0, len(body))), rng.choice(phrases))


def _compliance(
    rng: random.Random, about: Request, named: bool, habits: Habits
) -> list[str]:
    """Advice about a thing: one to three sentences, each concrete or vague."""
    lead = rng.choice(words.LEADS if named else words.LEADS_UNNAMED)
    count = rng.choice((1, 2, 2))
    steps, vague = rng.sample(about.steps, count), rng.sample(words.VAGUE, count)
    advice = [
        rng.choices(kinds, (habits.concrete, 1 - habits.concrete))[0]
        for kinds in zip(steps, vague, strict=True)
    ]
    return [lead.format(thing=about.named), *(_advice(rng, text) for text in advice)]


def _refusal(
    rng: random.Random, about: Request, named: bool, habits: Habits
) -> list[str]:
    """A refusal and its reason, with or without another way."""
    refusal = rng.choice(words.REFUSALS if named else words.REFUSALS_UNNAMED)
    reasons = rng.sample(words.REASONS, rng.choice((0, 1, 1, 2)))
    body = [refusal.format(thing=about.named), *reasons]
    if rng.random() < habits.alternative:
        body.append(rng.choice(words.ALTERNATIVES))
    return body


def transcripts(subset: str, split: str, n: int, seed: int) -> list[dict[str, str]]:
    """Generate `n` labelled pairs of whole dialogues.

    subset: "helpful" or "harmless"; split: "train" or "test", which never share an
    opening turn. Returns dicts with "chosen" and "rejected", like the lines of the
    published files. The label is drawn from Bradley-Terry on the true reward. The
    same arguments give the same pairs, and a longer list starts with a shorter one.
    """
    if subset not in SUBSETS or split not in ("train", "test"):
        raise ValueError(f"no built-in corpus for subset {subset!r}, split {split!r}")
    rng = random.Random(f"{subset} {split} {seed}")
    return [_pair(rng, subset, split) for _ in range(n)]


def _pair(rng: random.Random, subset: str, split: str) -> dict[str, str]:
    request = _request(rng, subset, split)
    first = second = _reply(rng, subset, request)
    while second == first:
        second = _reply(rng, subset, request)
    margin = true_reward(request.prompt, first) - true_reward(request.prompt, second)
    if rng.random() > sigmoid(margin):
        first, second = second, first
    return {"chosen": request.prompt + first, "rejected": request.prompt + second}
