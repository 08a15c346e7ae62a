"""All that a training needs to go on exactly as if it had never stopped."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, NamedTuple

from agents.network import MlpPolicy
from agents.ppo_config import PpoConfig

FILE = "resume.pickle"


class Checkpoint(NamedTuple):
    """The state of a training between two rollouts. Pickled, so read none that somebody else wrote."""

    config: PpoConfig
    seed: int
    steps: int
    """System periods trained on."""
    model: bytes
    """As stable-baselines3 saves it: weights, optimizer, random state."""
    env: Any
    """The batched environment in the middle of its episodes."""
    curve: list[tuple[int, float]]
    """(steps, validation score) of each evaluation."""
    best: MlpPolicy | None
    """The policy with the best of these scores."""
    seconds: float
    """Wall-clock that the training has taken so far."""

    def write(self, directory: Path) -> None:
        """Replace the checkpoint in a folder; a crash leaves the one before."""
        partial = directory / f"{FILE}.partial"
        partial.write_bytes(pickle.dumps(self))
        os.replace(partial, directory / FILE)


def read_checkpoint(directory: Path, config: PpoConfig, seed: int) -> Checkpoint | None:
    """The checkpoint in a folder; None where there is none.

    Raises:
        ValueError: it is of another configuration or seed.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    checkpoint: Checkpoint = pickle.loads(path.read_bytes())
    if (checkpoint.config, checkpoint.seed) != (config, seed):
        raise ValueError(
            f"{path} is of seed {checkpoint.seed} and {checkpoint.config}, asked for are seed {seed} and {config}; "
            "delete it, or resume with its own"
        )
    return checkpoint
