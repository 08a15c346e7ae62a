"""The hazards of the contract, and the faults that stand for each; the faults themselves are in `faults_*.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from controller.config import ControllerConfig
from training.faults.world import World

HAZARDS = {
    "H1": "a metric is missing or stale",
    "H2": "NaN, infinity, out of range, wrong unit, counter reset",
    "H3": "a frozen or lying sensor, a component that crashed",
    "H4": "an observation unlike any in training",
    "H5": "the policy is slow, hangs, crashes or returns garbage",
    "H6": "the policy was good in training and is bad now",
    "H7": "an actuator fails, does half, is ignored, is slow",
    "H8": "thrash, oscillation, limit cycle",
    "H9": "another controller on the same knobs",
    "H10": "an SLO breaks after a change",
    "H11": "an SLO breaks by a spike at the same time as a good change",
    "H12": "the controller is killed with a risky setting in force",
    "H13": "the host or a component is restarted",
    "H14": "the clock jumps, the host is suspended",
    "H15": "an operator edits, pins, pauses, kills",
    "H16": "the configuration is broken, or narrows the bounds",
    "H17": "the disk is full",
    "H18": "a poisoned policy file",
    "H19": "an attack on what operators use",
    "H20": "a storm of rollbacks",
    "H21": "the controller's own cost",
    "H22": "forecasts that are wrong at the wrong time",
}


@dataclass(frozen=True)
class Fault:
    """One way in which a hazard comes about.

    Attributes:
        hazard: a key of `HAZARDS`.
        name: of the function that injects it.
        title: one line.
        inject: arranges it in a world that has just begun; draws with the world's generator.
        config: of the controller; None for the default.
    """

    hazard: str
    name: str
    title: str
    inject: Callable[[World], None]
    config: ControllerConfig | None = None


FAULTS: list[Fault] = []
_MODULES = ("readings", "policies", "actuation", "lifecycle", "operators")


def fault(hazard: str, config: ControllerConfig | None = None) -> Callable[..., Callable[[World], None]]:
    """Register a fault; the first line of its docstring is its title."""

    def register(inject: Callable[[World], None]) -> Callable[[World], None]:
        title = (inject.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        FAULTS.append(Fault(hazard, inject.__name__, title, inject, config))
        return inject

    return register


def faults_of(hazard: str) -> list[Fault]:
    """All faults of a hazard, always in the same order."""
    for module in _MODULES:
        import_module(f"training.faults.faults_{module}")
    return [one for one in FAULTS if one.hazard == hazard]
