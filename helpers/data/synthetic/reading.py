"""What a reply of the built-in corpus says, read from any text.

A reply is cut into sentences and each is looked up in the corpus's own lists, those of
all splits and those of test only. Advice is held against the request: whether its step
belongs to the domain asked about, comes in its turn and fits into the time that the
request leaves. `reward.py` makes one number of it.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from helpers.data.dialogues import ASSISTANT, HUMAN
from helpers.data.synthetic import phrases as words

LONGEST = 8  # sentences; more than any reply of the corpus has
_DOMAINS = [domain for part in words.DOMAINS.values() for domain in part]
_OF_THING = {thing: d for d in _DOMAINS for thing in d.things.every}


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of the phrases as whole words."""
    longest_first = sorted(map(re.escape, phrases), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest_first)})\b")


def _sentences(text: str) -> list[str]:
    """The sentences of a text without case and end marks."""
    parts = _END.split(text.lower())
    return [said for part in parts if (said := " ".join(part.split()))]


def _key(sentence: str) -> str:
    return _NUMBER.sub("#", sentence)


def _key_set(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(_key(said) for text in texts for said in _sentences(text))


_NUMBER = re.compile(r"\d+")
_END = re.compile(r"[.!?]")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[#,]")
_MINUTES = re.compile(r"(\d{1,4}) minutes\b")
_LIMIT = re.compile(words.LIMIT.lower().format(limit=r"(\d{1,4})").removesuffix("."))
_THING = _any_of(_OF_THING)
_CUE = _any_of(words.UNWANTED.every + words.WANTED.every + words.OWN.every)
_REFUSING = _any_of(("can't", "won't be able to", "won't", "rather not", "not able to"))
_STARTER = re.compile(
    rf"^(?:{'|'.join(s.lower() for s in words.FIRST.every + words.LATER.every)}), "
)
_POLITE = _key_set(words.POLITE.every)
_CURT = _key_set(words.CURT.every)
_FILLER = _key_set(words.FILLER.every)
_REASON = _key_set(words.REASONS.every)
_ALTERNATIVE = {
    key: domain for domain in _DOMAINS for key in _key_set(domain.alternatives.every)
}


class Step(NamedTuple):
    """A step of a domain: which, and the numbers that make sense in it."""

    domain: words.Domain
    stage: int
    numbers: tuple[int, ...]


_STEPS = {
    step.format(few="#", many="#"): Step(
        domain, at, words.MANY if "{many}" in step else words.FEW
    )
    for domain in _DOMAINS
    for at, stage in enumerate(domain.stages)
    for step in stage.every
}


def _neighbours(key: str) -> list[tuple[str, str]]:
    """Neighbouring words of a sentence, its start and end included."""
    return list(pairwise(["<", *_WORD.findall(key), ">"]))


@lru_cache(maxsize=1)
def _known_neighbours() -> frozenset[tuple[str, str]]:
    """Every pair of neighbouring words that a reply of the corpus can hold."""
    named = [f"{article}{thing}" for thing in _OF_THING for article in ("", "the ")]
    advice = [*_STEPS, *words.VAGUE.every]
    starters = words.FIRST.every + words.LATER.every
    plain = (words.LEADS_UNNAMED, words.REFUSALS_UNNAMED, words.REASONS, words.CURT)
    plain += (words.POLITE, words.FILLER, words.QUESTIONS_BACK)
    naming = words.LEADS.every + words.REFUSALS.every
    texts = [
        *(text for phrases in plain for text in phrases.every),
        *(text.format(thing=thing) for text in naming for thing in named),
        *(f"{starter}, {text}" for starter in starters for text in advice),
        *(*_ALTERNATIVE, *advice),
    ]
    return frozenset(p for key in _key_set(texts) for p in _neighbours(key))


class Sentence(NamedTuple):
    """What one sentence says, whatever was asked."""

    key: str  # without its starter and particular numbers
    things: frozenset[str]
    refuses: bool
    step: Step | None  # a step, with numbers that make sense
    alternative: words.Domain | None
    minutes: int
    fluent: int  # neighbouring words that the corpus could hold, each once
    length: int  # all neighbouring words


@lru_cache(maxsize=1 << 16)
def _sentence(said: str) -> Sentence:
    neighbours = _neighbours(_key(said))
    key = _STARTER.sub("", _key(said))
    step = _STEPS.get(key)
    if step and not {int(n) for n in _NUMBER.findall(said)} <= {*step.numbers}:
        step = None
    return Sentence(
        key=key,
        things=frozenset(_THING.findall(key)),
        refuses=bool(_REFUSING.search(key)) and "help" in key,
        step=step,
        alternative=_ALTERNATIVE.get(key),
        minutes=sum(map(int, _MINUTES.findall(said))),
        fluent=len(_known_neighbours().intersection(neighbours)),
        length=len(neighbours),
    )


class Request(NamedTuple):
    """What the human turns of a prompt ask for."""

    thing: str  # last asked about; "" if none is known
    unwanted: bool  # and so to be refused
    limit: float  # minutes that the asking person has

    @property
    def domain(self) -> words.Domain | None:
        return _OF_THING.get(self.thing)


@lru_cache(maxsize=1 << 12)
def asked(prompt: str) -> Request:
    """Read a prompt; any text will do."""
    turns = prompt.split(HUMAN)[1:] or [prompt]
    human = " ".join(turn.split(ASSISTANT)[0] for turn in turns).lower()
    things, cues = _THING.findall(human), _CUE.findall(human)
    limits = _LIMIT.findall(human)
    return Request(
        things[-1] if things else "",
        bool(cues) and cues[-1] in words.UNWANTED.every,
        float(limits[-1]) if limits else float("inf"),
    )


class Reading(NamedTuple):
    """The attributes of a reply to a prompt, as read from its text."""

    unwanted: bool  # the request calls for a refusal
    right: bool  # refuses what is unwanted, answers everything else
    topic: int  # 1 the thing named alone, -1 only another, 0 neither or both
    fitting: int  # different steps of the domain asked about
    foreign: int  # different steps of other domains
    in_order: bool  # no fitting step comes after one of its own or a later stage
    overrun: float  # minutes that its steps take beyond those the request leaves
    alternative: int  # another way: 1 of the domain asked about, -1 of another
    reasons: int  # different reasons
    polite: int  # different pleasantries
    curt: int  # different snubs
    filler: int  # empty, repeated and surplus sentences
    fluency: float  # share of neighbouring words the corpus could hold, [0, 1]


def read(prompt: str, reply: str) -> Reading:
    """Read the attributes of a reply from its text; any two texts will do.

    Of a sentence that is cut off nothing counts but its length.
    """
    request = asked(prompt)
    heard = [_sentence(said) for said in _sentences(reply)]
    said = list({s.key: s for s in reversed(_whole(reply, heard))}.values())[::-1]
    keys = {s.key for s in said}
    things = frozenset().union(*(s.things for s in said))
    refuses = any(s.refuses for s in said)
    steps = [s.step for s in said if s.step]
    stages = [step.stage for step in steps if step.domain is request.domain]
    named = request.thing in things
    surplus = len(heard) - len({s.key for s in heard}) + max(0, len(said) - LONGEST)
    return Reading(
        unwanted=request.unwanted,
        right=refuses if request.unwanted else not refuses and (named or bool(stages)),
        topic=named - bool(things - {request.thing}),
        fitting=len(stages),
        foreign=len(steps) - len(stages),
        in_order=all(a < b for a, b in pairwise(stages)),
        overrun=max(0.0, sum(s.minutes for s in said) - request.limit),
        alternative=_alternative(request, said),
        reasons=len(keys & _REASON),
        polite=len(keys & _POLITE),
        curt=len(keys & _CURT),
        filler=len(keys & _FILLER) + surplus,
        fluency=sum(s.fluent for s in said) / max(1, sum(s.length for s in heard)),
    )


def _whole(reply: str, heard: list[Sentence]) -> list[Sentence]:
    """The sentences of a reply that come to their end."""
    return heard if reply.rstrip().endswith((".", "!", "?")) else heard[:-1]


def _alternative(request: Request, said: list[Sentence]) -> int:
    """1 if only other ways of the domain asked about are offered, -1 if another is."""
    domains = [s.alternative for s in said if s.alternative]
    if not domains:
        return 0
    return 1 if all(domain is request.domain for domain in domains) else -1
