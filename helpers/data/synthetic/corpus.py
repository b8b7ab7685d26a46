"""The built-in corpus: generated HH-style dialogues whose true reward is known.

Two replies to a prompt are drawn independently, each with its own attributes: naming
what was asked about, advice of its domain or of another, in order or not, polite,
refusing or not, padded or not. `true_reward` reads them back from the text; labels are
drawn from Bradley-Terry on it. Things, steps and phrasings that are held out occur in
the split "test" only. Everything scored with the true reward is synthetic and has to be
called so.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import NamedTuple

from helpers.data.dialogues import ASSISTANT, HUMAN
from helpers.data.synthetic import phrases as words
from helpers.data.synthetic.reward import sigmoid, true_reward

SUBSETS = ("helpful", "harmless")
TEST_SHARE = 5  # one opening turn in five belongs to the test split
HELD_OUT_THINGS = 0.5  # share of test prompts about a thing that is held out
HELD_OUT_PHRASES = 0.3  # share of other phrases of the test split, as far as there are
UNWANTED_SHARE = 0.5  # of harmless prompts


class Habits(NamedTuple):
    """How often a random reply shows an attribute."""

    named: float = 0.92
    elsewhere: float = 0.2  # is about something of another domain altogether
    other_thing: float = 0.05  # names something of another domain only
    other_steps: float = 0.06  # gives steps, or another way, of another domain only
    declines_wanted: float = 0.05
    declines_unwanted: float = 0.75
    concrete: float = 0.75  # each sentence of advice
    ordered: float = 0.3  # steps put in their order; the others come as drawn
    reason: float = 0.7
    alternative: float = 0.6
    polite: float = 0.4
    curt: float = 0.2
    filler: float = 0.3
    more: float = 0.03  # a third sentence of advice, a second reason or pleasantry


HABITS = {
    "helpful": Habits(),
    "harmless": Habits(declines_wanted=0.25, polite=0.3, filler=0.25),
}


class Voice:
    """Draws phrases; held-out ones in the split "test" only."""

    def __init__(self, rng: random.Random, split: str) -> None:
        self.rng, self.held_out = rng, split == "test"

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, phrases: words.Phrases, share: float = HELD_OUT_PHRASES) -> str:
        """One phrase; `share`: how often a held-out one where these may occur."""
        held = self.held_out and phrases.held and self.chance(share)
        return self.rng.choice(phrases.held if held else phrases.seen)

    def other(self, phrases: words.Phrases, said: Sequence[str]) -> str:
        """A phrase that has not been said."""
        phrase = self.pick(phrases)
        while phrase in said:
            phrase = self.pick(phrases)
        return phrase

    def number(self, numbers: Sequence[int]) -> int:
        return self.rng.choice(numbers)


class Request(NamedTuple):
    """A prompt up to its last `Assistant:` and what a good reply has to match."""

    prompt: str
    thing: str  # as a reply puts it: "apple pie", "the old diary"
    domain: words.Domain
    unwanted: bool


# --- What people ask ------------------------------------------------------------


def _opening(voice: Voice, subset: str) -> Request:
    """A first human turn; `prompt` holds its bare text."""
    domain = voice.rng.choice(words.DOMAINS[subset])
    thing, task = voice.pick(domain.things, HELD_OUT_THINGS), voice.pick(domain.tasks)
    place = voice.pick(domain.places) if voice.chance(0.5) else ""
    if subset == "helpful":
        named, unwanted = thing, False
        wish = f"{thing} {place or voice.pick(words.CONSTRAINTS)}"
    else:
        named, unwanted = f"the {thing}", voice.chance(UNWANTED_SHARE)
        wish = _circumstance(voice, f"{thing} {place}".strip(), unwanted)
    text = f"{_context(voice)} {voice.pick(words.ASKS)} {task} {wish}?"
    return Request(text.strip(), named, domain, unwanted)


def _context(voice: Voice) -> str:
    """The time that there is, something else, or nothing."""
    draw = voice.rng.random()
    if draw < 0.5:
        return words.LIMIT.format(limit=voice.number(words.LIMITS))
    return voice.pick(words.CONTEXTS) if draw < 0.75 else ""


def _circumstance(voice: Voice, thing: str, unwanted: bool) -> str:
    """Whose thing it is and how it is to happen: only this makes a wish unwanted."""
    if not unwanted and voice.chance(0.3):
        return f"my own {thing} {voice.pick(words.OWN)}"
    manner = voice.pick(words.UNWANTED if unwanted else words.WANTED)
    return f"my {voice.pick(words.OWNERS)} {thing} {manner}"


def _in_test(opening: str) -> bool:
    """Whether an opening turn belongs to the test split, whatever the seed."""
    return hashlib.sha1(opening.encode()).digest()[0] % TEST_SHARE == 0


def _request(voice: Voice, subset: str) -> Request:
    """A dialogue of one to three human turns, the last of them unanswered."""
    request = _opening(voice, subset)
    while _in_test(request.prompt) != voice.held_out:
        request = _opening(voice, subset)
    dialogue = f"{HUMAN} {request.prompt}"
    for _ in range(voice.rng.choices((0, 1, 2), (0.7, 0.2, 0.1))[0]):
        follow_up = voice.pick(words.FOLLOW_UPS).format(thing=request.thing)
        dialogue += f"{ASSISTANT} {_answer_between(voice, request)}{HUMAN} {follow_up}"
    return request._replace(prompt=dialogue + ASSISTANT)


def _answer_between(voice: Voice, request: Request) -> str:
    """A short earlier answer: it asks back, gives a first step, or declines."""
    if voice.chance(0.4):
        return voice.pick(words.QUESTIONS_BACK)
    if request.unwanted:
        return voice.pick(words.REFUSALS).format(thing=request.thing)
    return _sentence(voice, voice.pick(request.domain.stages[0]))


# --- What replies say -----------------------------------------------------------


def _sentence(voice: Voice, advice: str, starter: str = "") -> str:
    """One sentence of advice, with its numbers filled in."""
    few, many = voice.number(words.FEW), voice.number(words.MANY)
    advice = advice.format(few=few, many=many)
    return f"{starter}, {advice}." if starter else f"{advice[0].upper()}{advice[1:]}."


def _reply(voice: Voice, subset: str, request: Request) -> str:
    """A random reply: every attribute is drawn on its own (starts with a space)."""
    habits = HABITS[subset]
    thing, domain = request.thing, request.domain
    other, draw = _elsewhere(voice, subset, request), voice.rng.random()
    if draw < habits.elsewhere + habits.other_thing:
        thing = other.thing
    if draw < habits.elsewhere or draw > 1 - habits.other_steps:
        domain = other.domain
    thing = thing if voice.chance(habits.named) else ""
    wish = "unwanted" if request.unwanted else "wanted"
    declines = voice.chance(getattr(habits, f"declines_{wish}"))
    body = (_refusal if declines else _compliance)(voice, thing, domain, habits)
    _add_manner(voice, body, habits)
    if voice.chance(habits.filler):
        body.insert(voice.rng.randint(1, len(body)), voice.pick(words.FILLER))
    return " " + " ".join(body)


def _elsewhere(voice: Voice, subset: str, request: Request) -> Request:
    """A request of the subset about something of another domain."""
    other = _opening(voice, subset)
    while other.domain is request.domain:
        other = _opening(voice, subset)
    return other


def _add_manner(voice: Voice, body: list[str], habits: Habits) -> None:
    """Begin or end politely, curtly, or neither; seldom both."""
    draw = voice.rng.random()
    if draw < habits.polite:
        body.insert(voice.rng.choice((0, len(body))), voice.pick(words.POLITE))
        if voice.chance(2 * habits.more):
            more = voice.other(words.POLITE, body)
            body.insert(voice.rng.choice((0, len(body))), more)
    elif draw < habits.polite + habits.curt:
        body.insert(voice.rng.choice((0, len(body))), voice.pick(words.CURT))


def _compliance(
    voice: Voice, thing: str, domain: words.Domain, habits: Habits
) -> list[str]:
    """Advice about a thing: one to three sentences, each concrete or vague."""
    count = 3 if voice.chance(habits.more) else voice.rng.choice((1, 2, 2))
    stages = voice.rng.sample(range(len(domain.stages)), count)
    if voice.chance(habits.ordered):
        stages.sort()
    advice = []
    for stage in stages:
        kind = domain.stages[stage] if voice.chance(habits.concrete) else words.VAGUE
        advice.append(voice.other(kind, advice))
    starters = [words.FIRST, *[words.LATER] * (count - 1)]
    opened = [
        voice.pick(each) if count > 1 and voice.chance(0.6) else "" for each in starters
    ]
    lead = voice.pick(words.LEADS if thing else words.LEADS_UNNAMED)
    told = [_sentence(voice, *each) for each in zip(advice, opened, strict=True)]
    return [lead.format(thing=thing), *told]


def _refusal(
    voice: Voice, thing: str, domain: words.Domain, habits: Habits
) -> list[str]:
    """A refusal, with or without its reason and another way."""
    body = [voice.pick(words.REFUSALS if thing else words.REFUSALS_UNNAMED)]
    body = [body[0].format(thing=thing)]
    if voice.chance(habits.reason):
        body.append(voice.pick(words.REASONS))
        if voice.chance(2 * habits.more):
            body.append(voice.other(words.REASONS, body))
    if domain.alternatives.seen and voice.chance(habits.alternative):
        body.append(voice.pick(domain.alternatives))
    return body


def transcripts(subset: str, split: str, n: int, seed: int) -> list[dict[str, str]]:
    """Generate `n` labelled pairs of whole dialogues.

    subset: "helpful" or "harmless"; split: "train" or "test", which never share an
    opening turn; only "test" has held-out things, steps and phrasings. Returns dicts
    with "chosen" and "rejected", like the lines of the published files. The label is
    drawn from Bradley-Terry on the true reward. The same arguments give the same pairs,
    and a longer list starts with a shorter one.
    """
    if subset not in SUBSETS or split not in ("train", "test"):
        raise ValueError(f"no built-in corpus for subset {subset!r}, split {split!r}")
    voice = Voice(random.Random(f"{subset} {split} {seed}"), split)
    return [_pair(voice, subset) for _ in range(n)]


def _pair(voice: Voice, subset: str) -> dict[str, str]:
    request = _request(voice, subset)
    first = second = _reply(voice, subset, request)
    while second == first:
        second = _reply(voice, subset, request)
    margin = true_reward(request.prompt, first) - true_reward(request.prompt, second)
    if not voice.chance(sigmoid(margin)):
        first, second = second, first
    return {"chosen": request.prompt + first, "rejected": request.prompt + second}
