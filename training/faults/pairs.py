"""Two faults at once: what each promise is worth while another one is being broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from controller.config import ControllerConfig
from training.faults.hazards import HAZARDS, Fault, faults_of
from training.faults.world import World

JOINT = "+"
"""Between the names of two faults, and between their hazards."""


def paired(first: Fault, second: Fault) -> Fault:
    """Both faults in one world, with what either sets of the controller's configuration."""

    def inject(world: World) -> None:
        first.inject(world)
        second.inject(world)

    hazard, name = (JOINT.join(both) for both in ((first.hazard, second.hazard), (first.name, second.name)))
    return Fault(hazard, name, f"{first.title}; {second.title}", inject, _joined(first.config, second.config))


def drawn_partner(first: Fault, seed: int) -> Fault:
    """A fault of another hazard, drawn by an episode's seed."""
    rng = np.random.default_rng([seed, 1])  # not the world's own: a fault alone has to draw as it does in a pair
    others = [hazard for hazard in HAZARDS if hazard != first.hazard]
    own = faults_of(str(rng.choice(others)))
    return own[int(rng.integers(len(own)))]


def is_paired(seed: int, share: float) -> bool:
    """Whether the episode of a seed is one of the `share` in which two faults come together."""
    return bool(np.random.default_rng([seed, 2]).random() < share)


def fault_named(name: str, hazards: Sequence[str]) -> Fault | None:
    """The fault of a name, or the pair of two names; None where a name is not among the faults of `hazards`."""
    known = {one.name: one for hazard in hazards for one in faults_of(hazard)}
    found = [known[part] for part in name.split(JOINT) if part in known]
    if len(found) != len(name.split(JOINT)) or len(found) > 2:
        return None
    return found[0] if len(found) == 1 else paired(*found)


def _joined(first: ControllerConfig | None, second: ControllerConfig | None) -> ControllerConfig | None:
    """The second's departures from the default on top of the first's; shield limits one by one."""
    if first is None or second is None:
        return first or second
    plain = ControllerConfig()
    shield = dataclasses.replace(first.shield, **_departures(second.shield, plain.shield))
    return dataclasses.replace(first, **{**_departures(second, plain), "shield": shield})


def _departures(config: Any, default: Any) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(default)]
    return {name: getattr(config, name) for name in names if getattr(config, name) != getattr(default, name)}
