"""A rule in a closed loop: what it asks for is in force when it looks again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from agents.policy import Policy
from envs.task import Task

Follow = Callable[..., list[float]]


@pytest.fixture(scope="session")
def follow(observe: Callable[..., np.ndarray]) -> Follow:
    """follow(task, policy, knob, readings) -> what the knob is after each of the periods.

    `readings` holds one dict of metrics for each period. `hold=True` leaves the setting as it was at first.
    """

    def run(
        task: Task,
        policy: Policy,
        knob: str,
        readings: Sequence[dict[str, float]],
        *,
        start: np.ndarray | None = None,
        hold: bool = False,
    ) -> list[float]:
        first = task.spec.default_setting if start is None else start
        setting, seen = first, []
        for period in readings:
            action = policy.act(observe(setting=setting, **period))
            assert action.dtype == np.float32
            wanted = task.knob_scaling.scale(setting)
            wanted[task.knobs] = np.where(np.isnan(action), wanted[task.knobs], action)
            seen.append(float(task.knob_scaling.unscale(wanted)[task.spec.knob_index(knob)]))
            setting = first if hold else task.decode(action, setting)
        return seen

    return run
