"""What the controller runs when the learned policy must not: safe first, cheap second."""

from __future__ import annotations

import numpy as np

from agents.heuristics.static import StaticPolicy
from agents.heuristics.threshold import ThresholdParameters, ThresholdPolicy
from agents.policy import Policy
from envs.spec import Role
from envs.task import Task

CONSERVATIVE = ThresholdParameters(serving=0.5, training=0.7, ingest=0.5, window_periods=60)
"""Half of the CPU of the two workloads with an SLO stays free (a doubling of demand is absorbed within one period), and
grants shrink only after a quiet minute."""


def fallback_policy(task: Task, setting: np.ndarray | None = None) -> Policy:
    """The safe policy of a role: the threshold rule with ample room for allocation, a fixed setting for tuning.

    Args:
        task: the role.
        setting: (n_knobs,) to hold in the tuning role; None takes the spec's default.
    """
    if task.role is Role.ALLOCATION:
        return ThresholdPolicy(task, CONSERVATIVE, name="fallback-threshold")
    return StaticPolicy(task, task.spec.default_setting if setting is None else setting, name="fallback-static")
