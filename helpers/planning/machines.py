"""How fast machines train, read and sample: what the times of a plan rest on.

The GPUs' speeds are their data sheets', of which trainings reach a share that was measured
(`benchmarks/devices.py`). Two cores' are measured as a whole, by the same benchmark.
"""

from dataclasses import dataclass

from helpers.models.memory import replies_side_by_side

LAUNCH = 0.025  # s to start the kernels of 24 blocks, one token a reply: assumed
RECOMPUTED = 8 / 6  # with activation checkpointing each forward is done twice


@dataclass(frozen=True)
class Work:
    """One kind of job of a stage: how many, and the tokens of all of them together."""

    stage: str
    what: str
    jobs: int
    parameters: float
    trained: float = 0.0  # tokens that are learned from, in every pass
    read: float = 0.0  # tokens that are read only
    sampled: float = 0.0

    @property
    def flops(self) -> float:
        """6 per parameter and token trained on, 2 per token read or sampled."""
        tokens = 6 * self.trained + 2 * (self.read + self.sampled)
        return self.parameters * tokens


@dataclass(frozen=True)
class Gpu:
    """Peak speeds and memory, by NVIDIA's data sheets."""

    speed: float  # FLOP/s of the matrix units in 16 bits, dense
    bandwidth: float  # bytes/s
    memory: float  # GB
    share: float  # of the peak speed that our trainings reach: `gpu_t4`, `gpu_h100`

    @property
    def replies(self) -> int:
        """How many replies are sampled side by side."""
        return replies_side_by_side(self.memory)

    def seconds(self, work: Work) -> float:
        """In 16 bits, one job at a time."""
        speed = self.share * self.speed / work.parameters
        learned = (6 * RECOMPUTED * work.trained + 2 * work.read) / speed
        weights = 2 * work.parameters / self.bandwidth  # read anew for every token
        step = max(LAUNCH, 2 * self.replies / speed + weights)
        return learned + work.sampled / self.replies * step


@dataclass(frozen=True)
class Cores:
    """FLOP/s at what a processor was measured to do, by 6 and 2 per parameter and token."""

    trained: float
    read: float
    sampled: float

    def seconds(self, work: Work) -> float:
        """One job at a time, on all cores."""
        passes = 6 * work.trained / self.trained + 2 * work.read / self.read
        return work.parameters * (passes + 2 * work.sampled / self.sampled)


GPUS = {
    # by the time in which an H200 computed, whose bandwidth stands to its speed as a T4's
    "T4": Gpu(speed=65e12, bandwidth=320e9, memory=16, share=0.10),
    # by the whole time of DPO, in half of which the GPU waited for the processor
    "H100": Gpu(speed=989e12, bandwidth=3.35e12, memory=80, share=0.06),
}
# SmolLM2-135M in float32, between SFT and the reward model: `laptop`
CORES = {"two cores": Cores(trained=1.28e11, read=1.5e11, sampled=3.75e10)}
MACHINES = GPUS | CORES
