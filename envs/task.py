"""How a snapshot becomes an observation, how an action becomes a setting, and how good a period was.

The environment and the controller call the same Task: that is why a policy trained in simulation sees the same world in
production.
"""

from __future__ import annotations

import numpy as np

from envs.objective import Objective
from envs.scaling import KnobScaling, MetricScaling
from envs.spec import Role, SystemSpec


class Task:
    """One role (allocation or tuning) of a SystemSpec.

    Observation, (..., n_observation) float32, each entry in [-1, 1] (deviations in [-2, 2]), labelled by `labels`:

    | part | length | meaning |
    |---|---|---|
    | `now/<metric>` | n_metrics | last period, scaled by the spec's fixed bounds |
    | `deviation/<metric>` | n_metrics | last period minus the mean of the window, scaled |
    | `setting/<knob>` | n_knobs | the setting in force, scaled (both roles' knobs) |
    | `headroom/<slo>` | n_slos | relative distance to the SLO, positive while it holds |

    Action, (..., n_action) float32 in [-1, 1]: the wanted value of each of the role's knobs over its range.
    """

    def __init__(self, spec: SystemSpec, role: Role | str) -> None:
        self.spec, self.role = spec, Role(role)
        self.catalogue = spec.catalogue
        self.objective = Objective(spec)
        self.knob_scaling = KnobScaling(spec.knobs)
        self._metric_scaling = MetricScaling(self.catalogue.metrics)
        self.knobs = np.array([i for i, knob in enumerate(spec.knobs) if knob.role is self.role])  # (n_action,)
        if not len(self.knobs):
            raise ValueError(f"spec {spec.name!r} has no {self.role} knob")
        self._step = np.array([spec.knobs[i].max_step for i in self.knobs])
        self._cpu_knobs = np.array([spec.knob_index(o.cpu_knob) for o in spec.workloads.values()])
        self._slo_metrics = self.catalogue.indices([slo.metric for slo in spec.slos])
        bounds = [slo.at_most if slo.at_most is not None else slo.at_least for slo in spec.slos]
        self._slo_bound = np.array(bounds, dtype=float)  # (n_slos,)
        self._slo_sign = np.array([1.0 if slo.at_most is not None else -1.0 for slo in spec.slos])
        self.labels: tuple[str, ...] = (
            *(f"now/{name}" for name in self.catalogue.names),
            *(f"deviation/{name}" for name in self.catalogue.names),
            *(f"setting/{name}" for name in spec.knob_names),
            *(f"headroom/{slo.name}" for slo in spec.slos),
        )
        self._label_index = {label: i for i, label in enumerate(self.labels)}

    @property
    def n_observation(self) -> int:
        """Length of an observation."""
        return len(self.labels)

    @property
    def n_action(self) -> int:
        """Length of an action: the number of knobs of this role."""
        return len(self.knobs)

    @property
    def action_labels(self) -> tuple[str, ...]:
        """Names of the knobs that the action sets, in order."""
        return tuple(self.spec.knobs[i].name for i in self.knobs)

    def observe(self, window: np.ndarray, setting: np.ndarray) -> np.ndarray:
        """What the policy sees.

        Args:
            window: (..., window_periods, n_metrics) in natural units, newest last; NaN where missing.
            setting: (..., n_knobs) in force.

        Returns:
            (..., n_observation) float32; NaN wherever a reading that it needs is missing.
        """
        scaled = self._metric_scaling.scale(window)  # (..., T, n_metrics)
        now = scaled[..., -1, :]
        total = scaled[..., 0, :].copy()
        for period in range(1, scaled.shape[-2]):  # explicit order: np.mean may sum a batch in another order
            total += scaled[..., period, :]
        deviation = now - total / scaled.shape[-2]
        held = window[..., -1, :][..., self._slo_metrics]  # (..., n_slos)
        headroom = self._slo_sign * (self._slo_bound - held) / np.maximum(np.abs(self._slo_bound), 1e-9)
        parts = [now, deviation, self.knob_scaling.scale(setting), np.clip(headroom, -1.0, 1.0)]
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def reading(self, observation: np.ndarray, metric: str) -> np.ndarray:
        """A metric's last value in natural units, (...), as far as the observation tells (clipped at the bounds)."""
        index = self.catalogue.index(metric)
        scaled = np.full((*observation.shape[:-1], len(self.catalogue)), -1.0)
        scaled[..., index] = observation[..., index]
        return self._metric_scaling.unscale(scaled)[..., index]

    def knob(self, observation: np.ndarray, name: str) -> np.ndarray:
        """A knob's value in force in natural units, (...)."""
        return self.setting(observation)[..., self.spec.knob_index(name)]

    def setting(self, observation: np.ndarray) -> np.ndarray:
        """The setting in force, (..., n_knobs) in natural units."""
        start = self._label_index[f"setting/{self.spec.knobs[0].name}"]
        return self.knob_scaling.unscale(observation[..., start : start + len(self.spec.knobs)].astype(float))

    def encode(self, setting: np.ndarray) -> np.ndarray:
        """The action that asks for `setting`, (..., n_action) float32."""
        return self.knob_scaling.scale(setting)[..., self.knobs].astype(np.float32)

    def decode(self, action: np.ndarray, setting: np.ndarray) -> np.ndarray:
        """The setting that an action leads to: within bounds, step limits and the CPU there is.

        Args:
            action: (..., n_action); values beyond [-1, 1] are clipped, a non-finite entry keeps its knob.
            setting: (..., n_knobs) in force.

        Returns:
            (..., n_knobs); the other role's knobs are unchanged.
        """
        current = self.knob_scaling.scale(setting)  # (..., n_knobs)
        own = current[..., self.knobs]
        wanted = np.where(np.isfinite(action), np.clip(action, -1.0, 1.0), own)
        move = np.clip(wanted - own, -self._step, self._step)
        moving = np.abs(wanted - own) >= self.spec.dead_band
        target = current.copy()
        target[..., self.knobs] = own + move
        moved = self.knob_scaling.unscale(target)
        decoded = setting.astype(float).copy()
        decoded[..., self.knobs] = np.where(moving, moved[..., self.knobs], decoded[..., self.knobs])
        target[..., self.knobs] = own - self._step
        return self.fit_cpu(decoded, least=self.knob_scaling.unscale(target))

    def fit_cpu(self, setting: np.ndarray, least: np.ndarray | None = None) -> np.ndarray:
        """Shrink CPU grants that exceed the host together, each in proportion to what it has above its least.

        Args:
            setting: (..., n_knobs).
            least: (..., n_knobs) below which nothing shrinks, e.g. what a step can reach; None for the knobs' minimum,
                which also holds where `least` itself exceeds the host.
        """
        cores = setting[..., self._cpu_knobs]  # (..., n_workloads)
        low = np.broadcast_to(self.knob_scaling.low[self._cpu_knobs], cores.shape)
        if least is not None:
            given = np.minimum(least[..., self._cpu_knobs], cores)
            low = np.where((_sum_last(given) <= self.spec.cores)[..., None], given, low)
        above = cores - low
        factor = (self.spec.cores - _sum_last(low)) / np.maximum(_sum_last(above), 1e-12)
        # The tolerance keeps rounding from moving grants that already fill the host.
        exceeds = _sum_last(cores) > self.spec.cores + 1e-12
        fitted = setting.copy()
        fitted[..., self._cpu_knobs] = np.where(exceeds[..., None], low + above * factor[..., None], cores)
        return fitted

    def score(self, values: np.ndarray, setting: np.ndarray, previous: np.ndarray) -> dict[str, np.ndarray]:
        """Reward terms of a period; see `Objective.score`."""
        return self.objective.score(values, setting, previous)


def _sum_last(values: np.ndarray) -> np.ndarray:
    """Sum over the last axis in explicit order: np.sum may add a batch in another order than a single system."""
    total = np.asarray(values[..., 0])
    for i in range(1, values.shape[-1]):
        total = np.asarray(total + values[..., i])
    return total
