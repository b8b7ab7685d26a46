"""A method of your own: train a policy on a run's pairs, and hold it against SFT.

python book/examples/my_method.py cpu
"""

import sys
from functools import partial

import pandas as pd
import torch

from helpers.core.paths import PROJECT
from helpers.core.progress import quiet
from helpers.data.drawing import draw
from helpers.losses.token_level import token_logprobs
from helpers.models.encoding import encode, prompt_room
from helpers.models.generation import generate
from helpers.recipes import by_hand, evaluate, judging
from helpers.runs import store
from helpers.statistics import compare
from helpers.statistics.formats import number

RATE, BETA, SEED = 5e-5, 0.1, 0
PROMPTS = 100


def loss_of(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """The method: DPO with a hinge. A margin of 1 is enough, more gains nothing."""
    return torch.relu(1 - BETA * (chosen - rejected))


def logprob(model, tokenizer, prompt: str, reply: str, length: int) -> torch.Tensor:
    """Log-probability of a reply after its prompt, with a gradient."""
    before, after = encode(tokenizer, prompt, reply, length)
    logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
    return token_logprobs(logits, torch.tensor(after)).sum()


def train(policy, reference, tokenizer, pairs: pd.DataFrame, length: int) -> None:
    """One pair a step: slow, and all of it to be seen."""
    optimiser = torch.optim.AdamW(policy.parameters(), lr=RATE)
    for pair in pairs.itertuples():
        ratios = []
        for reply in (pair.chosen, pair.rejected):
            given = (tokenizer, pair.prompt, reply, length)
            with torch.no_grad():
                before = logprob(reference, *given)
            ratios.append(logprob(policy, *given) - before)
        optimiser.zero_grad()
        loss_of(*ratios).backward()
        optimiser.step()


def judged(name: str, policy, tokenizer, asked, judge, sizes: dict) -> pd.DataFrame:
    """One sampled reply to each prompt, as records that `compare` takes."""
    prompts = asked["prompt"].tolist()
    replies = generate(policy, tokenizer, prompts, temperature=1.0, seed=SEED, **sizes)
    scores = judge.score(prompts, [reply.text for reply in replies])
    rows = {"subset": asked["subset"], "example": asked["id"], "value": scores}
    return pd.DataFrame(rows).assign(name=name, seed=SEED, metric="reward")


def main(name: str, count: int) -> None:
    """Train from the run's SFT policy; say what the run's first judge says."""
    run = PROJECT.run(name)
    given = partial(store.parameter, run, "08_evaluate")
    length, new = given("max_length"), given("max_new_tokens")
    sizes = {"max_new_tokens": new, "max_prompt_tokens": prompt_room(length, new)}
    sft = next(path for job, path in store.trained(run, "05_sft") if job["seed"] == 0)
    (policy, tokenizer), (reference, _) = by_hand.loaded(sft), by_hand.loaded(sft)
    pairs = draw(store.read_pairs(run, "train"), count, SEED)
    train(policy, reference, tokenizer, pairs, length)
    judge, asked = judging.judges(run)[0], evaluate.asked(run, PROMPTS)
    both = {"mine": policy, "sft": reference}
    rows = [judged(who, m, tokenizer, asked, judge, sizes) for who, m in both.items()]
    found = compare.difference_table(compare.stacked(*rows), [("mine", "sft")])
    print(f"By {judge.name}, {len(asked)} prompts, one seed, mine less SFT:")
    for row in found.itertuples():
        print(f"  {row.subset}: {number(row.interval)}")


if __name__ == "__main__":
    quiet()
    main(sys.argv[1], int(sys.argv[2]))
