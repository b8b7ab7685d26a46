"""Proximal policy optimisation of a language model against a reward on texts.

The trainer is a `transformers.Trainer`: callbacks, checkpoints, resuming, reports and
several processes are its own. The steps of the method are numbered 1 to 8, in the order
in which they run. Policy and critic are separate models as in Xu et al. (arXiv
2404.10719), or share a trunk.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    set_seed,
)

from helpers.core.processes import gathered, share
from helpers.losses import token_level
from helpers.models import loading
from helpers.models.encoding import as_text
from helpers.models.generation import uniform_draws
from helpers.models.states import collate, reply_logits
from helpers.rewards.judges import reward_function
from helpers.trainers.ppo.advantages import (
    adapted,
    assign_credit,
    clipped_losses,
    summarise,
)
from helpers.trainers.ppo.checkpoints import Checkpointed, RolloutEnd
from helpers.trainers.ppo.config import PPOConfig
from helpers.trainers.ppo.moments import AveragedMoments, RunningMoments
from helpers.trainers.ppo.parts import InParts
from helpers.trainers.rollouts import (
    ActorCritic,
    RewardFunction,
    Rollout,
    measure,
    micro_batches,
    prompt_rows,
    sample,
    seeded,
    stack,
    tempered,
)
from helpers.trainers.watched import Watched


def on_texts(reward: RewardFunction, tokenizer) -> RewardFunction:
    """A reward that is given conversations as the texts that the policy reads."""

    def paid(prompts: Sequence, completions: Sequence[str]):
        texts = [as_text(prompt, tokenizer) for prompt in prompts]
        return reward(prompts=texts, completions=completions)

    return paid


# --- the trainer ---------------------------------------------------------------------


class PPOTrainer(Watched, InParts, Checkpointed, Trainer):
    """Trains a policy, in place, to raise a reward, near a reference.

    model: a causal language model, or where one is stored. reward: a function of texts,
    `reward(prompts=..., completions=...)`, one score each, as TRL's trainers take, or a
    sequence classifier with one label that reads the policy's tokens.
    train_dataset: prompts, texts or conversations, or a data set with a column `prompt`.
    ref_model: None for a frozen copy of the policy, or, with adapters (`peft_config`, or
    a model that has them), for the policy with its adapters off. value_model: a sequence
    classifier with one label, best started from the reward model, or None for a value
    head on the policy's own trunk. Dropout stays off: a ratio must compare policies, not
    dropout masks. The same seed gives the same records, and so does a run that resumes
    from a checkpoint; prompts, draws and mini-batches depend on no number of processes.
    Raises ValueError if there are no prompts, or for what it cannot train with.
    """

    def __init__(
        self,
        model: PreTrainedModel | str,
        reward: RewardFunction | PreTrainedModel,
        args: PPOConfig,
        train_dataset: Sequence,
        processing_class: PreTrainedTokenizerBase,
        *,
        ref_model: PreTrainedModel | None = None,
        value_model: PreTrainedModel | None = None,
        peft_config=None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        set_seed(args.seed)  # adapters are drawn here, before Trainer would do it
        policy = loading.load_policy(model) if isinstance(model, str) else model
        if peft_config is not None:
            from peft import get_peft_model

            policy = get_peft_model(policy, peft_config)
        self.moments, self.scale = RunningMoments(), AveragedMoments()
        self.kl_coef = torch.tensor(args.kl_coef, dtype=torch.float64)
        self.ref_model = self._reference(policy, ref_model, args)
        super().__init__(
            ActorCritic(policy, value_model).eval(),
            args,
            processing_class=processing_class,
            callbacks=[*(callbacks or []), RolloutEnd(self)],
        )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError("PPOTrainer: every process needs a whole model, use DDP")
        world = self.accelerator.num_processes
        if args.episodes // args.num_mini_batches < world:
            raise ValueError(
                f"PPOConfig.episodes = {args.episodes}: expected at least one for each of "
                f"{args.num_mini_batches} mini-batches and {world} processes"
            )
        if self.ref_model is not None:
            self.ref_model.to(self.args.device)
        # where a reference starts that moves: KL is told from there
        self.start_model = deepcopy(self.ref_model) if args.ref_ema else None
        self.reward = on_texts(reward, processing_class)
        if isinstance(reward, PreTrainedModel):
            room = (
                args.max_completion_length + 1
            )  # for the end of a reply of that length
            limit = args.max_prompt_length + room
            reward = reward.to(self.args.device)
            self.reward = reward_function(reward, processing_class, limit, room)
        prompts = getattr(train_dataset, "column_names", None)
        prompts = train_dataset["prompt"] if prompts else train_dataset
        self.prompts = list(prompts)
        if not self.prompts:
            raise ValueError("PPOTrainer: no prompts to sample replies to")

    @staticmethod
    def _reference(policy, given, args: PPOConfig) -> PreTrainedModel | None:
        """The frozen reference; None where it is the policy with its adapters off."""
        adapters = hasattr(policy, "disable_adapter")
        if given is None and adapters and args.ref_ema:
            raise ValueError(
                "PPOConfig.ref_ema: a reference of its own has to be given"
            )
        if given is None and adapters:
            return None
        return (given or deepcopy(policy)).eval().requires_grad_(False)

    # --- one rollout ---

    def roll_out(self, number: int) -> Rollout:
        """Episodes on the prompts of a rollout, with everything that stays fixed.

        Every process samples and measures its share, then all hold all of them.
        """
        args = self.args
        rows = prompt_rows(number, args.episodes, len(self.prompts), args.seed)
        draws = uniform_draws(
            args.episodes, args.max_completion_length, seeded(args.seed, 1, number)
        )
        mine = share(args.episodes)
        with self.accelerator.autocast():
            # 1. Sample a reply to each prompt, and score the texts.
            episodes = sample(
                self.model.policy,
                self.reward,
                self.processing_class,
                [self.prompts[rows[place]] for place in mine],
                draws[list(mine)],
                max_prompt_length=args.max_prompt_length,
                temperature=args.temperature,
            )
            # 2. Measure every token under policy, reference and critic.
            measure(
                episodes,
                self.model,
                self.reference_logits,
                temperature=args.temperature,
                micro_batch_size=args.per_device_train_batch_size,
                start_logits=self.start_model
                and partial(reply_logits, self.start_model),
            )
        return stack(gathered(mine, episodes), self.args.device)

    def reference_logits(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, V) of the reference at the reply tokens of a batch."""
        policy = self.model.policy
        off = policy.disable_adapter if self.ref_model is None else nullcontext
        with off():
            return reply_logits(self.ref_model or policy, ids, targets)

    def begin(self, number: int) -> None:
        """Sample a rollout and work out what its tokens are worth."""
        args = self.args
        self.rollout, self.metrics, self.over = self.roll_out(number), [], False
        scores = self.rollout.scores - args.missing_eos_penalty * ~self.rollout.ended
        if args.normalise_rewards:
            self.moments.update(scores)
            scores = self.moments.normalise(scores)
        scale = self.scale if args.normalise_values else None
        self.credit = assign_credit(
            self.rollout, scores, args, self.kl_coef.item(), scale
        )

    # --- its updates ---

    def get_train_dataloader(self) -> DataLoader:
        """The numbers of the updates: all else follows from them and the seed."""
        return DataLoader(
            range(self.args.max_steps), collate_fn=lambda batch: {"update": batch[0]}
        )

    def training_step(self, model: nn.Module, inputs: dict, *_, **__) -> Tensor:
        """The gradient of one mini-batch; a new rollout comes before its first."""
        number, update = divmod(inputs["update"], self.args.updates)
        if update == 0:
            self.begin(number)
        if self.over:
            return self.leave_out(model)
        # 6. Several passes over the rollout in random mini-batches.
        epoch, part = divmod(update, self.args.num_mini_batches)
        order = torch.randperm(
            self.args.episodes, generator=seeded(self.args.seed, 2, number, epoch)
        )
        rows = order.chunk(self.args.num_mini_batches)[part].tolist()
        self.rows = rows
        metrics = self.backward(model, rows)
        self.metrics.append(metrics)
        if metrics["ratio"] > self.args.max_ratio:  # an infinite one, too
            self.over = True
            return self.leave_out(model)
        loss = metrics["policy_loss"] + self.args.vf_coef * metrics["value_loss"]
        return self.finite_loss(torch.tensor(loss, device=self.args.device))

    def kept_batch(self) -> dict[str, Tensor]:
        """The mini-batch of the update: ids, which of them were sampled, what they get."""
        part = [self.rollout.episodes[row] for row in self.rows]
        ids, sampled = collate(part, self.args.device)
        given = {"advantages": self.credit.advantages, "scores": self.rollout.scores}
        of_rows = {name: each[self.rows] for name, each in given.items()}
        return {"input_ids": ids, "sampled": sampled, **of_rows}

    def leave_out(self, model: nn.Module) -> Tensor:
        """Let the optimiser pass over this update, and what scales losses too; no loss."""
        model.zero_grad()
        self.accelerator.gradient_state._set_sync_gradients(False)
        return torch.zeros((), device=self.args.device)

    def backward(self, model: nn.Module, rows: list[int]) -> dict[str, float]:
        """Add up the gradient of a mini-batch; its metrics, means over its tokens."""
        world = self.accelerator.num_processes
        total = self.rollout.mask[rows].sum()
        rows = sorted(rows, key=lambda row: sum(map(len, self.rollout.episodes[row])))
        mine = rows[self.accelerator.process_index :: world]
        batches = list(
            micro_batches(
                self.rollout.episodes,
                mine,
                self.args.per_device_train_batch_size,
                self.args.device,
            )
        )
        sums: dict[str, Tensor] = {}
        for at, (part, ids, targets) in enumerate(batches):
            last = at == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(model):
                with self.accelerator.autocast():
                    logits, values = model(ids, targets)
                tokens = ids[:, 1:][targets]
                logprobs = token_level.token_logprobs(
                    tempered(logits, self.args.temperature), tokens
                )
                loss, metrics = clipped_losses(
                    logprobs, values, self.rollout, self.credit, part, self.args
                )
                share = self.rollout.mask[part].sum() / total
                # every token of the mini-batch counts once; DDP takes means of processes
                self.accelerator.backward(loss * share * world)
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + value * share
        means = torch.stack(list(sums.values()))
        if world > 1:
            means = self.accelerator.reduce(means)
        return dict(zip(sums, means.tolist()))

    def finish(self) -> None:
        """After the last update of a rollout: move what follows the policy, and log."""
        # 7. The reference follows slowly, and the KL coefficient seeks its target.
        if self.args.ref_ema:
            pairs = zip(self.ref_model.parameters(), self.model.policy.parameters())
            with torch.no_grad():
                for reference, policy in pairs:
                    reference.lerp_(policy, self.args.ref_ema)
        # 8. Log.
        record = summarise(self.rollout, self.credit, self.metrics)
        kl_coef = record["kl_coef"] = self.kl_coef.item()
        kl = record.get("kl_reference", record["kl"])
        self.kl_coef.fill_(adapted(kl_coef, kl, self.args.episodes, self.args))
        number = self.state.global_step // self.args.updates
        self.log({"rollout": number, **record})
