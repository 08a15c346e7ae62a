"""Checkpoints: how the trainer keeps its work and publishes the model to serving.

A checkpoint is an npz file of plain arrays (never a pickle: loading one must not run code), and `current.json` names
the newest. Serving reads the weights alone; the momentum is there for a trainer that starts again.
"""

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from testbed.files import write_atomically
from testbed.model import DigitNetwork

KEPT = 3
MANIFEST = "current.json"


class CheckpointError(ValueError):
    """A checkpoint that is missing, cut short, or not ours."""


@dataclass(frozen=True)
class Checkpoint:
    """What the manifest says of the newest checkpoint.

    Attributes:
        version: counts up from 1, the model that was trained before the start.
        file: name within the directory.
        trained_timestamp: unix time in seconds of the newest sample that the model has seen.
        samples: samples trained on so far.
    """

    version: int
    file: str
    trained_timestamp: float
    samples: int


def publish(
    directory: Path, checkpoint: Checkpoint, network: DigitNetwork, momentum: dict[str, torch.Tensor] | None = None
) -> int:
    """Write a checkpoint, name it the newest, and delete all but the last `KEPT`.

    Returns:
        Bytes written.
    """
    arrays = {f"weight:{name}": value.numpy() for name, value in network.state_dict().items()}
    arrays |= {f"momentum:{name}": value.numpy() for name, value in (momentum or {}).items()}
    size = write_atomically(directory / checkpoint.file, lambda file: np.savez(file, **arrays))
    manifest = json.dumps(checkpoint.__dict__).encode()
    size += write_atomically(directory / MANIFEST, lambda file: file.write(manifest))
    for old in sorted(directory.glob("*.npz"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return size


def file_name(version: int) -> str:
    """Name of a checkpoint's file; the names sort by version."""
    return f"model-{version:08d}.npz"


def newest(directory: Path) -> Checkpoint:
    """What the manifest names.

    Raises:
        CheckpointError: there is no manifest, or it is not a whole one.
    """
    path = directory / MANIFEST
    try:
        return Checkpoint(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"no usable manifest at {path}: {error}") from error


def newest_loadable(directory: Path) -> Checkpoint:
    """The newest checkpoint whose file can be read whole; what the manifest names, or else an older file.

    Raises:
        CheckpointError: there is none.
    """
    named = newest(directory)
    versions = [int(path.stem.removeprefix("model-")) for path in sorted(directory.glob("model-*.npz"), reverse=True)]
    older = [replace(named, version=version, file=file_name(version)) for version in versions]
    for candidate in [named, *older]:
        try:
            load_weights(directory, candidate)
        except CheckpointError:
            continue
        # Its file may be old, but its successor's version must be new to whoever follows the manifest.
        return replace(candidate, version=max(named.version, candidate.version))
    raise CheckpointError(f"no usable checkpoint in {directory}; delete the directory to begin anew")


def load_weights(directory: Path, checkpoint: Checkpoint) -> DigitNetwork:
    """The network in a checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged, or holds other weights than ours.
    """
    network = DigitNetwork()
    weights = {name: torch.from_numpy(array) for name, array in _arrays(directory, checkpoint, "weight:").items()}
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"checkpoint {checkpoint.file} does not fit the network: {error}") from error
    return network.requires_grad_()


def load_momentum(directory: Path, checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """The optimizer's momentum in a checkpoint, by parameter name; empty where it holds none.

    Raises:
        CheckpointError: as `load_weights`.
    """
    return _arrays(directory, checkpoint, "momentum:")


def _arrays(directory: Path, checkpoint: Checkpoint, prefix: str) -> dict[str, Any]:
    try:
        # Opened here, since numpy leaves a file that it opened itself open when the content is damaged.
        with open(directory / checkpoint.file, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"checkpoint {checkpoint.file} cannot be read: {error}") from error
