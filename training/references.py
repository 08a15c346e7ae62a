"""Settings and parameters that a search found, kept as JSON beside the configurations with how they were found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from agents.heuristics.aimd import AimdParameters, AimdPolicy, BatchAimdPolicy
from agents.heuristics.static import StaticPolicy
from agents.heuristics.threshold import ThresholdParameters, ThresholdPolicy
from agents.policy import Policy
from envs.spec import Role, SystemSpec
from envs.task import Task

BEST_STATIC, HEURISTICS = "best_static.json", "heuristics.json"


@dataclass(frozen=True)
class References:
    """What a policy is compared with, beside the static default.

    Attributes:
        best_static: (n_knobs,) best static setting found on the training demands.
        threshold: tuned parameters of the threshold rule.
        aimd: tuned parameters of AIMD on cores.
        aimd_and_batch: tuned parameters of AIMD on cores and on the serving batch.
    """

    best_static: np.ndarray
    threshold: ThresholdParameters
    aimd: AimdParameters
    aimd_and_batch: AimdParameters


def load_references(spec: SystemSpec, folder: Path | Traversable | None = None) -> References:
    """Read what `trimtab search` found; untuned defaults where it has not run, or ran for another spec.

    Args:
        spec: whose fingerprint the files must carry.
        folder: of the two JSON files; None is `training/configs`.
    """
    folder = folder or resources.files("training") / "configs"
    static = _read(folder / BEST_STATIC, spec).get("setting", {})
    found = _read(folder / HEURISTICS, spec)
    setting = [float(static.get(knob.name, knob.default)) for knob in spec.knobs]
    return References(
        best_static=np.array(setting),
        threshold=ThresholdParameters(**_parameters(found, "threshold")),
        aimd=AimdParameters(**_parameters(found, "aimd")),
        aimd_and_batch=AimdParameters(**_parameters(found, "aimd+batch")),
    )


def reference_policies(spec: SystemSpec, references: References) -> dict[str, dict[Role, Policy]]:
    """The references as policies of both roles; knobs that a heuristic leaves alone stay at the best static setting."""
    allocation, tuning = Task(spec, Role.ALLOCATION), Task(spec, Role.TUNING)
    best = references.best_static
    held = StaticPolicy(tuning, best)
    return {
        "static": {role: StaticPolicy(Task(spec, role), spec.default_setting) for role in Role},
        "best_static": {role: StaticPolicy(Task(spec, role), best) for role in Role},
        "threshold": {Role.ALLOCATION: ThresholdPolicy(allocation, references.threshold), Role.TUNING: held},
        "aimd": {Role.ALLOCATION: AimdPolicy(allocation, references.aimd), Role.TUNING: held},
        "aimd+batch": {
            Role.ALLOCATION: AimdPolicy(allocation, references.aimd_and_batch),
            Role.TUNING: BatchAimdPolicy(tuning, best, references.aimd_and_batch),
        },
    }


def _parameters(found: dict[str, Any], heuristic: str) -> dict[str, float]:
    return dict(found.get(heuristic, {}).get("parameters", {}))


def _read(file: Path | Traversable, spec: SystemSpec) -> dict[str, Any]:
    if not file.is_file():
        return {}
    found = json.loads(file.read_text())
    return dict(found) if found.get("fingerprint") == spec.fingerprint else {}
