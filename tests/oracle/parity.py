"""Our PPO against the tensors that TRL 1.12.0's own trainer had: `make oracle`.

Not collected by a plain `pytest`: `record.py` has to have run before, elsewhere. Equal,
to 1e-4, is all that belongs to reply tokens: log-probabilities of policy and reference,
values, scores, rewards, advantages, returns, losses and gradients. TRL differs in:

- Whitening: it divides by the variance of a sample, n - 1, ours by that of the n tokens,
  so its advantages are sqrt((n - 1) / n) of ours, for the n reply tokens of a rollout.
- Replies that end early: it gives the score to the place after the last token where
  there is one, and keeps a value there, that of the state after the end. So credit
  decays once more on its way back, and the value loss counts that place too. Ours gives
  the score to the last token itself. `longer` makes TRL's reading out of our episodes.
- Micro-batches: it adds the means of each, so that a token beside short replies counts
  for more; ours counts every token of a mini-batch once. (Recorded are mini-batches of
  one micro-batch.) It steps once in `gradient_accumulation_steps` micro-batches, even
  where they come from several mini-batches.
- Replies cut by length: its reward model reads them as they are, ours an end after them.
  It clips neither scores nor gradients.
"""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from helpers.losses import token_level
from helpers.models import loading
from helpers.rewards.judges import reward_scores
from helpers.trainers.ppo.advantages import Credit
from helpers.trainers.ppo.config import PPOConfig
from helpers.trainers.ppo.trainer import PPOTrainer
from helpers.trainers.rollouts import Episode, Rollout, measure, stack

DEFAULT = Path(__file__).parents[2] / ".venv-oracle" / "recorded"
RECORDED = Path(os.environ.get("ORACLE", DEFAULT))
CASES, UPDATES, TOLERANCE = ("full", "early"), range(4), 1e-4
SAME = (  # the settings that both trainers have
    *("temperature", "kl_coef", "kl_estimator", "missing_eos_penalty", "gamma", "lam"),
    *("cliprange", "cliprange_value", "vf_coef", "num_mini_batches", "num_ppo_epochs"),
)
PAD = 0

pytestmark = pytest.mark.skipif(
    not RECORDED.exists(), reason=f"no tensors of TRL in {RECORDED}: run record.py"
)


# --- what TRL had, and the same for our trainer --------------------------------------


@dataclass
class Case:
    """TRL's tensors, and our trainer with the same models, settings and episodes."""

    name: str
    theirs: dict[str, Tensor]
    ppo: PPOTrainer
    episodes: list[Episode]

    @property
    def tokens(self) -> Tensor:
        """True at the reply tokens of TRL's tensors (B, T)."""
        return ~self.theirs["padding_mask"]


def load(name: str, scratch: Path) -> Case:
    torch.set_num_threads(1)
    theirs = load_file(RECORDED / name / "rollout.safetensors")
    ppo = build_trainer(name, len(theirs["scores"]), scratch)
    episodes = measured(ppo, read_episodes(theirs))
    return Case(name, theirs, ppo, episodes)


@pytest.fixture(params=CASES)
def case(request, tmp_path) -> Case:
    return load(request.param, tmp_path)


@pytest.fixture
def full(tmp_path) -> Case:
    return load("full", tmp_path)


@pytest.fixture
def early(tmp_path) -> Case:
    return load("early", tmp_path)


def build_trainer(name: str, episodes: int, scratch: Path) -> PPOTrainer:
    stored = json.loads((RECORDED / name / "settings.json").read_text("utf-8"))
    settings = {key: stored[key] for key in SAME}
    args = PPOConfig(
        output_dir=str(scratch),
        episodes=episodes,
        per_device_train_batch_size=3,
        use_cpu=True,
        **settings,
    )
    return PPOTrainer(
        loading.load_policy(RECORDED / "policy").cpu(),
        loading.load_scorer(RECORDED / "reward").cpu(),
        args,
        ["w2"],
        loading.load_tokenizer(RECORDED / "tokenizer"),
        ref_model=loading.load_policy(RECORDED / "reference").cpu(),
        value_model=loading.load_scorer(RECORDED / "critic").cpu(),
    )


def read_episodes(theirs: dict[str, Tensor]) -> list[Episode]:
    """TRL's rows without their padding, scored by the same reward model."""
    start = int(theirs["context_length"])
    scorer = loading.load_scorer(RECORDED / "reward").cpu()
    episodes = []
    for row, last, ended in zip(
        theirs["query_responses"].tolist(),
        theirs["sequence_lengths"].tolist(),
        theirs["contain_eos_token"].tolist(),
    ):
        prompt = [token for token in row[:start] if token != PAD]
        reply = row[start : start + last + 1]
        with torch.no_grad():
            score = scorer(torch.tensor([prompt + reply])).logits.item()
        episodes.append(Episode(prompt, reply, ended, score))
    return episodes


def measured(ppo: PPOTrainer, episodes: list[Episode]) -> list[Episode]:
    """The episodes, measured as every rollout is."""
    measure(
        episodes,
        ppo.model,
        ppo.reference_logits,
        temperature=ppo.args.temperature,
        micro_batch_size=ppo.args.per_device_train_batch_size,
    )
    return episodes


def longer(case: Case) -> list[Episode]:
    """The episodes in TRL's reading: a place after the last token, if there is room.

    Its value is that of the state after the last token; it has no divergence.
    """
    room = case.tokens.shape[1]
    longer = [len(each.reply) < room for each in case.episodes]
    episodes = [
        replace(each, reply=[*each.reply, PAD][:room]) for each in case.episodes
    ]
    for each, added in zip(measured(case.ppo, episodes), longer):
        if added:
            each.logprobs[-1] = each.reference_logprobs[-1] = 0.0
    return episodes


def begin(ppo: PPOTrainer, episodes: list[Episode]) -> tuple[Rollout, Credit]:
    """The rollout and what its tokens are worth, as our trainer works it out."""
    ppo.roll_out = lambda number: stack(episodes)
    ppo.begin(0)
    return ppo.rollout, ppo.credit


def begin_as_theirs(case: Case) -> tuple[Rollout, Credit]:
    """As `begin`, in TRL's reading of replies that end, with its advantages."""
    case.ppo.args.whiten_advantages = False
    rollout, credit = begin(case.ppo, longer(case))
    advantages = token_level.masked_whiten(credit.advantages, case.tokens)
    return rollout, replace(credit, advantages=advantages * shrinks(case.tokens))


def shrinks(mask: Tensor) -> float:
    """What TRL's whitening leaves of ours: n - 1 for n."""
    count = mask.sum().item()
    return ((count - 1) / count) ** 0.5


def put_in_place(ppo: PPOTrainer, update: dict[str, Tensor]) -> None:
    """Give policy and critic the weights that an update of TRL started from."""
    weights = parts(update, "weight.")
    mine = dict(ppo.model.named_parameters())
    assert weights.keys() == mine.keys()
    with torch.no_grad():
        for name, parameter in mine.items():
            parameter.copy_(weights[name])
            parameter.grad = None


def parts(update: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Weights or gradients of an update, by our names."""
    return {
        name.removeprefix(kind).replace("value_model.", "critic."): tensor
        for name, tensor in update.items()
        if name.startswith(kind)
    }


def same(ours, theirs, what: str) -> None:
    """Equal to 1e-4, or an AssertionError says where not."""
    torch.testing.assert_close(
        torch.as_tensor(ours),
        theirs,
        rtol=0,
        atol=TOLERANCE,
        msg=lambda text: f"{what}\n{text}",
    )


# --- the comparison ------------------------------------------------------------------


def test_the_recorded_replies_are_of_the_two_kinds() -> None:
    for name in CASES:
        theirs = load_file(RECORDED / name / "rollout.safetensors")
        lengths = (~theirs["padding_mask"]).sum(1)
        assert lengths.max() == theirs["values"].shape[1]
        assert (len(lengths.unique()) > 3) == (name == "early")


def test_what_is_measured_at_reply_tokens_agrees(case: Case) -> None:
    rollout, tokens, theirs = stack(case.episodes), case.tokens, case.theirs
    assert torch.equal(rollout.mask, tokens)
    reference = theirs["ref_logprobs"][tokens]
    same(rollout.logprobs[tokens], theirs["logprobs"][tokens], "logprobs")
    same(rollout.reference_logprobs[tokens], reference, "reference_logprobs")
    same(rollout.values[tokens], theirs["values"][tokens], "values")
    penalty = case.ppo.args.missing_eos_penalty * ~rollout.ended
    same(rollout.scores - penalty, theirs["scores"], "scores")


def test_a_reward_model_gives_replies_that_end_the_same_scores(early: Case) -> None:
    ended = [each for each in early.episodes if each.ended]
    tokenizer = early.ppo.processing_class
    prompts = [tokenizer.decode(each.prompt) for each in ended]
    replies = [f" {tokenizer.decode(each.reply[:-1])}" for each in ended]
    scorer = loading.load_scorer(RECORDED / "reward").cpu()
    scores = reward_scores(scorer, tokenizer, prompts, replies, max_length=30)
    theirs = early.theirs["scores"][early.theirs["contain_eos_token"]]
    same(torch.from_numpy(scores).float(), theirs, "scores")


def test_credit_of_replies_of_full_length_agrees(full: Case) -> None:
    rollout, credit = begin(full.ppo, full.episodes)
    same(credit.rewards, full.theirs["rewards"], "rewards")
    same(credit.returns, full.theirs["returns"], "returns")
    advantages = credit.advantages * shrinks(rollout.mask)
    same(advantages, full.theirs["advantages"], "advantages")


def test_credit_of_replies_that_end_agrees_in_the_other_reading(early: Case) -> None:
    rollout, credit = begin_as_theirs(early)
    assert torch.equal(rollout.mask, ~early.theirs["padding_mask_p1"])
    for name in ("rewards", "returns", "advantages"):
        same(getattr(credit, name), early.theirs[name], name)


def test_replies_that_end_earn_the_same_in_both_readings(early: Case) -> None:
    _, credit = begin(early.ppo, early.episodes)
    same(credit.rewards.sum(1), early.theirs["rewards"].sum(1), "rewards of a reply")
    whole = early.tokens.all(1)  # these are read alike
    assert 2 < whole.sum() < len(whole)
    same(credit.rewards[whole], early.theirs["rewards"][whole], "rewards")
    same(credit.returns[whole], early.theirs["returns"][whole], "returns")


@pytest.mark.parametrize("number", UPDATES)
def test_losses_and_gradients_of_every_update_agree(case: Case, number: int) -> None:
    update = load_file(RECORDED / case.name / f"update-{number}.safetensors")
    rows, ppo = update["rows"].tolist(), case.ppo
    rollout, credit = begin_as_theirs(case)
    put_in_place(ppo, update)
    # the value loss counts the place after a reply, the policy loss does not
    ppo.rollout, ppo.credit = rollout, credit
    value_loss = ppo.backward(ppo.model, rows)["value_loss"]
    critic = {n: p.grad.clone() for n, p in ppo.model.critic.named_parameters()}
    put_in_place(ppo, update)
    ppo.rollout = stack(case.episodes)
    policy_loss = ppo.backward(ppo.model, rows)["policy_loss"]
    same(value_loss, update["vf_loss"], "value loss")
    same(policy_loss, update["pg_loss"], "policy loss")
    gradients = parts(update, "grad.")
    for name, parameter in ppo.model.policy.named_parameters():
        same(parameter.grad, gradients[f"policy.{name}"], f"gradient of {name}")
    for name, gradient in critic.items():
        same(gradient, gradients[f"critic.{name}"], f"gradient of critic.{name}")


@pytest.mark.parametrize("setting", ["kl_coef", "gamma", "lam", "missing_eos_penalty"])
def test_a_setting_that_is_off_by_a_thousandth_shows(case: Case, setting: str) -> None:
    setattr(case.ppo.args, setting, getattr(case.ppo.args, setting) + 1e-3)
    case.ppo.kl_coef.fill_(case.ppo.args.kl_coef)
    _, credit = begin_as_theirs(case)
    with pytest.raises(AssertionError, match="returns"):
        same(credit.returns, case.theirs["returns"], "returns")
