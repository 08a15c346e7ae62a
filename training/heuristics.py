"""The published heuristics that policies are compared with, and the ranges in which their parameters are searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from agents.heuristics.aimd import AimdParameters, AimdPolicy, BatchAimdPolicy
from agents.heuristics.autopilot import AutopilotParameters, AutopilotPolicy
from agents.heuristics.captain import CaptainParameters, CaptainPolicy
from agents.heuristics.gradient2 import Gradient2Parameters, Gradient2Policy
from agents.heuristics.heracles import HeraclesParameters, HeraclesPolicy
from agents.heuristics.hpa import FAST, HpaParameters, HpaPolicy
from agents.heuristics.knobs import Number
from agents.heuristics.parties import PartiesParameters, PartiesPolicy
from agents.heuristics.pollux import PolluxParameters, PolluxPolicy
from agents.heuristics.static import StaticPolicy
from agents.heuristics.threshold import ThresholdParameters, ThresholdPolicy
from agents.heuristics.vpa import VpaParameters, VpaPolicy
from agents.policy import Policy
from envs.spec import Role, SystemSpec
from envs.task import Task

Bounds = dict[str, tuple[float, float]]
"""Parameter -> lowest and highest value."""
LOG_FROM = 10.0
Tasks = Mapping[Role, Task]
Make = Callable[[Tasks, np.ndarray, Any], dict[Role, Policy]]


@dataclass(frozen=True)
class Heuristic:
    """A rule as an opponent: knobs that it leaves alone are held at a given setting."""

    name: str
    defaults: Any
    """Its parameters as published, a dataclass; those without a range stay so."""
    ranges: Bounds
    """Of the search. They contain the published values, but for times that make no sense in a compressed day."""
    make: Make
    """Both roles' policies, given tasks, setting and parameters."""

    def policies(
        self, spec: SystemSpec, setting: np.ndarray, parameters: Mapping[str, Number] | None = None
    ) -> dict[Role, Policy]:
        """The rule as a policy of each role.

        Args:
            spec: the system.
            setting: (n_knobs,) or (N, n_knobs), for the knobs that the rule leaves alone.
            parameters: instead of the defaults; numbers, or (N,) for each system its own.

        Raises:
            TypeError: a parameter that the rule does not have.
        """
        return self.make({role: Task(spec, role) for role in Role}, setting, replace(self.defaults, **parameters or {}))

    @property
    def start(self) -> np.ndarray:
        """The published parameters as a candidate of the search, (n_ranges,): as near as the ranges allow."""
        return self.candidate(asdict(self.defaults))

    def candidate(self, parameters: Mapping[str, float]) -> np.ndarray:
        """Parameters as a candidate of the search, (n_ranges,): as near as the ranges allow."""
        return np.array([_scaled(parameters[name], low, high) for name, (low, high) in self.ranges.items()])

    def parameters(self, candidates: np.ndarray) -> dict[str, np.ndarray]:
        """Candidates of the search, (..., n_ranges) in [-1, 1], as parameters, (...) each.

        They cover the logarithm of a range that spans a factor of `LOG_FROM` or more: of 2 to 300 s, else, less than a
        hundredth would lie below 5 s.
        """
        columns = zip(self.ranges.items(), np.moveaxis(candidates, -1, 0), strict=True)
        return {name: _natural(column, *bounds) for (name, bounds), column in columns}


def _natural(scaled: np.ndarray, low: float, high: float) -> np.ndarray:
    share = 0.5 * (scaled + 1.0)
    return low * (high / low) ** share if logarithmic(low, high) else low + (high - low) * share


def _scaled(value: float, low: float, high: float) -> float:
    value = float(np.clip(value, low, high))
    share = np.log(value / low) / np.log(high / low) if logarithmic(low, high) else (value - low) / (high - low)
    return float(2.0 * share - 1.0)


def logarithmic(low: float, high: float) -> bool:
    """Whether a range is searched over its logarithm."""
    return low > 0.0 and high / low >= LOG_FROM


def _each(low: float, high: float) -> Bounds:
    """A parameter of which every workload has its own."""
    return dict.fromkeys(("serving", "training", "ingest"), (low, high))


def _allocates(policy: Callable[[Task, np.ndarray, Any], Policy]) -> Make:
    """A rule of the allocation role, with the tuning knobs held."""
    return lambda tasks, setting, parameters: {
        Role.ALLOCATION: policy(tasks[Role.ALLOCATION], setting, parameters),
        Role.TUNING: StaticPolicy(tasks[Role.TUNING], setting),
    }


def _tunes(policy: Callable[[Task, np.ndarray, Any], Policy]) -> Make:
    """A rule of the tuning role, with the allocation knobs held."""
    return lambda tasks, setting, parameters: {
        Role.ALLOCATION: StaticPolicy(tasks[Role.ALLOCATION], setting),
        Role.TUNING: policy(tasks[Role.TUNING], setting, parameters),
    }


def _aimd_and_batch(tasks: Tasks, setting: np.ndarray, parameters: AimdParameters) -> dict[Role, Policy]:
    return {
        Role.ALLOCATION: AimdPolicy(tasks[Role.ALLOCATION], parameters),
        Role.TUNING: BatchAimdPolicy(tasks[Role.TUNING], setting, parameters),
    }


_UTILISATION = _each(0.3, 0.95) | {"tolerance": (0.02, 0.3)}
_AIMD = {
    "increase_cores": (0.02, 0.4),
    "decrease": (0.5, 0.92),  # closer to 1 the move would be within the dead band
    "slack": (0.05, 0.8),
    "growth": (0.02, 1.0),
}
_MARGIN = _each(0.8, 3.0)

HEURISTICS = (
    Heuristic(
        "threshold",
        ThresholdParameters(),
        _each(0.3, 0.95) | {"window_periods": (1.0, 40.0), "tolerance": (0.02, 0.3)},
        _allocates(lambda task, setting, parameters: ThresholdPolicy(task, parameters)),
    ),
    Heuristic("hpa", HpaParameters(), _UTILISATION, _allocates(HpaPolicy)),
    Heuristic("hpa-fast", FAST, _UTILISATION, _allocates(HpaPolicy)),
    Heuristic(
        "vpa",
        VpaParameters(),
        _MARGIN | {"percentile": (0.5, 0.99), "half_life_seconds": (2.0, 300.0), "day_seconds": (2.0, 300.0)},
        _allocates(VpaPolicy),
    ),
    Heuristic(
        "autopilot",
        AutopilotParameters(),
        _MARGIN | {"half_life_seconds": (2.0, 300.0), "window_seconds": (1.0, 60.0)},
        _allocates(AutopilotPolicy),
    ),
    Heuristic(
        "captain",
        CaptainParameters(),
        _each(0.0, 0.3) | {"at_ceiling": (0.6, 1.0), "decide_periods": (1.0, 10.0), "usage_periods": (2.0, 50.0)},
        _allocates(CaptainPolicy),
    ),
    Heuristic(
        "parties",
        PartiesParameters(),
        {
            "up_slack": (0.0, 0.5),
            "down_slack": (0.05, 0.9),
            "unit": (0.07, 0.4),  # less than the dead band of the reference spec is never made
            "observe_periods": (1.0, 8.0),
            "mean_periods": (1.0, 10.0),
            "block_periods": (2.0, 100.0),
            "training_seconds": (1.0, 25.0),
        },
        _allocates(PartiesPolicy),
    ),
    Heuristic(
        "heracles",
        HeraclesParameters(),
        {
            "machine": (0.4, 1.0),
            "poll_seconds": (1.0, 15.0),
            "cooldown_seconds": (2.0, 300.0),
            "disable_load": (0.5, 1.0),
            "growth_cores": (0.02, 0.3),
            "growth_seconds": (1.0, 10.0),
            "shrunk_cores": (0.05, 0.3),
        },
        _allocates(HeraclesPolicy),
    ),
    Heuristic(
        "aimd",
        AimdParameters(),
        _AIMD,
        _allocates(lambda task, setting, parameters: AimdPolicy(task, parameters)),
    ),
    Heuristic(
        "aimd+batch",
        AimdParameters(),
        _AIMD | {"increase_batch": (0.5, 8.0), "decrease_batch": (0.3, 0.99)},
        _aimd_and_batch,
    ),
    Heuristic(
        "gradient2",
        Gradient2Parameters(),
        {"tolerance": (1.0, 3.0), "queue": (0.5, 8.0), "smoothing": (0.05, 1.0), "long_periods": (20.0, 600.0)},
        _tunes(Gradient2Policy),
    ),
    Heuristic(
        "pollux",
        PolluxParameters(),
        {
            "noise_scale": (16.0, 512.0),
            "overhead_samples": (4.0, 256.0),
            "prior_periods": (1.0, 100.0),
            "gain": (1.0, 1.3),
        },
        _tunes(PolluxPolicy),
    ),
)
"""All that are tuned, each at the same budget, and compared with."""
