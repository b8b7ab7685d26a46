"""Where a sampled reply ends: the one rule of all that sample, pay for and judge replies."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers.data.dialogues import ASSISTANT, HUMAN
from helpers.models.encoding import reply_text

MARKERS = (HUMAN, ASSISTANT)  # whoever speaks next, the reply is over


class Ending:
    """A reply ends at any end token of the tokenizer or of the model's generation
    config, or with the last token of the next turn's marker (unless `at_turns` is off).

    A reply that reaches neither was cut by length.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel | None = None,
        at_turns: bool = True,
    ) -> None:
        self.tokenizer, self.at_turns = tokenizer, at_turns
        self.ids = end_ids(tokenizer, model)
        vocabulary = tokenizer.get_vocab().items()
        self.closing = {index for token, index in vocabulary if ":" in token}

    def reached(self, ids: Sequence[int]) -> bool:
        """Whether the last of the tokens sampled so far ended the reply."""
        if not ids:
            return False
        if ids[-1] in self.ids:
            return True
        # decoding at every token would cost more than the model: only after a colon
        if not self.at_turns or ids[-1] not in self.closing:
            return False
        tail = self.tokenizer.decode(ids[-len(ASSISTANT) :])
        return any(marker in tail for marker in MARKERS)

    def text(self, ids: Sequence[int], prompt: Sequence[int]) -> str:
        """What the reply says: up to its end, which is left out."""
        said = ids[:-1] if ids and ids[-1] in self.ids else ids
        text = reply_text(self.tokenizer, said, prompt)
        for marker in MARKERS if self.at_turns else ():
            text = text.split(marker)[0]
        return text


def end_ids(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None = None
) -> frozenset[int]:
    """The ids that end a reply: instruction-tuned models know more than the tokenizer's."""
    config = getattr(model, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    named = named if isinstance(named, list | tuple) else [named]
    return frozenset({tokenizer.eos_token_id, *named} - {None})
