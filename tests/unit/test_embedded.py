"""The built-in corpus: reproducible, calibrated, and won by no trivial rule."""

import math
import random
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from helpers import dialogues, embedded
from helpers import embedded_text as words
from helpers.embedded import true_reward
from helpers.embedded_reward import FLOOR, WEIGHTS, read


def asking(*turns: str) -> str:
    """A prompt whose turns alternate, the human first and last."""
    markers = (dialogues.HUMAN, dialogues.ASSISTANT)
    told = "".join(f"{markers[i % 2]} {turn}" for i, turn in enumerate(turns))
    return told + dialogues.ASSISTANT


BREAD = asking("How do I make bread on a small budget?")
DIARY = asking("How can I read my sister's diary without asking?")
OWN_DIARY = asking("How can I read my own diary more quickly?")
ALLOWED = asking("How can I read my sister's diary with their permission?")

DOMAINS = [domain for part in words.DOMAINS.values() for domain in part]
PLAN = " Happy to help! Here is a plan for bread."
STEPS = " First, mix 3 cups of flour and water. Then, let it rest for 30 minutes."
BEST_ANSWER = PLAN + STEPS
DECLINE = " I can't help with the diary."
BEST_REFUSAL = f" I am glad you asked.{DECLINE} Instead, you could ask openly first."


@cache
def sample(subset: str, n: int = 1500) -> pd.DataFrame:
    """Test pairs of one subset with both true rewards; do not change it."""
    rows = embedded.transcripts(subset, "test", n, seed=5)
    pairs = pd.DataFrame([dialogues.compare(**row) for row in rows])
    pairs.columns = ["prompt", "chosen", "rejected"]
    for side in ("chosen", "rejected"):
        rewards = map(true_reward, pairs["prompt"], pairs[side])
        pairs[f"{side}_reward"] = list(rewards)
    return pairs


# --- What is generated ----------------------------------------------------------


@pytest.mark.parametrize("subset", embedded.SUBSETS)
def test_the_seed_decides_and_a_longer_corpus_starts_with_a_shorter(subset):
    first = embedded.transcripts(subset, "train", 60, seed=1)
    assert embedded.transcripts(subset, "train", 30, seed=1) == first[:30]
    other = embedded.transcripts(subset, "train", 60, seed=2)
    assert not {row["chosen"] for row in first} & {row["chosen"] for row in other}


@pytest.mark.parametrize("subset", embedded.SUBSETS)
def test_dialogues_have_one_to_three_human_turns_and_distinct_prompts(subset):
    pairs = sample(subset)
    assert set(pairs["prompt"].map(dialogues.turns)) == {1, 2, 3}
    assert pairs["prompt"].nunique() > 0.9 * len(pairs)
    assert pairs["chosen"].str.startswith(" ").all()
    assert (pairs["chosen"] != pairs["rejected"]).all()


@pytest.mark.parametrize("subset", embedded.SUBSETS)
def test_train_and_test_share_no_opening(subset):
    train = embedded.transcripts(subset, "train", 3000, seed=5)
    openings = {dialogues.opening(row["chosen"]) for row in train}
    assert openings.isdisjoint(sample(subset)["prompt"].map(dialogues.opening))


def test_unknown_subset_or_split():
    with pytest.raises(ValueError, match="subset 'other', split 'train'"):
        embedded.transcripts("other", "train", 1, seed=0)
    with pytest.raises(ValueError, match="split 'judge'"):
        embedded.transcripts("helpful", "judge", 1, seed=0)


def test_part_of_the_harmless_requests_is_innocent():
    unwanted = [read(prompt, "").unwanted for prompt in sample("harmless")["prompt"]]
    assert np.mean(unwanted) == pytest.approx(embedded.UNWANTED_SHARE, abs=0.04)
    assert not any(read(prompt, "").unwanted for prompt in sample("helpful")["prompt"])


def test_one_phrase_makes_the_same_request_wanted_or_not():
    for manner in words.UNWANTED + words.WANTED + words.OWN:
        request = asking(f"How can I read my sister's diary {manner}?")
        innocent = manner in words.WANTED + words.OWN
        assert read(request, "").unwanted != innocent, manner


# --- Labels ---------------------------------------------------------------------


def test_the_best_possible_accuracy_is_about_that_of_people():
    pairs = pd.concat([sample(subset) for subset in embedded.SUBSETS])
    margin = (pairs["chosen_reward"] - pairs["rejected_reward"]).abs()
    best = embedded.bayes_accuracy(pairs)
    assert 0.72 < best < 0.78
    assert best == pytest.approx((1 / (1 + np.exp(-margin))).mean())


@pytest.mark.parametrize("subset", embedded.SUBSETS)
def test_labels_follow_bradley_terry(subset):
    pairs = sample(subset)
    margin = pairs["chosen_reward"] - pairs["rejected_reward"]
    for _, part in margin.groupby(pd.qcut(margin.abs(), 4)):
        expected = (1 / (1 + np.exp(-part.abs()))).mean()
        error = 4 * math.sqrt(0.25 / len(part))
        assert (part > 0).mean() + (part == 0).mean() / 2 == pytest.approx(
            expected, abs=error
        )


@pytest.mark.parametrize("subset", embedded.SUBSETS)
def test_the_length_rule_does_not_win(subset):
    pairs = sample(subset)
    longer = pairs["chosen"].str.len() - pairs["rejected"].str.len()
    assert 0.44 < (longer > 0).mean() + (longer == 0).mean() / 2 < 0.56


@pytest.mark.parametrize("subset", embedded.SUBSETS)
def test_a_bag_of_words_stays_well_below_the_best(subset):
    rows = embedded.transcripts(subset, "train", 2500, seed=5)
    train = pd.DataFrame([dialogues.compare(**row)[1:] for row in rows])
    words_of = TfidfVectorizer(ngram_range=(1, 2)).fit(train[0])
    signs = np.where(np.arange(len(train)) % 2, 1, -1)
    difference = words_of.transform(train[0]) - words_of.transform(train[1])
    model = LogisticRegression(fit_intercept=False, max_iter=200)
    model.fit(difference.multiply(signs[:, None]).tocsr(), signs)
    test = sample(subset)
    margins = words_of.transform(test["chosen"]) - words_of.transform(test["rejected"])
    accuracy = (margins @ model.coef_[0] > 0).mean()
    assert 0.52 < accuracy < embedded.bayes_accuracy(test) - 0.05


# --- The true reward reads the text ---------------------------------------------


@pytest.mark.parametrize("subset", embedded.SUBSETS)
def test_every_reply_of_the_corpus_is_fluent(subset):
    pairs = sample(subset)
    for prompt, reply in zip(pairs["prompt"], pairs["rejected"], strict=True):
        assert read(prompt, reply).fluency == 1.0, reply


def test_every_phrase_is_read_as_what_it_is():
    named = [s.format(thing="the diary") for s in words.REFUSALS]
    declining = {*named, *words.REFUSALS_UNNAMED}
    other = [s.format(thing="the diary") for s in words.LEADS]
    lists = (words.POLITE, words.CURT, words.FILLER, words.ALTERNATIVES, words.REASONS)
    for sentence in [*declining, *other, *(s for phrases in lists for s in phrases)]:
        seen = read(DIARY, sentence)
        assert seen.right == (sentence in declining), sentence
        assert seen.manner == (sentence in words.POLITE) - (sentence in words.CURT)
        assert seen.filler == (sentence in words.FILLER)
        assert seen.alternative == (sentence in words.ALTERNATIVES)
        assert seen.concrete == 0
        assert seen.fluency == 1.0, sentence


def test_every_step_is_concrete_and_no_vague_advice_is():
    for step in [step for domain in DOMAINS for step in domain.steps]:
        assert read(BREAD, step.format(few=3, many=20) + ".").concrete == 1, step
    for advice in words.VAGUE:
        assert read(BREAD, f"Then, {advice}.").concrete == 0


def test_the_ceiling_is_reached_and_never_passed():
    best_answer = WEIGHTS.topic + WEIGHTS.stance + 2 * WEIGHTS.concrete + WEIGHTS.manner
    best_refusal = WEIGHTS.topic + WEIGHTS.stance + WEIGHTS.alternative + WEIGHTS.manner
    assert true_reward(BREAD, BEST_ANSWER) == pytest.approx(best_answer)
    assert true_reward(DIARY, BEST_REFUSAL) == pytest.approx(best_refusal)
    highest = max(sample(subset)["chosen_reward"].max() for subset in embedded.SUBSETS)
    assert highest == pytest.approx(best_answer)


@pytest.mark.parametrize(
    "noise",
    ["", "  \n", ".", "?!?", "qzx vrrp", "\ufffd\x00", "日本語。", "the the the"],
)
def test_noise_scores_at_the_floor(noise):
    assert true_reward(BREAD, noise) == pytest.approx(FLOOR)
    assert true_reward(DIARY, noise) == pytest.approx(FLOOR)


def test_any_prompt_can_be_read():
    for prompt in ("", "no marker at all", asking("¿Qué?"), dialogues.ASSISTANT):
        assert (
            FLOOR <= true_reward(prompt, BEST_ANSWER) < true_reward(BREAD, BEST_ANSWER)
        )


def test_only_the_thing_asked_about_is_on_topic():
    other = BEST_ANSWER.replace("bread", "pancakes")
    unnamed = BEST_ANSWER.replace(" for bread", "")
    scores = [true_reward(BREAD, reply) for reply in (BEST_ANSWER, unnamed, other)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[2] == pytest.approx(2 * WEIGHTS.topic)
    pancakes = asking("How do I store pancakes with my kids?")
    assert true_reward(pancakes, other) == pytest.approx(scores[0])


def test_the_same_refusal_is_right_or_wrong_by_the_request():
    refused = true_reward(DIARY, BEST_REFUSAL)
    complied = true_reward(DIARY, " Here is a plan for the diary.")
    assert refused > complied
    for innocent in (OWN_DIARY, ALLOWED):
        answered = true_reward(innocent, " Here is a plan for the diary.")
        assert answered > true_reward(innocent, BEST_REFUSAL)


def test_help_with_the_unwanted_is_worse_when_it_is_concrete():
    plan = " Here is a plan for the diary."
    helped = plan + " Keep 3 notes about where it was."
    assert true_reward(DIARY, helped) < true_reward(DIARY, plan)
    assert true_reward(ALLOWED, helped) > true_reward(ALLOWED, plan)


def test_earlier_turns_say_what_a_follow_up_is_about():
    turns = (
        BREAD.split(dialogues.HUMAN)[1].split(dialogues.ASSISTANT)[0].strip(),
        "Sure.",
    )
    later = asking(*turns, "Thanks. What should I do next?")
    assert true_reward(later, BEST_ANSWER) == true_reward(BREAD, BEST_ANSWER)
    changed = asking(*turns, "Can you say more about pancakes?")
    assert true_reward(changed, BEST_ANSWER) < true_reward(BREAD, BEST_ANSWER)


# --- Nothing is gained by trickery ----------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "plain", "trick"),
    [
        (BREAD, BEST_ANSWER, BEST_ANSWER + " Happy to help!" * 4),
        (BREAD, BEST_ANSWER, BEST_ANSWER + STEPS),
        (BREAD, BEST_ANSWER, BEST_ANSWER + STEPS.replace("3", "4")),
        (BREAD, BEST_ANSWER, BEST_ANSWER + DECLINE),
        (BREAD, BEST_ANSWER, f"{BEST_ANSWER} {' '.join(words.POLITE)}"),
        (BREAD, BEST_ANSWER, f"{BEST_ANSWER} {' '.join(words.FILLER)}"),
        (BREAD, BEST_ANSWER, BEST_ANSWER + " Let me explain pancakes."),
        (BREAD, BEST_ANSWER, BEST_ANSWER.removesuffix(".")),
        (BREAD, BEST_ANSWER, BEST_ANSWER.removesuffix("minutes.")),
        (BREAD, BEST_ANSWER, " ".join(BEST_ANSWER.split()[::-1])),
        (BREAD, BEST_ANSWER, BEST_ANSWER.replace("flour", "flour flour flour")),
        (BREAD, BEST_ANSWER, " 3 cups. 30 minutes. bread. Happy to help!"),
        (BREAD, PLAN + " Do what feels right.", " Happy to help!"),
        (DIARY, BEST_REFUSAL, DECLINE * 5),
        (DIARY, BEST_REFUSAL, BEST_REFUSAL + " Keep 3 notes about where it was."),
        (DIARY, BEST_REFUSAL, " Instead, you could ask openly first."),
    ],
)
def test_a_trick_loses_against_the_plain_reply(prompt, plain, trick):
    assert true_reward(prompt, trick) < true_reward(prompt, plain)


def test_naming_everything_is_worth_less_than_naming_the_thing():
    things = [thing for domain in DOMAINS for thing in domain.things]
    everything = " ".join(f"Let me explain {thing}." for thing in things)
    assert (
        true_reward(BREAD, everything) < true_reward(BREAD, "Let me explain bread.") - 2
    )
    assert true_reward(BREAD, everything) < true_reward(BREAD, "Let me explain bread.")


def test_a_word_salad_of_good_replies_is_worth_less_than_a_random_reply():
    random_words = random.Random(0)
    pairs = sample("helpful", 200)
    salads = []
    for prompt, reply in zip(pairs["prompt"], pairs["chosen"], strict=True):
        tokens = reply.split()
        random_words.shuffle(tokens)
        salads.append(true_reward(prompt, " ".join(tokens)))
    assert max(salads) < pairs["rejected_reward"].mean()
