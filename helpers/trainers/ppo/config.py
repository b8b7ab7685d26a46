"""The settings of PPO, each with its reason: `TrainingArguments` and what PPO adds."""

from dataclasses import dataclass

from transformers import TrainingArguments

ESTIMATORS = ("k1", "k2", "k3")


@dataclass
class PPOConfig(TrainingArguments):
    """Settings of `PPOTrainer`; names are TRL's where TRL had the same setting.

    "Xu" is arXiv 2404.10719, appendix A, or its code, ReaLHF. Steps of the trainer
    (`save_steps`, the scheduler's) are updates: `num_ppo_epochs * num_mini_batches` a
    rollout. `max_steps` follows from `rollouts`. A forward takes at most
    `per_device_train_batch_size` rows: it changes memory and speed, not results.
    `max_grad_norm` holds for policy and critic, each by itself; `weight_decay` for all
    but norms and biases, as in any `Trainer`. Raises ValueError for values that cannot
    be trained with.
    """

    # rollouts
    rollouts: int = 100  # a small model has settled by then
    episodes: int = 64  # replies a rollout, all processes together; Xu: 64, large 512
    max_prompt_length: int = 128  # tokens; cut from the left: last turns matter most
    max_completion_length: int = 48  # tokens; a reply of one or two sentences
    temperature: float = 1.0  # sample the policy itself, as the gradient assumes (Xu)
    missing_eos_penalty: float = 1.0  # taken off a reply cut by length: teaches to stop

    # reward
    kl_coef: float = 0.1  # weight of the KL penalty in the reward (Xu)
    kl_estimator: str = "k1"  # its expectation is the KL itself, so that is penalised
    # nats a reply from the reference, wherever that has moved to: kl_coef can hold only
    # the KL that it weighs at a target (Ziegler et al. 2019)
    target_kl: float | None = None
    kl_horizon: int = 10_000  # episodes over which it adapts (Ziegler et al. 2019)
    reward_clip: float = 20.0  # an outlier of the reward model moves no further (Xu)
    normalise_rewards: bool = False  # by running mean and spread: for unscaled rewards
    ref_ema: float = 0.0  # share of the policy mixed into the reference a rollout (Xu)

    # credit
    gamma: float = 1.0  # only the end is rewarded: nothing to discount (Xu)
    lam: float = 0.95  # leans on the critic a little; 1 (Xu) is unbiased but noisier
    whiten_advantages: bool = True  # advantage normalisation, the first factor of Xu
    normalise_values: bool = (
        False  # the critic says returns by their mean and spread (Xu)
    )

    # updates
    num_ppo_epochs: int = 4  # passes over a rollout; Schulman et al. 2017 use 3 to 10
    num_mini_batches: int = 4  # updates a pass (Xu)
    cliprange: float = 0.2  # largest useful change of a token's ratio (Schulman, Xu)
    cliprange_value: float = 0.2  # largest useful move of a value a rollout (Xu)
    vf_coef: float = 1.0  # of the value loss; matters where critic and policy share
    max_ratio: float = 5.0  # mean ratio at which the rest of a rollout is left (Xu)
    learning_rate: float = 1e-5  # of the policy (Xu, for 7B; small models bear more)
    critic_learning_rate: float = 5e-6  # (Xu): it starts from a trained reward model

    # the trainer
    lr_scheduler_type: str = "constant"  # no horizon: more rollouts continue a run
    logging_strategy: str = "no"  # every rollout is logged, whatever this says

    @property
    def updates(self) -> int:
        """Updates a rollout."""
        return self.num_ppo_epochs * self.num_mini_batches

    def __post_init__(self) -> None:
        for name in (
            *("rollouts", "episodes", "num_ppo_epochs", "num_mini_batches"),
            *("max_prompt_length", "max_completion_length", "kl_horizon"),
        ):
            self._expect(getattr(self, name) >= 1, name, "at least 1")
        total = self.rollouts * self.updates
        whole = self.episodes % self.num_mini_batches == 0
        self._expect(whole, "episodes", f"a multiple of {self.num_mini_batches}")
        self._expect(self.temperature > 0, "temperature", "above 0, PPO must explore")
        self._expect(0 <= self.ref_ema < 1, "ref_ema", "in [0, 1)")
        self._expect(
            self.target_kl is None or self.target_kl > 0, "target_kl", "above 0"
        )
        known = self.kl_estimator in ESTIMATORS
        self._expect(known, "kl_estimator", ", ".join(ESTIMATORS))
        given = self.max_steps in (-1, total)
        self._expect(given, "max_steps", f"{total}, rollouts times updates")
        single = self.gradient_accumulation_steps == 1
        self._expect(
            single, "gradient_accumulation_steps", "1, mini-batches accumulate"
        )
        self.max_steps = total
        super().__post_init__()

    def _expect(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            value = getattr(self, name)
            raise ValueError(f"PPOConfig.{name} = {value!r}: expected {expected}")
