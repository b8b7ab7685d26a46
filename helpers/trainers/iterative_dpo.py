"""Iterative DPO: pairs made of the policy's own replies, round by round.

In each round the policy answers prompts several times, a reward ranks the answers, and
DPO learns from the best and the worst to each prompt, held near the policy of the start
(Xiong et al. 2023, arXiv:2312.11456; compared with PPO by Xu et al., arXiv:2404.10719).
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers.core.flops import aside
from helpers.core.processes import booked_once, gathered, share
from helpers.models.generation import Reply, generate, uniform_draws
from helpers.models.scoring import Encoded, token_scores
from helpers.rewards.payment import Payment
from helpers.statistics.metrics import sequence_kl
from helpers.trainers.datasets import PAIR_IDS
from helpers.trainers.online_settings import Online
from helpers.trainers.rollouts import prompt_rows, seeded
from helpers.trainers.training import Fit, fit_dpo


def fit_iterative(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    payment: Payment,
    prompts: Sequence[str],
    settings: Online,
    out: Path,
) -> list[dict]:
    """Train in place by iterative DPO with beta = `kl_coef`; one row of metrics a round.

    The episodes of all rollouts are shared out to `settings.rounds` rounds. Raises
    ValueError if a round has no prompt to answer `settings.generations` times.
    """
    copies = settings.generations
    asked = settings.rollouts * settings.episodes // settings.rounds // copies
    if asked == 0:
        raise ValueError(
            f"{settings.rounds} rounds of {copies} replies a prompt: expected at least "
            f"{settings.rounds * copies} episodes in all"
        )
    fit = Fit(
        learning_rate=settings.dpo_learning_rate,
        batch_size=settings.episodes // settings.minibatches,
        epochs=settings.epochs,
        seed=settings.seed,
        # the rounds are one training: a warm-up in each would start each at a rate of 0
        warmup=0.0,
        schedule="constant",
    )
    start, log = copy.deepcopy(policy).eval(), []
    for number in range(settings.rounds):
        rows = prompt_rows(number, asked, len(prompts), settings.seed)
        texts = [prompts[row] for row in rows for _ in range(copies)]
        replies = sample_groups(policy, tokenizer, texts, settings, number)
        encoded = [(reply.prompt, reply.ids) for reply in replies]
        with booked_once():
            scores = payment(
                texts,
                [reply.text for reply in replies],
                completion_ids=[reply.ids for reply in replies],
            )
        pairs = best_and_worst(encoded, np.array(scores), copies)
        log.append(health(policy, start, replies, encoded))
        if len(pairs):
            beta = settings.kl_coef
            given = {"reference": start, "adapters": settings.adapters}
            fit_dpo(policy, tokenizer, pairs, fit, out, beta, **given)
    return log


def sample_groups(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    settings: Online,
    number: int,
) -> list[Reply]:
    """One sampled reply to each text in round `number`.

    Every process samples its share, then all hold all of them.
    """
    tokens = settings.max_new_tokens
    draws = uniform_draws(len(texts), tokens, seeded(settings.seed, 1, number))
    mine = share(len(texts))
    sampled = generate(
        policy,
        tokenizer,
        [texts[place] for place in mine],
        max_new_tokens=tokens,
        temperature=1.0,
        draws=draws[list(mine)],
        max_prompt_tokens=settings.max_prompt_length,
    )
    return gathered(mine, sampled)


def best_and_worst(
    encoded: Sequence[Encoded], scores: np.ndarray, copies: int
) -> Dataset:
    """The best and the worst of each prompt's `copies` replies, as pairs of token ids.

    Columns as `datasets.pair_dataset`; prompts whose replies are all paid alike teach
    nothing and are left out.
    """
    rows = []
    for group, paid in enumerate(scores.reshape(-1, copies)):
        best, worst = (group * copies + at for at in (paid.argmax(), paid.argmin()))
        if scores[best] > scores[worst]:
            (prompt, chosen), (_, rejected) = encoded[best], encoded[worst]
            length = len(prompt) + len(chosen) + len(rejected)
            rows.append((prompt, chosen, rejected, length))
    columns = map(list, zip(*rows)) if rows else ([], [], [], [])
    return Dataset.from_dict(dict(zip(PAIR_IDS, columns, strict=True)))


@aside()
def health(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    replies: Sequence[Reply],
    encoded: Sequence[Encoded],
) -> dict[str, float]:
    """What PPO's records tell of a rollout, for the replies of a round; KL by k3."""
    kl = sequence_kl(*(token_scores(model, encoded) for model in (policy, reference)))
    return {
        "kl": kl.mean(),
        "reply_length": np.mean([len(reply) for _, reply in encoded]),
        "ended": np.mean([reply.ended for reply in replies]),
        "tokens": sum(len(prompt) + len(reply) for prompt, reply in encoded),
    }
