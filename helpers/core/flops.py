"""What a computation costs, counted while it runs: FLOPs, steps, processor time.

The rule: 2 FLOPs for each weight of a matrix product and each row that it is given, and
as many again for each gradient, of its input and of the weight, where they are needed.
That is 2 per weight and token read or sampled and 6 per weight and token trained on
(Kaplan et al. 2020, arXiv:2001.08361, sec. 2.1), for the weights that compute: looking an
embedding up costs nothing, the language head counts where it is read, tied or not. A
prompt that is shared is read once, a padded token is computed, and so is what
checkpointing computes again. Left out are the products inside attention, queries by keys
and weights by values, norms, activations and the optimiser.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from helpers.core.records import PROCESSOR


@dataclass
class Spent:
    """What was computed: FLOPs, steps of an optimiser, seconds of this process's cores."""

    flops: float = 0.0
    steps: int = 0
    cpu_seconds: float = 0.0

    def add(self, flops: float = 0.0, steps: int = 0, cpu_seconds: float = 0) -> None:
        """Book more of each."""
        self.flops += flops
        self.steps += steps
        self.cpu_seconds += cpu_seconds

    def rows(self) -> list[dict]:
        """Records: `train_flops` and `optimiser_steps`, if there are any, `cpu_seconds`."""
        found = {"train_flops": self.flops, "optimiser_steps": self.steps}
        rows = [{"metric": name, "value": float(n)} for name, n in found.items() if n]
        return [*rows, {"metric": PROCESSOR, "value": self.cpu_seconds}]


_running: list[Spent] = []  # the meters, the innermost last
_hooks: list = []  # what tells them, while there is any


@contextmanager
def metered() -> Iterator[Spent]:
    """Count what is computed inside the block; complete when it ends.

    Meters can be nested: what an inner one counts, outer ones count too.
    """
    spent = Spent(cpu_seconds=-time.process_time())
    first = not _hooks
    if first:
        _hooks.extend(_listen())
    _running.append(spent)
    try:
        yield spent
    finally:
        spent.add(cpu_seconds=time.process_time())
        _running.pop()
        while first and _hooks:
            _hooks.pop().remove()


@contextmanager
def aside() -> Iterator[None]:
    """What is computed inside is not booked: it examines a method and is no part of it.

    Meters that start inside count as ever.
    """
    outer, started = list(_running), time.process_time()
    _running.clear()
    try:
        yield
    finally:
        _running.extend(outer)
        book(cpu_seconds=started - time.process_time())


def book(**spent: float) -> None:
    """Add to all meters that run; what `Spent` has, by name."""
    for each in _running:
        each.add(**spent)


def so_far() -> list[Spent]:
    """What each meter that runs has counted until now, the innermost last."""
    now = time.process_time()
    return [replace(each, cpu_seconds=each.cpu_seconds + now) for each in _running]


def go_on(before: Sequence[Spent]) -> None:
    """Let the meters that run count on from what `so_far` said of the same ones.

    Raises ValueError if there are more or fewer of them.
    """
    now = time.process_time()
    for meter, spent in zip(_running, before, strict=True):
        vars(meter).update(as_values(spent), cpu_seconds=spent.cpu_seconds - now)


def as_values(spent: Spent) -> dict[str, float]:
    """What was spent, for `book`."""
    return asdict(spent)


# --- what is counted -------------------------------------------------------------------


def _listen() -> list:
    """Let torch tell of every module's forward and of every optimiser's step."""
    from torch.nn.modules.module import register_module_forward_hook
    from torch.optim.optimizer import register_optimizer_step_post_hook

    each_step = register_optimizer_step_post_hook(lambda *_: book(steps=1))
    return [each_step, register_module_forward_hook(_count)]


def _count(module, given: tuple, output) -> None:
    """Book a module that multiplies by weights: linear layers, experts, TRL's fused head.

    Told by their names where an import would load what a small job does not need.
    """
    from torch import nn

    if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
        once = 2 * output.numel() * given[0].shape[-1]
        book(flops=once * passes(module.weight, given[0]))
        return
    if type(module).__name__.endswith("Experts") and len(given) > 1:
        book(flops=experts(module, *given[:2]))
        return
    whole = hasattr(type(module), "get_output_embeddings")  # not what wraps a model
    if whole and type(output).__name__ == "FusedCausalLMOutput":
        book(flops=fused_head(module, output))


def experts(module, states, chosen) -> float:
    """FLOPs of a layer of experts: its matrices (experts, out, in), those chosen alone.

    chosen (tokens, k): which experts each token of `states` goes through.
    """
    matrices = [each for each in module.parameters(recurse=False) if each.dim() == 3]
    once = 2.0 * chosen.numel() * sum(each[0].numel() for each in matrices)
    return once * passes(matrices[0], states) if matrices else 0.0


def passes(weight, given) -> int:
    """How often a product is computed: forwards, and for each gradient that is needed.

    Inside a backward pass checkpointing computes a forward again, and its gradients were
    booked the first time.
    """
    import torch

    if not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1:
        return 1
    return 1 + weight.requires_grad + given.requires_grad


def fused_head(model, output) -> float:
    """FLOPs of TRL's head, which is no module; logits are computed again backwards.

    It reads labelled positions by Triton, elsewhere all of them.
    """
    import torch

    weight, mask = model.get_output_embeddings().weight, output.label_mask
    compact = mask.device.type in ("cuda", "xpu")
    rows = int(mask.sum()) if compact else mask.numel()
    often = 1
    if torch.is_grad_enabled() and output.log_probs.requires_grad:
        often = 3 + weight.requires_grad
    return 2.0 * rows * weight.numel() * often
