"""Settings and parameters that a search found, kept as JSON beside the configurations with how they were found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from agents.heuristics.static import StaticPolicy
from agents.policy import Policy
from envs.spec import Role, SystemSpec
from envs.task import Task
from training.heuristics import HEURISTICS

BEST_STATIC, TUNED = "best_static.json", "heuristics.json"


@dataclass(frozen=True)
class References:
    """What a policy is compared with, beside the static default."""

    best_static: np.ndarray
    """(n_knobs,) best static setting found on the training demands."""
    parameters: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Heuristic -> its tuned parameters; one that is not there has its published ones."""
    settings: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Heuristic -> (n_knobs,), best for the knobs that it leaves alone; `best_static` for one that is not there."""


def load_references(spec: SystemSpec, folder: Path | Traversable | None = None) -> References:
    """Read what `trimtab search` found; untuned defaults where it has not run, or ran for another spec.

    Args:
        spec: whose fingerprint the files must carry.
        folder: of the two JSON files; None is `training/configs`.
    """
    folder = folder or resources.files("training") / "configs"
    static, found = _read(folder / BEST_STATIC, spec), _read(folder / TUNED, spec)
    tuned = {heuristic.name: found[heuristic.name] for heuristic in HEURISTICS if heuristic.name in found}
    return References(
        best_static=np.array([static["setting"][name] for name in spec.knob_names]) if static else spec.default_setting,
        parameters={name: dict(result["parameters"]) for name, result in tuned.items()},
        settings={
            name: np.array([result["setting"][knob] for knob in spec.knob_names])
            for name, result in tuned.items()
            if "setting" in result  # it was tuned at the best static setting
        },
    )


def reference_policies(spec: SystemSpec, references: References) -> dict[str, dict[Role, Policy]]:
    """The references as policies of both roles: the static default, the best static setting, and every heuristic.

    Knobs that a heuristic leaves alone are held where the search found them to be best for it, so that the opponent is
    the best static tuning with the best tuned rule on top of it.
    """
    best = references.best_static
    static: dict[str, dict[Role, Policy]] = {
        name: {role: StaticPolicy(Task(spec, role), setting, name) for role in Role}
        for name, setting in (("static", spec.default_setting), ("best_static", best))
    }
    return static | {
        h.name: h.policies(spec, references.settings.get(h.name, best), references.parameters.get(h.name))
        for h in HEURISTICS
    }


def _read(file: Path | Traversable, spec: SystemSpec) -> dict[str, Any]:
    if not file.is_file():
        return {}
    found = json.loads(file.read_text())
    return dict(found) if found.get("fingerprint") == spec.fingerprint else {}
