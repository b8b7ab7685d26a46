"""What TRL's online trainers read and sample, made that of all other methods here."""

import torch

from helpers.encoding import encode_prompt
from helpers.generate import Reply, continue_prompts, uniform_draws
from helpers.rollouts import seeded


class OurReplies:
    """Mix-in for TRL's RLOO and GRPO trainers: prompts, replies and texts are ours.

    `max_prompt_length` is set by whoever makes the trainer, before it trains.
    """

    max_prompt_length: int
    generated: int = 0  # rollouts so far

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
        chance = seeded(self.args.seed, 1, self.generated)
        draws = uniform_draws(count * several, tokens, chance)
        self.replies: list[Reply] = continue_prompts(
            self.accelerator.unwrap_model(self.model_wrapped),
            self.processing_class,
            prompt_ids,
            max_new_tokens=tokens,
            temperature=self.args.temperature,
            draws=draws[here * count : (here + 1) * count],
        )
        self.generated += 1
        return [reply.ids for reply in self.replies]

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """TRL's pays the decoded ids; ours the replies' texts, which stop at their end."""
        texts = [reply.text for reply in self.replies]
        return super()._calculate_rewards(inputs, prompts, texts, completion_ids_list)
