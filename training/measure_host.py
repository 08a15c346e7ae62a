"""Measures how steady a host's speed is: a fixed piece of work, once a second, in CPU time; for docs/traces.md.

    python -m training.measure_host 1200

CPU time, not wall time, so that it tells how fast a core is while it is ours (frequency, caches and memory shared with
neighbours), not how often it is ours. It costs some 2 % of a core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

import numpy as np

from training.measure_arrivals import Row, print_table

PIECES = {
    "compute (small matrices)": lambda: _multiply(np.ones((96, 96), np.float32)),
    "memory (copies of 16 MiB)": lambda: np.ones(2 << 20).copy(),
}
LAGS = (1, 5, 20, 60, 300)
"""Seconds."""


def main(seconds: int) -> None:
    """Print, for each kind of work, how far its speed strays within some time."""
    print_table("Speed of this host", strays(measure(seconds)))


def strays(costs: dict[str, np.ndarray]) -> Iterable[Row]:
    """Root of half the mean square change of the logarithm within some seconds, and its standard deviation.

    Args:
        costs: {kind of work: (seconds,) CPU seconds}.
    """
    for name, samples in costs.items():
        log = np.log(samples)
        row = {"work": name}
        for lag in LAGS:
            change = log[lag:] - log[:-lag]
            row[f"{lag} s"] = f"{np.sqrt(np.mean(change**2) / 2):.1%}" if len(change) > lag else ""
        yield {**row, "all": f"{log.std():.1%}"}


def measure(
    seconds: int,
    clock: Callable[[], float] = time.thread_time,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, np.ndarray]:
    """{kind of work: (seconds,) CPU seconds of the fixed piece, once in each second}."""
    costs: dict[str, list[float]] = {name: [] for name in PIECES}
    for _ in range(seconds):
        for name, piece in PIECES.items():
            piece()  # brings code and caches back after a second of sleep
            start = clock()
            piece()
            costs[name].append(clock() - start)
        sleep(0.96)
    return {name: np.array(samples) for name, samples in costs.items()}


def _multiply(matrix: np.ndarray) -> None:
    for _ in range(60):
        matrix @ matrix


if __name__ == "__main__":
    main(int(sys.argv[1]))
