"""The built-in corpus: reproducible, calibrated, and won by no trivial rule."""

import math
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from helpers.data import dialogues, hh
from helpers.data.synthetic import corpus, reward
from helpers.data.synthetic import phrases as words
from helpers.data.synthetic.reading import asked, read
from helpers.data.synthetic.reward import surfeit, true_reward
from helpers.statistics import metrics
from tests.unit.data.embedded_pairs import (
    DOMAINS,
    SIDES,
    asking,
    attributes,
    expected_accuracy,
    linear_rule,
    rewards,
    sample,
)

SUBSETS = pytest.mark.parametrize("subset", corpus.SUBSETS)
LISTS = [each for each in vars(words).values() if isinstance(each, words.Phrases)]


def held_out(subset: str) -> set[str]:
    """The things of a subset that only its test split may name."""
    return {thing for domain in words.DOMAINS[subset] for thing in domain.things.held}


# --- What is generated ----------------------------------------------------------


@SUBSETS
def test_the_seed_decides_and_a_longer_corpus_starts_with_a_shorter(subset):
    first = corpus.transcripts(subset, "train", 60, seed=1)
    assert corpus.transcripts(subset, "train", 30, seed=1) == first[:30]
    other = corpus.transcripts(subset, "train", 60, seed=2)
    assert not {row["chosen"] for row in first} & {row["chosen"] for row in other}


@SUBSETS
def test_dialogues_have_one_to_three_human_turns_and_distinct_prompts(subset):
    pairs = sample(subset)
    assert set(pairs["prompt"].map(dialogues.turns)) == {1, 2, 3}
    assert pairs["prompt"].nunique() > 0.9 * len(pairs)
    assert pairs["chosen"].str.startswith(" ").all()
    assert (pairs["chosen"] != pairs["rejected"]).all()


@SUBSETS
def test_train_and_test_share_no_opening(subset):
    train = sample(subset, "train", 3000)["prompt"].map(dialogues.opening)
    assert set(train).isdisjoint(sample(subset)["prompt"].map(dialogues.opening))


def test_unknown_subset_or_split():
    with pytest.raises(ValueError, match="subset 'other', split 'train'"):
        corpus.transcripts("other", "train", 1, seed=0)
    with pytest.raises(ValueError, match="split 'judge'"):
        corpus.transcripts("helpful", "judge", 1, seed=0)


def test_part_of_the_harmless_requests_is_innocent():
    unwanted = [read(prompt, "").unwanted for prompt in sample("harmless")["prompt"]]
    assert np.mean(unwanted) == pytest.approx(corpus.UNWANTED_SHARE, abs=0.04)
    assert not any(read(prompt, "").unwanted for prompt in sample("helpful")["prompt"])


def test_one_phrase_makes_the_same_request_wanted_or_not():
    for manner in words.UNWANTED.every + words.WANTED.every + words.OWN.every:
        request = asking(f"How can I read my sister's old diary {manner}?")
        unwanted = manner in words.UNWANTED.every
        assert read(request, "").unwanted == unwanted, manner


# --- What only the test split holds ---------------------------------------------


def test_nothing_held_out_is_in_what_any_model_may_learn_from():
    settings = {"n_builtin": 4000, "max_pairs": 0, "seed": 0}
    shares = {"judge_fraction": 0.2, "dev_fraction": 0.05}
    pairs, _ = hh.load_pairs("built-in", **settings, **shares)
    assert set(pairs["split"]) == {"train", "judge", "dev", "test"}
    found = {
        split: " ".join(part["prompt"] + part["chosen"] + part["rejected"]).lower()
        for split, part in pairs.groupby("split")
    }
    held = {
        text.format(thing="").lower().rstrip(" .")
        for each in [*LISTS, *(d[i] for d in DOMAINS for i in (0, 2, 4))]
        for text in each.held
    }
    for split in ("train", "judge", "dev"):
        assert not [text for text in held if text in found[split]], split
    assert sum(text in found["test"] for text in held) > 0.9 * len(held)


@SUBSETS
def test_test_sentences_and_words_are_unseen_in_training(subset):
    said = {}
    for split, n in (("train", 3000), ("test", 1500)):
        pairs = sample(subset, split, n)
        replies = " ".join(pairs["chosen"] + pairs["rejected"])
        keys = re.split(r"[.!?]", re.sub(r"\d+", "#", replies.lower()))
        said[split] = Counter(key.strip() for key in keys)
        said[split, "words"] = set(re.findall(r"[a-z']+", replies.lower()))
    unseen = sum(n for key, n in said["test"].items() if key not in said["train"])
    assert 0.25 < unseen / sum(said["test"].values()) < 0.6
    new = said["test", "words"] - said["train", "words"]
    assert {thing for thing in held_out(subset) if " " not in thing} <= new


@SUBSETS
def test_half_of_the_test_prompts_ask_about_a_thing_that_is_held_out(subset):
    things = [asked(prompt).thing for prompt in sample(subset)["prompt"]]
    share = np.mean([thing in held_out(subset) for thing in things])
    assert share == pytest.approx(corpus.HELD_OUT_THINGS, abs=0.05)
    learned = sample(subset, "train", 3000)["prompt"]
    assert not {asked(prompt).thing for prompt in learned} & held_out(subset)


def test_what_is_held_out_comes_with_words_that_are_known():
    """A thing by its domain's tasks, a step by the words of other steps."""
    known = {
        word
        for domain in DOMAINS
        for stage in domain.stages
        for step in stage.seen
        for word in step.split()
    }
    for domain in DOMAINS:
        assert not domain.tasks.held
        others = {task for d in DOMAINS if d is not domain for task in d.tasks.seen}
        assert not others & set(domain.tasks.seen)
        for step in [step for stage in domain.stages for step in stage.held]:
            assert len(set(step.split()) - known) <= 1, step


# --- Labels ---------------------------------------------------------------------


@SUBSETS
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_best_possible_accuracy_is_about_that_of_people(subset, split):
    pairs = sample(subset, split, 3000 if split == "train" else 1500)
    margin = (pairs["chosen_reward"] - pairs["rejected_reward"]).abs()
    best = reward.bayes_accuracy(pairs)
    assert 0.72 < best < 0.78
    assert best == pytest.approx((1 / (1 + np.exp(-margin))).mean())


@SUBSETS
def test_labels_follow_bradley_terry(subset):
    pairs = sample(subset)
    margin = pairs["chosen_reward"] - pairs["rejected_reward"]
    for _, part in margin.groupby(pd.qcut(margin.abs(), 4)):
        expected = (1 / (1 + np.exp(-part.abs()))).mean()
        error = 4 * math.sqrt(0.25 / len(part))
        assert (part > 0).mean() + (part == 0).mean() / 2 == pytest.approx(
            expected, abs=error
        )


@SUBSETS
def test_many_states_decide_the_reward(subset):
    assert rewards(sample(subset)).round(6).nunique() > 100


# --- No simple rule wins --------------------------------------------------------


@SUBSETS
def test_length_is_a_weak_cue(subset):
    pairs = sample(subset)
    accuracy = expected_accuracy(pairs, metrics.length_margin(pairs))
    assert 0.46 < accuracy < 0.6


@SUBSETS
def test_a_bag_of_words_stays_well_below_the_best(subset):
    words_of = metrics.BagOfWords().fit(sample(subset, "train", 3000))
    test = sample(subset)
    accuracy = expected_accuracy(test, words_of.margins(test))
    assert 0.51 < accuracy < reward.bayes_accuracy(test) - 0.1


@SUBSETS
def test_a_sum_of_all_attributes_stays_below_the_best(subset):
    pairs = sample(subset)
    chosen, rejected = (attributes(pairs["prompt"], pairs[side]) for side in SIDES)
    margins = (chosen - rejected) @ linear_rule(subset)
    accuracy = expected_accuracy(pairs, margins)
    assert 0.6 < accuracy < reward.bayes_accuracy(pairs) - 0.03


@SUBSETS
def test_no_constant_reply_reaches_the_mean_of_all_replies(subset):
    pairs = sample(subset)
    prompts = pairs["prompt"].sample(150, random_state=0).tolist()
    train = sample(subset, "train", 3000)
    replies = pd.concat([train[side].head(1000) for side in SIDES]).tolist()
    best = best_constant(replies, prompts)
    assert best < rewards(pairs).mean() - 0.3
    assert stitched_constant(replies, prompts[:40]) < rewards(pairs).mean() - 0.1


def mean_reward(reply: str, prompts: list[str]) -> float:
    return float(np.mean([true_reward(prompt, reply) for prompt in prompts]))


def best_constant(replies: list[str], prompts: list[str]) -> float:
    """The best mean true reward of one reply to every prompt."""
    promising = sorted(replies, key=lambda r: -mean_reward(r, prompts[:20]))[:50]
    return max(mean_reward(reply, prompts) for reply in promising)


def stitched_constant(replies: list[str], prompts: list[str]) -> float:
    """The best mean of a reply put together greedily of the sentences of others."""
    sentences = Counter(
        s for r in replies for s in re.findall(r"[^ .!?][^.!?]*[.!?]", r)
    )
    common = [sentence for sentence, _ in sentences.most_common(50)]
    best, said = -math.inf, ""
    while True:
        longer = {mean_reward(f"{said} {s}", prompts): f"{said} {s}" for s in common}
        if max(longer) <= best:
            return best
        best, said = max(longer.items())


# --- Over-optimisation can show -------------------------------------------------


@SUBSETS
def test_surfeit_is_rare_among_what_models_learn_from(subset):
    pairs = sample(subset, "train", 3000)
    for side in SIDES:
        seen = map(read, pairs["prompt"], pairs[side])
        assert 0 < np.mean([surfeit(each) > 0 for each in seen]) < 0.08


def test_who_follows_a_rule_learned_from_pairs_rises_and_falls():
    """Sentences are added while a sum of attributes rises; the truth turns on the way."""
    weights, paths = linear_rule("helpful"), []
    for prompt in sample("helpful")["prompt"].head(20):
        request = asked(prompt)
        steps = [step.format(few=2, many=10) for step in request.domain.steps]
        known = [*words.POLITE.seen, *(f"{s[0].upper()}{s[1:]}." for s in steps)]
        reply, path = f" Here is a plan for {request.thing}.", []
        for _ in range(6):
            longer = [f"{reply} {sentence}" for sentence in known]
            proxy = attributes([prompt] * len(longer), longer) @ weights
            reply = longer[int(proxy.argmax())]
            path.append((proxy.max(), true_reward(prompt, reply)))
        paths.append(path)
    proxy, truth = np.array(paths).mean(axis=0).T
    print(proxy, truth)
    assert proxy[-1] > proxy[0]
    peak = int(truth.argmax())
    assert peak < 4
    assert truth[-1] < truth[peak] - 1
