"""Inside a job on several processes: whose share of the work this process has.

Alone, all of it. Every process trains its share of each batch; the first one saves.
`runs.launch` starts them.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from helpers.core.flops import Spent, aside


@dataclass(frozen=True)
class Processes:
    """How many processes train a model, and what each of them holds of it.

    strategy: a file of `notebooks/strategies`. `ddp`: all of it; `zero2`: its weights,
    a part of gradients and moments; `fsdp`: a part of everything.
    """

    count: int = 1
    strategy: str = "ddp"


ALONE = Processes()


def share(count: int) -> range:
    """The places, of so many, that are this process's work; all of them if it is alone."""
    import torch.distributed as group

    several = processes() > 1
    return range(count)[group.get_rank() :: processes()] if several else range(count)


def processes() -> int:
    """On how many processes this training runs; each gets its share of every batch."""
    import torch.distributed as group

    started = group.is_available() and group.is_initialized()
    return group.get_world_size() if started else 1


def booked_once() -> AbstractContextManager:
    """While it lasts, what all processes compute alike is booked for the first only."""
    import torch.distributed as group

    return aside() if processes() > 1 and group.get_rank() else nullcontext()


def gathered(places: Iterable[int], items: Iterable[object]) -> list:
    """The items of all processes in the order of their places, in every process."""
    placed = list(zip(places, items, strict=True))
    if processes() > 1:
        from accelerate.utils import gather_object

        placed = gather_object(placed)
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def spent_by_all(spent: Spent) -> Spent:
    """The FLOPs and seconds of all processes together; they share their steps."""
    everyone = gathered(share(processes()), [(spent.flops, spent.cpu_seconds)])
    flops, seconds = map(sum, zip(*everyone, strict=True))
    return Spent(flops, spent.steps, seconds)
