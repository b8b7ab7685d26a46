"""Mean and spread of a stream of numbers, as tensors that a checkpoint can hold."""

import torch
from torch import Tensor, nn


class RunningMoments(nn.Module):
    """Mean and variance of all values seen, batch by batch (Chan et al. 1979)."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("count", "mean", "squares"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def update(self, values: Tensor) -> None:
        """Take in a batch of values (B,)."""
        values = values.double().cpu()
        shift, total = values.mean() - self.mean, self.count + len(values)
        squares = (values - values.mean()).square().sum()
        self.squares += squares + shift**2 * self.count * len(values) / total
        self.mean += shift * len(values) / total
        self.count.copy_(total)

    def normalise(self, values: Tensor) -> Tensor:
        """Values (B,) on the scale of everything seen; `update` comes first."""
        deviation = (self.squares / self.count).sqrt().clamp(min=1e-6)
        return (values - self.mean.item()) / deviation.item()


class AveragedMoments(nn.Module):
    """Mean and spread as exponential averages over batches, free of their start at 0.

    As ReaLHF, the code of Xu et al. (arXiv 2404.10719), keeps them of returns, with its
    numbers: of the average, `beta` stays at each batch, the spread is at least 0.1, and
    what is further than 5 spreads from the mean is cut there. Before the first batch:
    mean 0, spread 1.
    """

    def __init__(self, beta: float = 0.99995) -> None:
        super().__init__()
        self.beta = beta
        for name in ("weight", "mean", "square"):  # averages, each short of its weight
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def update(self, values: Tensor) -> None:
        """Take in a batch of values (N,), which counts once, however long it is."""
        values = values.double().cpu()
        news = (torch.ones(()), values.mean(), values.square().mean())
        for average, new in zip(self.buffers(), news):
            average.mul_(self.beta).add_((1 - self.beta) * new)

    def scale(self) -> tuple[float, float]:
        """Mean and spread of the values seen."""
        if self.weight == 0:
            return 0.0, 1.0
        mean, square = self.mean / self.weight, self.square / self.weight
        return mean.item(), (square - mean**2).clamp(min=0.01).sqrt().item()

    def normalise(self, values: Tensor) -> Tensor:
        """Values of any shape on the scale of those seen."""
        mean, spread = self.scale()
        return ((values - mean) / spread).clamp(-5, 5)

    def restore(self, values: Tensor) -> Tensor:
        """The inverse of `normalise`, but for what it cuts."""
        mean, spread = self.scale()
        return values * spread + mean
