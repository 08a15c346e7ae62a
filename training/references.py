"""Settings, parameters and policies that a search found, kept beside the configurations with how they were found."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from agents.artifact import ArtifactError
from agents.heuristics.static import StaticPolicy
from agents.network import MlpPolicy
from agents.policy import Policy
from envs.spec import Role, SystemSpec
from envs.task import Task
from training.heuristics import HEURISTICS

BEST_STATIC, TUNED = "best_static.json", "heuristics.json"
POLICY_SEARCH, POLICY_WEIGHTS = "policy_search.json", "policy_search.npz"


class SettingError(ValueError):
    """A setting that no search has found for this spec; one line."""


@dataclass(frozen=True)
class References:
    """What a policy is compared with, beside the static default."""

    best_static: np.ndarray
    """(n_knobs,) best static setting found on the training demands."""
    parameters: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Heuristic -> its tuned parameters; one that is not there has its published ones."""
    settings: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Heuristic -> (n_knobs,), best for the knobs that it leaves alone; `best_static` for one that is not there."""
    policies: Mapping[str, Mapping[Role, Policy]] = field(default_factory=dict)
    """What black-box searches over the weights of a policy found, by strategy."""

    def setting(self, name: str) -> np.ndarray:
        """(n_knobs,) of `best_static`, or the one to hold beside a heuristic; `best_static` where no search has run.

        Raises:
            SettingError: another name.
        """
        if not self.settings:
            return self.best_static
        known = {"best_static": self.best_static, **self.settings}
        if name not in known:
            raise SettingError(f"no setting is known for {name!r}, only for {', '.join(known)}; run `trimtab search`")
        return known[name]


def load_references(spec: SystemSpec, folder: Path | Traversable | None = None) -> References:
    """Read what `trimtab search` found; untuned defaults where it has not run, or ran for another spec.

    Args:
        spec: whose fingerprint the files must carry.
        folder: of the files; None is `training/configs`.

    Raises:
        ArtifactError: the file of policies is damaged.
    """
    folder = folder or resources.files("training") / "configs"
    static, found = (_read(folder / name, spec.setting_fingerprint) for name in (BEST_STATIC, TUNED))
    tuned = {heuristic.name: found[heuristic.name] for heuristic in HEURISTICS if heuristic.name in found}
    return References(
        best_static=np.array([static["setting"][name] for name in spec.knob_names]) if static else spec.default_setting,
        parameters={name: dict(result["parameters"]) for name, result in tuned.items()},
        settings={
            name: np.array([result["setting"][knob] for knob in spec.knob_names])
            for name, result in tuned.items()
            if "setting" in result  # it was tuned at the best static setting
        },
        policies=_searched(folder, spec),
    )


def reference_policies(spec: SystemSpec, references: References) -> dict[str, dict[Role, Policy]]:
    """The references as policies of both roles: the static default, the best static setting, every heuristic, and
    linear policies that were searched instead of learnt.

    Knobs that a heuristic leaves alone are held where the search found them to be best for it, so that the opponent is
    the best static tuning with the best tuned rule on top of it.
    """
    best = references.best_static
    static: dict[str, dict[Role, Policy]] = {
        name: {role: StaticPolicy(Task(spec, role), setting, name) for role in Role}
        for name, setting in (("static", spec.default_setting), ("best_static", best))
    }
    tuned = {
        h.name: h.policies(spec, references.settings.get(h.name, best), references.parameters.get(h.name))
        for h in HEURISTICS
    }
    return static | tuned | {name: dict(policies) for name, policies in references.policies.items()}


def _searched(folder: Path | Traversable, spec: SystemSpec) -> dict[str, dict[Role, Policy]]:
    """The linear policies of `trimtab search --policies`, split into the two roles, which observe the same."""
    found = _read(folder / POLICY_SEARCH, spec.fingerprint)
    if not found:
        return {}
    file = folder / POLICY_WEIGHTS
    packed = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(packed).hexdigest() != found["sha256"]:
        raise ArtifactError(
            f"{POLICY_WEIGHTS} does not belong to {POLICY_SEARCH}; run `trimtab search --policies` again"
        )
    tasks = {role: Task(spec, role) for role in Role}
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        return {
            name: {
                role: MlpPolicy([(arrays[f"{name}/weight"][task.knobs], arrays[f"{name}/bias"][task.knobs])], name)
                for role, task in tasks.items()
            }
            for name in found["policies"]
        }


def _read(file: Path | Traversable, fingerprint: str) -> dict[str, Any]:
    if not file.is_file():
        return {}
    found = json.loads(file.read_text())
    return dict(found) if found.get("fingerprint") == fingerprint else {}
