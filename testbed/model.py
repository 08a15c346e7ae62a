"""The network that is served and trained.

Its size is chosen so that the knobs matter: the wide layer's 34 MB of weights are streamed from memory for every batch
and every view, whatever the batch holds, so a request alone costs three times as much as a request in a batch.
Milliseconds on one busy core of a two-core EPYC virtual machine, medians:

    batch                             1     8    32    64   128
    answer, one thread              6.0    24    70   127
    answer, two threads             192   448   568   644
    training step, one thread              39    55    86   137
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

VIEWS = ((0, 0), (1, 0), (0, 1), (1, 1))
"""Shifts in pixels of the enlarged image. An answer is the mean over four views, a common way to gain accuracy."""


class DigitNetwork(nn.Module):
    """Two convolutions on the digit enlarged to 32x32 and a wide hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 64, 3, padding=1)
        self.wide = nn.Linear(64 * 8 * 8, 2048)
        self.out = nn.Linear(2048, 10)

    def forward(self, images: torch.Tensor, shift: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """Class scores (n, 10) of one view of images (n, 8, 8)."""
        x = functional.interpolate(images[:, None], size=(32, 32), mode="bilinear")  # (n, 1, 32, 32)
        x = torch.roll(x, shift, dims=(2, 3))
        x = functional.max_pool2d(functional.relu(self.first(x)), 2)  # (n, 32, 16, 16)
        x = functional.max_pool2d(functional.relu(self.second(x)), 2)  # (n, 64, 8, 8)
        return self.out(functional.relu(self.wide(x.flatten(1))))  # (n, 10)


def predict(network: DigitNetwork, images: np.ndarray) -> np.ndarray:
    """Labels (n,) of images (n, 8, 8) float32, from the mean over all views."""
    with torch.inference_mode():
        batch = torch.from_numpy(images)
        # View after view rather than one large batch: activations, and so memory, stay a quarter of the size.
        scores = sum(functional.softmax(network(batch, shift), dim=1) for shift in VIEWS)
        return torch.as_tensor(scores).argmax(1).numpy()


class Trainer:
    """Stochastic gradient descent with momentum on one network."""

    BASE_BATCH = 32
    BASE_LEARNING_RATE = 0.02
    MOMENTUM = 0.9

    def __init__(self, network: DigitNetwork) -> None:
        self.network = network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=self.BASE_LEARNING_RATE, momentum=self.MOMENTUM)
        self._steps = 0

    def step(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """One step on images (n, 8, 8) and labels (n,).

        Returns:
            The loss and the labels (n,) predicted before the step.
        """
        # The square root rule: the gradient's noise falls with the root of the batch size.
        for group in self.optimizer.param_groups:
            group["lr"] = self.BASE_LEARNING_RATE * math.sqrt(len(images) / self.BASE_BATCH)
        scores = self.network(torch.from_numpy(images), VIEWS[self._steps % len(VIEWS)])
        loss = functional.cross_entropy(scores, torch.from_numpy(labels))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._steps += 1
        return float(loss.detach()), scores.detach().argmax(1).numpy()

    def momentum(self) -> dict[str, torch.Tensor]:
        """The momentum of each parameter that has one, by parameter name."""
        named = self.network.named_parameters()
        found = {name: self.optimizer.state[value].get("momentum_buffer") for name, value in named}
        return {name: buffer for name, buffer in found.items() if buffer is not None}

    def restore_momentum(self, momentum: dict[str, np.ndarray]) -> None:
        """Continue with the momentum of a checkpoint."""
        for name, value in self.network.named_parameters():
            if name in momentum:
                self.optimizer.state[value]["momentum_buffer"] = torch.from_numpy(momentum[name])
