"""FLOPs that are booked: by hand on one pair, and against torch's own counter."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import MixtralConfig, MixtralForCausalLM

from helpers.core import flops
from helpers.models import loading
from helpers.models.endings import Ending
from helpers.models.generation import generate
from helpers.models.scoring import token_scores
from helpers.recipes import online
from helpers.rewards.judges import reward_scores
from helpers.rewards.payment import Payment
from helpers.trainers import datasets, iterative_dpo, rloo_grpo, training
from helpers.trainers.online_settings import Online
from helpers.trainers.reference import cached_scores
from helpers.trainers.training import Fit

ASKED = [f"\n\nHuman: Name {what}.\n\nAssistant:" for what in ("a herb", "two oils")]
PAIRS = pd.DataFrame(
    {
        "prompt": ASKED * 4,
        "chosen": [" Mint.", " Olive, nut.", " Thyme", " Nut"] * 2,
        "rejected": ["No idea at all.", " butter", " a herb.", " who asks?"] * 2,
    }
)
TOKENIZER = loading.build_tokenizer([*(PAIRS["prompt"] + PAIRS["chosen"])], 290)
HIDDEN, LAYERS = 32, 4
SHAPE = {"hidden": HIDDEN, "layers": LAYERS, "heads": 2, "max_positions": 128}
FIT = Fit(1e-3, 4, max_length=96)
SETTINGS = Online(
    rollouts=1,
    episodes=8,
    epochs=2,
    minibatches=2,
    learning_rate=1e-3,
    critic_learning_rate=1e-3,
    kl_coef=0.1,
    max_prompt_length=64,
    max_new_tokens=8,
    rounds=1,
)
# products of weights, as torch names them; attention's own have other names
WEIGHED = (torch.ops.aten.mm, torch.ops.aten.addmm)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny")
    loading.save(loading.build_opt(TOKENIZER, **SHAPE, seed=0), TOKENIZER, out)
    return out


def counted(work) -> tuple[float, float]:
    """FLOPs that are booked, and those of products with weights by torch."""
    with FlopCounterMode(display=False) as counter, flops.metered() as spent:
        work()
    by_kind = counter.get_flop_counts()["Global"]
    weighed = sum(n for kind, n in by_kind.items() if kind in WEIGHED)
    return spent.flops, weighed


def count_a(prompts: list[str], replies: list[str]) -> np.ndarray:
    return np.array([float(reply.count("a")) for reply in replies])


def payment(folder, judge) -> Payment:
    """Paid by a reward model, watched by a judge."""
    scorer = loading.load_scorer(folder)

    def scored(prompts, replies):
        return reward_scores(scorer, TOKENIZER, prompts, replies, max_length=96)

    named = [SimpleNamespace(name=n, score=s) for n, s in (("r", scored), ("j", judge))]
    return Payment(*named, Ending(TOKENIZER), 1.0)


def work_of(method: str, folder, out):
    """One short training by a method, ready to be done."""
    pairs = datasets.pair_dataset(PAIRS, TOKENIZER, 96)
    policy, scorer = loading.load_policy(folder), loading.load_scorer(folder)
    paid = payment(folder, count_a)
    common = (TOKENIZER, paid, ASKED, SETTINGS, out)
    critic = loading.load_scorer(folder)
    return {
        "sft": lambda: training.fit_chosen(policy, TOKENIZER, pairs, FIT, out),
        "rm": lambda: training.fit_reward_model(scorer, TOKENIZER, pairs, FIT, out),
        "dpo": lambda: training.fit_dpo(policy, TOKENIZER, pairs, FIT, out, 0.1),
        "dpo_lora": lambda: training.fit_dpo(
            policy, TOKENIZER, pairs, FIT, out, 0.1, adapters=True
        ),
        "ppo": lambda: online.fit_ppo(policy, critic, *common),
        "ppo_head": lambda: online.fit_ppo(policy, None, *common),
        "rloo": lambda: rloo_grpo.fit_grouped("rloo", policy, *common),
        "grpo": lambda: rloo_grpo.fit_grouped("grpo", policy, *common),
        "dpo_iter": lambda: iterative_dpo.fit_iterative(policy, *common),
    }[method]


METHODS = [
    "sft",
    "rm",
    "dpo",
    "dpo_lora",
    "ppo",
    "ppo_head",
    "rloo",
    "grpo",
    "dpo_iter",
]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_booked_is_what_torch_counts(
    method, folder, tmp_path, monkeypatch
) -> None:
    # what watches is not booked, but torch counts it
    monkeypatch.setattr(iterative_dpo, "health", iterative_dpo.health.__wrapped__)
    booked, weighed = counted(work_of(method, folder, tmp_path))
    # a little more: the last block's keys and values are booked where they are not read
    assert 0.995 < booked / weighed < 1.08


def one_pair():
    """A prompt and two replies that begin apart, and how long each is."""
    data = datasets.pair_dataset(PAIRS[:1], TOKENIZER, 96)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return data, *(len(data[0][name]) for name in names)


def test_a_pair_of_a_reward_model_by_hand(folder, tmp_path) -> None:
    data, prompt, chosen, rejected = one_pair()
    tokens = prompt + chosen + rejected  # a prompt is read once
    ends = 2  # where the last block and the score head work
    whole = 12 * HIDDEN**2 * ((LAYERS - 1) * tokens + ends)
    keys = 3 * HIDDEN**2 * tokens  # the last block's keys, values and queries of all
    by_hand = 6 * (whole + keys + ends * HIDDEN)
    scorer = loading.load_scorer(folder)
    with flops.metered() as spent:
        training.fit_reward_model(scorer, TOKENIZER, data, FIT, tmp_path)
    assert spent.flops == by_hand
    assert spent.steps == 1
    copies = 6 * 12 * HIDDEN**2 * LAYERS * (tokens + prompt)
    assert spent.flops < 0.8 * copies  # what counting the prompt twice would give


def test_a_pair_of_dpo_by_hand(folder, tmp_path) -> None:
    data, prompt, chosen, rejected = one_pair()
    tokens = prompt + chosen + rejected
    learned = chosen + rejected
    read = learned - 1  # the prompt's last token predicts the first of both replies
    trunk = 12 * HIDDEN**2 * ((LAYERS - 1) * tokens + read) + 3 * HIDDEN**2 * tokens
    head = HIDDEN * len(TOKENIZER) * learned
    policy = loading.load_policy(folder)
    with flops.metered() as reference:
        cached_scores(policy, data, None)
    assert reference.flops == 2 * (trunk + head)
    with flops.metered() as spent:
        training.fit_dpo(policy, TOKENIZER, data, FIT, tmp_path, 0.1)
    assert spent.flops == 6 * (trunk + head) + reference.flops


def test_scores_that_are_read_from_a_cache_are_booked_all_the_same(
    folder, tmp_path
) -> None:
    data, *_ = one_pair()
    policy, spent = loading.load_policy(folder), []
    for _ in range(2):
        with flops.metered() as each:
            cached_scores(policy, data, tmp_path)
        spent.append(each.flops)
    assert spent[0] == spent[1] > 0


def test_a_sampled_token_reads_itself_and_a_prompt_is_read_once(folder) -> None:
    policy = loading.load_policy(folder)
    per_token = 12 * HIDDEN**2 * LAYERS
    head = HIDDEN * len(TOKENIZER)
    for copies in (1, 3):
        with flops.metered() as spent:
            replies = generate(
                policy, TOKENIZER, ASKED[:1] * copies, max_new_tokens=5,
                temperature=1.0, max_prompt_tokens=64,
            )  # fmt: skip
        written = sum(len(reply.ids) for reply in replies)
        read = sum(len(reply.prompt) for reply in replies) + written - copies
        assert spent.flops == 2 * (per_token * read + head * written)


def test_what_examines_is_not_booked(folder, tmp_path) -> None:
    policy = loading.load_policy(folder)
    with flops.metered() as outer:
        with flops.aside(), flops.metered() as inner:
            token_scores(policy, [([1, 2], [3, 4])])
        assert outer.flops == 0 < inner.flops
        token_scores(policy, [([1, 2], [3, 4])])
    assert outer.flops == inner.flops
    token_scores(policy, [([1, 2], [3, 4])])
    assert outer.flops == inner.flops  # it ended


def test_a_judge_that_watches_costs_nothing(folder, tmp_path) -> None:
    def judge(prompts, replies):
        policy = loading.load_policy(folder)
        token_scores(policy, [([1, 2], [3, 4])] * 50)
        return count_a(prompts, replies)

    spent = []
    for watching in (count_a, judge):
        paid = payment(folder, watching)
        with flops.metered() as each:
            paid(ASKED, [" a", " b"])
        spent.append(each.flops)
    assert spent[0] == spent[1] > 0


def test_experts_cost_those_that_a_token_goes_through() -> None:
    """Mixtral by hand: two of four experts a token, gate, up and down each, and back."""
    config = MixtralConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    layer = MixtralForCausalLM(config).model.layers[0].mlp
    states = torch.randn(2, 5, 16, requires_grad=True)
    with flops.metered() as spent:
        layer(states).sum().backward()
    experts, router = 2 * 10 * 2 * (3 * 16 * 24), 2 * 10 * 16 * 4
    assert spent.flops in (
        3 * experts,
        3 * (experts + router),
    )  # forward, two gradients


def test_a_meter_ends_where_its_work_fails() -> None:
    with pytest.raises(ValueError, match="no"), flops.metered():
        raise ValueError("no")
    linear = torch.nn.Linear(2, 3)
    with flops.metered() as spent:
        linear(torch.ones(5, 2)).sum().backward()
    assert spent.flops == 2 * 2 * 3 * 5 * 2  # forwards, and the weight's gradient


def test_what_checkpointing_computes_again_is_booked_once_more() -> None:
    from torch.utils.checkpoint import checkpoint

    layers = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    given = torch.ones(5, 2, requires_grad=True)
    with flops.metered() as spent:
        checkpoint(layers, given, use_reentrant=False).sum().backward()
    # forwards and two gradients of both, and the first again: the last is not needed
    assert spent.flops == 2 * 2 * 3 * 5 * (3 + 3 + 1)


def test_the_rows_of_what_was_spent() -> None:
    spent = flops.Spent(flops=6.0, steps=2, cpu_seconds=1.5)
    rows = {row["metric"]: row["value"] for row in spent.rows()}
    assert rows == {"train_flops": 6.0, "optimiser_steps": 2.0, "cpu_seconds": 1.5}
    assert [row["metric"] for row in flops.Spent().rows()] == ["cpu_seconds"]
