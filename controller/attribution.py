"""Which breaches of SLOs began before a change, and so are not its doing; and which no rise of the load explains."""

from __future__ import annotations

import numpy as np

from controller.trial import Trial

CLOCK_TOLERANCE = 0.3
"""Share of the time that passed by which an age may seem to have grown faster or slower than that: it is read at
another moment of each period. Measured on the testbed: 98 in 100 of 1549 rises of a model's age within 0.79 to 1.25."""
GRACE_PERIODS = 3
"""In which a breach that began before the change has to end, or it is blamed on it after all: else a change that is
made during an outage could do harm unseen. Default 3: a model's age that is too old seldom stays so for longer."""


def began_before(trial: Trial, ages: np.ndarray) -> np.ndarray:
    """SLOs that just before the change could not be read, or were ages and broken, and have not held since, (n_slos,).

    A latency or a ratio that was broken just before says nothing: another change may have been at fault, which was
    taken back at that moment. What has been read as broken for longer than the grace counts as new as well.

    Args:
        trial: with a period since the change.
        ages: (n_slos,) bool, which SLOs are about the age of something, in seconds.
    """
    since = np.array([period.breaches for period in trial.watched])  # (T, n_slos), NaN where unread
    if trial.last is None:
        return np.zeros(since.shape[-1], dtype=bool)
    before = trial.last.breaches
    going_on = (before > 0) & counts_up(trial, ages)
    soon = (since > 0).sum(axis=0) <= GRACE_PERIODS
    return (~np.isfinite(before) | going_on) & soon & ~(since == 0).any(axis=0)


def counts_up(trial: Trial, ages: np.ndarray) -> np.ndarray:
    """SLOs about an age that has grown as time has since before the change, (n_slos,) bool.

    What would end it was due before the change, or is not due yet: which of the two, only waiting tells.

    Args:
        trial: with a period since the change.
        ages: (n_slos,) bool, which SLOs are about the age of something, in seconds.
    """
    last, newest = trial.last, trial.watched[-1]
    if last is None or last.readings.shape != ages.shape or newest.readings.shape != ages.shape:
        return np.zeros(ages.shape, dtype=bool)
    passed = newest.time - last.time
    return ages & (np.abs(newest.readings - last.readings - passed) <= CLOCK_TOLERANCE * passed)


def held_at_this_load(trial: Trial, hit: list[int], involved: list[int]) -> bool:
    """Whether SLOs have broken since the change at a load at which they held before: no rise in between excuses that.

    A load that swings is higher on average for as long as the swing lasts, whatever the change has done. Once it was
    higher, two such periods are needed: in the first, what piled up may still have to be worked off.

    Args:
        trial: with its baseline.
        hit: positions of the SLOs.
        involved: positions of the workloads whose loads count.
    """
    held = [period.load[involved] for period in trial.baseline if not (period.breaches[hit] > 0).any()]
    if not held:
        return False
    highest = np.max(held, axis=0)  # (n_involved,)
    broken = [period for period in trial.watched if (period.breaches[hit] > 0).any()]
    was_higher = any((period.load[involved] > highest).any() for period in trial.watched)
    return sum(bool((period.load[involved] <= highest).all()) for period in broken) > was_higher
