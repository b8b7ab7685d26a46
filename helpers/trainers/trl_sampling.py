"""What TRL's online trainers read and sample, made that of all other methods here."""

import inspect

from torch import nn

from helpers.models.encoding import encode_prompt
from helpers.models.generation import Reply, continue_prompts, uniform_draws
from helpers.models.loading import disable_dropout
from helpers.trainers.resumable import Resumable
from helpers.trainers.rollouts import seeded
from helpers.trainers.watched import Watched


def count_positions(trunk: nn.Module, args: tuple, given: dict) -> tuple[tuple, dict]:
    """A hook before a trunk's forward: positions count tokens, not padding before them."""
    mask, known = given.get("attention_mask"), given.get("position_ids")
    whole = given.get("past_key_values") is None and known is None
    if mask is None or mask.dim() != 2 or not whole:
        return args, given
    if "position_ids" not in inspect.signature(trunk.forward).parameters:
        return args, given
    return args, {**given, "position_ids": (mask.long().cumsum(1) - 1).clamp(min=0)}


class OurReplies(Watched, Resumable):
    """Mix-in for TRL's RLOO and GRPO trainers: prompts, replies and texts are ours.

    `max_prompt_length` is set by whoever makes the trainer, before it trains.
    """

    max_prompt_length: int

    def __init__(self, *args, **kwargs) -> None:
        """TRL's leaves dropout on, by default, and OPT's in any case.

        It also pads prompts on the left and gives no positions, so that GPT-2 would learn
        at other ones than it sampled at.
        """
        super().__init__(*args, **kwargs)
        disable_dropout(self.model)  # a ratio must compare policies, not masks
        for model in filter(None, (self.model, self.ref_model)):
            trunk = self.accelerator.unwrap_model(model).get_decoder()
            trunk.register_forward_pre_hook(count_positions, with_kwargs=True)

    def _tokenize_prompts(self, prompts: list) -> tuple[list[list[int]], None, dict]:
        """TRL's encodes whole texts, by the chat template where they are conversations.

        Here prompts are also cut from the left, to the ids that SFT and PPO read.
        """
        limit, tokenizer = self.max_prompt_length, self.processing_class
        return [encode_prompt(tokenizer, each, limit) for each in prompts], None, {}

    def sample(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """The ids of one reply to each prompt, drawn by the seed and the rollout alone."""
        here, several = self.accelerator.process_index, self.accelerator.num_processes
        count, tokens = len(prompt_ids), self.args.max_completion_length
        updates = self.args.steps_per_generation * self.args.num_iterations
        chance = seeded(self.args.seed, 1, self.state.global_step // updates)
        draws = uniform_draws(count * several, tokens, chance)
        self.replies: list[Reply] = continue_prompts(
            self.accelerator.unwrap_model(self.model_wrapped),
            self.processing_class,
            prompt_ids,
            max_new_tokens=tokens,
            temperature=self.args.temperature,
            draws=draws[here * count : (here + 1) * count],
        )
        return [reply.ids for reply in self.replies]

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """TRL's pays the decoded ids; ours the replies' texts, which stop at their end."""
        texts = [reply.text for reply in self.replies]
        return super()._calculate_rewards(inputs, prompts, texts, completion_ids_list)

    def compute_loss(self, model: nn.Module, inputs: dict, *rest, **named):
        """TRL's is given what was sampled, as tensors: that is the batch of the step."""
        self.batch = inputs
        return super().compute_loss(model, inputs, *rest, **named)
