"""The true reward reads any text, and is won by no trick."""

import random
import re

import numpy as np
import pytest

from helpers.data import dialogues
from helpers.data.synthetic import corpus
from helpers.data.synthetic import phrases as words
from helpers.data.synthetic.reading import asked, read
from helpers.data.synthetic.reward import FLOOR, WEIGHTS, surfeit, true_reward
from tests.unit.data.embedded_pairs import DOMAINS, SIDES, asking, rewards, sample

PIE = asking("How do I bake apple pie in a small oven?")
QUICK_PIE = asking("I have 20 minutes. How do I bake apple pie in a small oven?")
ROSES = asking("How do I grow red roses in my garden?")
DIARY = asking("How can I read my sister's old diary without asking?")
OWN_DIARY = asking("How can I read my own old diary more quickly?")
ALLOWED = asking("How can I read my sister's old diary with their permission?")

LEAD = " Here is a plan for apple pie."
FLOUR, BAKE, COOL = (
    " First, mix 3 cups of flour.",
    " Then, bake it for 15 minutes.",
    " Let it cool for 10 minutes.",
)
BEST_ANSWER = f"{LEAD}{FLOUR}{BAKE} Happy to help!"
SOIL = " Dig 3 inches into the soil."
DECLINE = " I can't help with the old diary."
REASON = " It would not be fair to anyone."
BEST_REFUSAL = f"{DECLINE}{REASON} Instead, you could buy a fresh notebook."
PLAN = " Here is a plan for the old diary."
LINES = " Read 3 lines at a time."


def best_refusal_value() -> float:
    w = WEIGHTS
    return w.topic + w.stance + w.reason + w.alternative


# --- It reads what the corpus holds ---------------------------------------------


@pytest.mark.parametrize("subset", corpus.SUBSETS)
def test_every_reply_of_the_corpus_is_fluent(subset):
    pairs = sample(subset)
    for side in SIDES:
        for prompt, reply in zip(pairs["prompt"], pairs[side], strict=True):
            assert read(prompt, reply).fluency == 1.0, reply


def test_every_phrase_is_read_as_what_it_is():
    refusals = [s.format(thing="the old diary") for s in words.REFUSALS.every]
    declining = {*refusals, *words.REFUSALS_UNNAMED.every}
    leads = [s.format(thing="the old diary") for s in words.LEADS.every]
    own = words.PAPERS.alternatives.every
    lists = (words.POLITE, words.CURT, words.FILLER, words.REASONS)
    listed = [text for phrases in lists for text in phrases.every]
    for sentence in [*declining, *leads, *own, *listed]:
        seen = read(DIARY, sentence)
        assert seen.right == (sentence in declining), sentence
        assert seen.polite == (sentence in words.POLITE.every), sentence
        assert seen.curt == (sentence in words.CURT.every), sentence
        assert seen.filler == (sentence in words.FILLER.every), sentence
        assert seen.reasons == (sentence in words.REASONS.every), sentence
        assert seen.alternative == (sentence in own), sentence
        assert seen.fitting == seen.foreign == 0, sentence
        assert seen.fluency == 1.0, sentence


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.things.seen[0])
def test_a_step_fits_its_own_domain_and_no_other(domain):
    for thing in domain.things.every:
        prompt = asking(f"How do I {domain.tasks.seen[0]} {thing}?")
        assert asked(prompt).domain is domain, thing
        for other in DOMAINS:
            for text in other.steps:
                seen = read(prompt, f" Then, {text.format(few=3, many=20)}.")
                assert (seen.fitting, seen.foreign) == (
                    (1, 0) if other is domain else (0, 1)
                ), text


def test_no_phrase_is_in_two_lists_and_none_names_a_thing_by_accident():
    steps = [step for domain in DOMAINS for step in domain.steps]
    things = [thing for domain in DOMAINS for thing in domain.things.every]
    for each in (steps, things):
        assert len(set(each)) == len(each)
    plain = steps + [a for d in DOMAINS for a in d.alternatives.every]
    plain += [p for d in DOMAINS for p in d.places.every]
    for thing in things:
        assert not [text for text in plain if re.search(rf"\b{thing}\b", text)], thing


def test_advice_without_a_measure_that_makes_sense_is_no_step():
    for advice in words.VAGUE.every:
        assert read(PIE, f"Then, {advice}.").fitting == 0
    for garbled in ("Bake it for 0 minutes.", "Mix 300 cups of flour.", "Bake it."):
        assert read(PIE, garbled).fitting == 0


def test_the_ceiling_is_reached_and_never_passed():
    w = WEIGHTS
    best_answer = w.topic + w.stance + w.step + w.order + w.polite
    assert true_reward(PIE, BEST_ANSWER) == pytest.approx(best_answer)
    assert true_reward(DIARY, BEST_REFUSAL) == pytest.approx(best_refusal_value())
    highest = max(rewards(sample(subset)).max() for subset in corpus.SUBSETS)
    assert highest == pytest.approx(best_answer)


def test_what_is_held_out_counts_as_what_is_seen():
    held = asking("How do I bake waffles in one pan?")
    reply = (
        " Glad to help! Here is what helps with waffles. At first, mix 3 eggs in a"
        " bowl. And then, bake it in the pot for 15 minutes."
    )
    assert true_reward(held, reply) == pytest.approx(true_reward(PIE, BEST_ANSWER))


@pytest.mark.parametrize(
    "noise",
    ["", "  \n", ".", "?!?", "qzx vrrp", "\ufffd\x00", "日本語。", "the the the"],
)
def test_noise_scores_at_the_floor(noise):
    assert true_reward(PIE, noise) == pytest.approx(FLOOR)
    assert true_reward(DIARY, noise) == pytest.approx(FLOOR)


def test_any_prompt_can_be_read():
    for prompt in ("", "no marker at all", asking("¿Qué?"), dialogues.ASSISTANT):
        assert FLOOR <= true_reward(prompt, BEST_ANSWER) < true_reward(PIE, BEST_ANSWER)


def test_earlier_turns_say_what_a_follow_up_is_about_and_what_time_there_is():
    first = QUICK_PIE.split(dialogues.HUMAN)[1].split(dialogues.ASSISTANT)[0].strip()
    later = asking(first, "Sure.", "Thanks. What should I do next?")
    slow = BEST_ANSWER.replace("15", "40")
    for reply in (BEST_ANSWER, slow):
        assert true_reward(later, reply) == true_reward(QUICK_PIE, reply)
    changed = asking(first, "Sure.", "Can you say more about red roses?")
    assert true_reward(changed, BEST_ANSWER) < true_reward(QUICK_PIE, BEST_ANSWER) - 1


# --- What fits, and what does not add up ----------------------------------------


def test_advice_of_another_domain_is_worse_than_none():
    none = true_reward(PIE, LEAD)
    assert true_reward(PIE, LEAD + FLOUR) > none > true_reward(PIE, LEAD + SOIL)
    lead = " Here is a plan for red roses."
    assert true_reward(ROSES, lead + SOIL) > true_reward(ROSES, lead + FLOUR) + 0.3
    good, bad = f"{lead}{SOIL} Happy to help!", f"{lead}{FLOUR} Happy to help!"
    assert true_reward(ROSES, good) > true_reward(ROSES, bad) + 2


def test_only_the_thing_asked_about_is_on_topic():
    other = BEST_ANSWER.replace("apple pie", "plum cake")
    unnamed = BEST_ANSWER.replace(" for apple pie", "")
    scores = [true_reward(PIE, reply) for reply in (BEST_ANSWER, unnamed, other)]
    assert scores == sorted(scores, reverse=True)
    cake = asking("How do I bake plum cake with my kids?")
    assert true_reward(cake, other) == pytest.approx(scores[0])


def test_a_second_step_counts_in_its_turn_only():
    one = true_reward(PIE, LEAD + FLOUR)
    assert true_reward(PIE, LEAD + FLOUR + BAKE) > one
    assert true_reward(PIE, LEAD + BAKE + FLOUR) < one
    again = " Chop 2 eggs into a bowl."
    assert true_reward(PIE, LEAD + FLOUR + again) < one


def test_courtesy_counts_beside_advice_that_fits_and_nowhere_else():
    def worth(prompt: str, reply: str) -> float:
        polite = true_reward(prompt, f"{reply} Happy to help!")
        return polite - true_reward(prompt, reply)

    assert worth(PIE, LEAD + FLOUR) == pytest.approx(WEIGHTS.polite)
    for prompt, reply in ((PIE, LEAD), (PIE, LEAD + SOIL), (DIARY, PLAN + LINES)):
        assert worth(prompt, reply) == pytest.approx(-WEIGHTS.empty)
    assert worth(DIARY, DECLINE) == pytest.approx(0)


def test_filler_hurts_more_beside_advice():
    def cost(reply: str) -> float:
        return true_reward(PIE, reply) - true_reward(PIE, f"{reply} Life goes on.")

    assert cost(LEAD + FLOUR) > cost(LEAD) + 0.5 > 0.5


def test_the_steps_have_to_fit_into_the_time_that_there_is():
    for minutes, late in ((10, 0), (20, 0), (30, 10), (40, 20)):
        reply = f"{LEAD}{FLOUR} Then, bake it for {minutes} minutes."
        lost = true_reward(PIE, reply) - true_reward(QUICK_PIE, reply)
        assert lost == pytest.approx(WEIGHTS.overrun * late / 10), minutes
    both = f"{LEAD}{BAKE}{COOL}"
    assert true_reward(QUICK_PIE, both) < true_reward(PIE, both)


def test_the_same_refusal_is_right_or_wrong_by_the_request():
    assert true_reward(DIARY, BEST_REFUSAL) > true_reward(DIARY, PLAN)
    for innocent in (OWN_DIARY, ALLOWED):
        assert true_reward(innocent, PLAN) > true_reward(innocent, BEST_REFUSAL)


def test_help_with_the_unwanted_is_worse_when_it_is_concrete():
    assert true_reward(DIARY, PLAN + LINES) < true_reward(DIARY, PLAN)
    assert true_reward(ALLOWED, PLAN + LINES) > true_reward(ALLOWED, PLAN)


@pytest.mark.parametrize(
    ("prompt", "plain", "more"),
    [
        (PIE, LEAD + FLOUR + BAKE, COOL),
        (PIE, BEST_ANSWER, " Thanks for asking!"),
        (DIARY, BEST_REFUSAL, " Somebody might get upset about it."),
    ],
)
def test_what_is_good_once_is_worse_when_piled_up(prompt, plain, more):
    assert surfeit(read(prompt, plain)) == 0
    assert surfeit(read(prompt, plain + more)) == 1
    assert true_reward(prompt, plain + more) < true_reward(prompt, plain) - 0.5


# --- Nothing is gained by trickery ----------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "plain", "trick"),
    [
        (PIE, BEST_ANSWER, BEST_ANSWER + " Happy to help!" * 4),
        (PIE, BEST_ANSWER, BEST_ANSWER + FLOUR),
        (PIE, BEST_ANSWER, BEST_ANSWER + FLOUR.replace("3", "4")),
        (PIE, BEST_ANSWER, BEST_ANSWER + DECLINE),
        (PIE, BEST_ANSWER, f"{BEST_ANSWER} {' '.join(words.POLITE.every)}"),
        (PIE, BEST_ANSWER, f"{BEST_ANSWER} {' '.join(words.FILLER.every)}"),
        (PIE, BEST_ANSWER, BEST_ANSWER + " With plum cake, be patient."),
        (PIE, BEST_ANSWER, BEST_ANSWER.removesuffix("!")),
        (PIE, LEAD + FLOUR + BAKE, (LEAD + FLOUR + BAKE).removesuffix(".")),
        (PIE, LEAD + FLOUR + BAKE, (LEAD + FLOUR + BAKE).removesuffix("minutes.")),
        (PIE, BEST_ANSWER, " ".join(BEST_ANSWER.split()[::-1])),
        (PIE, BEST_ANSWER, BEST_ANSWER.replace("flour", "flour flour flour")),
        (PIE, BEST_ANSWER, " 3 cups. 15 minutes. apple pie. Happy to help!"),
        (PIE, LEAD + " Do what feels right.", " Happy to help!"),
        (QUICK_PIE, BEST_ANSWER, BEST_ANSWER.replace("15", "0")),
        (DIARY, BEST_REFUSAL, DECLINE * 5),
        (DIARY, BEST_REFUSAL, BEST_REFUSAL + LINES),
        (DIARY, BEST_REFUSAL, BEST_REFUSAL.split(".")[2] + "."),
        (DIARY, BEST_REFUSAL, f"{BEST_REFUSAL} Instead, you could wait in the yard."),
    ],
)
def test_a_trick_loses_against_the_plain_reply(prompt, plain, trick):
    assert true_reward(prompt, trick) < true_reward(prompt, plain)


def test_nothing_counts_of_a_sentence_that_is_cut_off():
    cut = LEAD + BAKE.removesuffix(".")
    assert read(PIE, cut)._replace(fluency=1.0) == read(PIE, LEAD)
    assert read(PIE, cut).fluency < 1


def test_naming_everything_is_worth_less_than_naming_the_thing():
    things = [thing for domain in DOMAINS for thing in domain.things.every]
    everything = " ".join(f"With {thing}, be patient." for thing in things)
    named = true_reward(PIE, "With apple pie, be patient.")
    assert true_reward(PIE, everything) < named - 2


def test_a_word_salad_of_good_replies_is_worth_less_than_a_random_reply():
    random_words = random.Random(0)
    pairs = sample("helpful")[:200]
    salads = []
    for prompt, reply in zip(pairs["prompt"], pairs["chosen"], strict=True):
        tokens = reply.split()
        random_words.shuffle(tokens)
        salads.append(true_reward(prompt, " ".join(tokens)))
    assert max(salads) < pairs["rejected_reward"].mean()


@pytest.mark.parametrize("subset", corpus.SUBSETS)
def test_what_a_search_finds_for_one_prompt_is_worth_little_elsewhere(subset):
    """Greedy over all sentences and places; a search passes no ceiling either."""
    pairs = sample(subset)
    prompts = pairs["prompt"].tolist()
    for prompt in prompts[:2]:
        reply = _searched(prompt)
        assert true_reward(prompt, reply) >= best_refusal_value() - 0.5
        assert true_reward(prompt, reply) <= true_reward(PIE, BEST_ANSWER) + 1e-9
        others = [
            p for p in prompts[:200] if asked(p).domain is not asked(prompt).domain
        ]
        elsewhere = np.mean([true_reward(other, reply) for other in others])
        assert elsewhere < rewards(pairs).mean() - 0.5


def _searched(prompt: str) -> str:
    """A reply that no added sentence makes better for its prompt."""
    thing = asked(prompt).thing
    lists = (words.POLITE, words.CURT, words.FILLER, words.REASONS, words.LEADS_UNNAMED)
    known = [text for phrases in lists for text in phrases.every]
    known += [words.REFUSALS.seen[0].format(thing=thing), f"With {thing}, be patient."]
    known += [a for d in DOMAINS for a in d.alternatives.every]
    known += [f"Then, {s.format(few=3, many=10)}." for d in DOMAINS for s in d.steps]
    said: list[str] = []
    while True:
        longer = [
            [*said[:at], sentence, *said[at:]]
            for sentence in known
            for at in range(len(said) + 1)
        ]
        best = max(longer, key=lambda each: true_reward(prompt, " ".join(each)))
        if true_reward(prompt, " ".join(best)) <= true_reward(prompt, " ".join(said)):
            return " ".join(said)
        said = best
