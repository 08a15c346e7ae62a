"""First preparation of a state directory: the digits, and a model trained for seconds on digits that do not drift."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from testbed import checkpoints, digits
from testbed.component import add_lifeline_arguments, hold_lifeline
from testbed.drift import finish
from testbed.model import DigitNetwork, Trainer

STEPS = 60
BATCH = 64


def prepare(state_dir: Path, seed: int = 0) -> None:
    """Make what is missing in `state_dir`; does nothing the second time.

    Args:
        state_dir: an existing directory.
        seed: of the order of the samples and of the noise.
    """
    models = state_dir / "models"
    models.mkdir(exist_ok=True)
    base = digits.load(state_dir)
    if (models / checkpoints.MANIFEST).exists():
        return
    # All cores would be up to thirty times slower where another process keeps one of them busy.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    trainer = Trainer(DigitNetwork())
    upright = base.rotations.shape[0] // 2
    for _ in range(STEPS):
        samples = rng.integers(len(base.labels), size=BATCH)
        images = finish(base.clean(samples, upright), 0.8, 0.125, rng.integers(4096, size=BATCH))  # (BATCH, 64)
        trainer.step(images.reshape(BATCH, 8, 8), base.labels[samples])
    first = checkpoints.Checkpoint(1, checkpoints.file_name(1), trained_timestamp=time.time(), samples=STEPS * BATCH)
    checkpoints.publish(models, first, trainer.network, trainer.momentum())


def main() -> None:
    """Command line: `python -m testbed.prepare --state-dir DIR`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="directory that the components share")
    add_lifeline_arguments(parser)
    arguments = parser.parse_args()
    hold_lifeline(arguments)
    prepare(arguments.state_dir)


if __name__ == "__main__":
    main()
