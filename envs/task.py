"""How the recent past becomes an observation, how an action becomes a setting, and how good a period was.

The environment and the controller call the same Task: that is why a policy trained in simulation sees the same world in
production.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from envs.objective import Assessment, Objective
from envs.outlook import shortage
from envs.recent import Recent
from envs.scaling import KnobScaling, MetricScaling, columns
from envs.spec import Role, SystemSpec

JOINT = "joint"
"""The task that sets the knobs of both roles."""
FORECASTS = {"expected": "forecast", "upper": "upper", "shortage": "shortage"}
"""How the labels of an observation begin, by the spec's forecast feature."""
LEAST_CPU = 1e-3
"""Cores. What uses less tells nothing about what it could do."""
PADDING = 16
"""Systems more than there are, in an array of observations that is to be turned."""
MOVES = np.array([-1.0, -0.25, 0.0, 0.25, 1.0])
"""What an incremental action may do with a knob, as a share of its largest step."""


class Clip(IntEnum):
    """Why a knob did not go where an action asked; the first that applies."""

    NONE = 0
    NOT_FINITE = 1
    OUT_OF_RANGE = 2
    STEP_LIMIT = 3
    DEAD_BAND = 4
    CAPACITY = 5

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


class Decoded(NamedTuple):
    """Where an action leads."""

    setting: np.ndarray
    """(..., n_knobs)."""
    clipped: np.ndarray
    """(..., n_action) uint8, a `Clip` for each knob of the task."""


class Task:
    """One role of a SystemSpec (allocation or tuning), or both (joint).

    Observation, (..., n_observation) float32, each entry in [-1, 1] (trends in [-2, 2]), labelled by `labels`. It is
    the same for every role of a spec; which of the three forecasts it has stands in the spec's `forecast_features`:

    | part | length | meaning |
    |---|---|---|
    | `now/<metric>` | n_metrics | last period, scaled by the spec's fixed bounds |
    | `trend/<metric>` | n_metrics | last period minus the mean of the window, scaled |
    | `setting/<knob>` | n_knobs | the setting in force, scaled (both roles' knobs) |
    | `headroom/<slo>` | n_slos | relative distance to the SLO, positive while it holds |
    | `day/sin`, `day/cos` | 2 | time of day; both 0 where it is not known |
    | `forecast/<metric>/<lead>s` | n_workloads * n_leads | demand that is expected so far ahead, scaled |
    | `upper/<metric>/<lead>s` | likewise | its 90 % quantile |
    | `shortage/<metric>/<lead>s` | likewise | how likely it exceeds what the CPU granted now can do, as 2 p - 1 |
    | `weight/<workload>`, `weight/slo` | n_workloads + 1 | what is wanted: value weights and violation penalty |

    Action, (..., n_action) float32 in [-1, 1]: the wanted value of each of the role's knobs over its range.

    Args:
        spec: of the system.
        role: `allocation`, `tuning` or `joint`.

    Raises:
        ValueError: another role, or one without a knob.
    """

    def __init__(self, spec: SystemSpec, role: Role | str) -> None:
        if str(role) not in (*Role, JOINT):
            raise ValueError(f"task is {str(role)!r}; allowed are {', '.join(Role)} and {JOINT}")
        self.spec, self.name = spec, str(role)
        self.role = None if self.name == JOINT else Role(role)
        """None for the joint task."""
        self.catalogue, self.objective = spec.catalogue, Objective(spec)
        self.knob_scaling = KnobScaling(spec.knobs)
        self.knobs = np.array([i for i, knob in enumerate(spec.knobs) if self.role in (None, knob.role)])  # (n_action,)
        if not len(self.knobs):
            raise ValueError(f"spec {spec.name!r} has no {self.role} knob")
        self._own = KnobScaling([spec.knobs[i] for i in self.knobs])
        self._step = np.array([spec.knobs[i].max_step for i in self.knobs])
        self._capacities = _capacities(spec)
        workloads = spec.workloads.values()
        self._done = self.catalogue.indices([objective.done for objective in workloads])  # (n_workloads,)
        self._cpu_used = self.catalogue.indices([objective.cpu_used for objective in workloads])
        self._cpu_granted = np.array([spec.knob_index(objective.cpu_knob) for objective in workloads])
        self._metric_scaling = MetricScaling(self.catalogue.metrics)
        self._slo_metrics = self.catalogue.indices([slo.metric for slo in spec.slos])
        bounds = [slo.at_most if slo.at_most is not None else slo.at_least for slo in spec.slos]
        self._slo_bound = np.array(bounds, dtype=float)  # (n_slos,)
        sign = np.array([1.0 if slo.at_most is not None else -1.0 for slo in spec.slos])
        self._per_headroom = sign / np.maximum(np.abs(self._slo_bound), 1e-9)
        self._own_weights = self._scaled_weights(self.objective.weights)
        self.labels = _labels(spec)
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

    def observe(
        self,
        recent: Recent,
        setting: np.ndarray,
        *,
        scaled: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """What the policy sees.

        Args:
            recent: the last periods.
            setting: (..., n_knobs) in force.
            scaled: `knob_scaling.scale(setting)`, where the caller has it already.
            weights: (..., n_workloads + 1) of the objective; None for the spec's.

        Returns:
            (..., n_observation) float32; NaN wherever a reading that it needs is missing.
        """
        held = columns(recent.values, self._slo_metrics)  # (..., n_slos)
        headroom = np.minimum(np.maximum((self._slo_bound - held) * self._per_headroom, -1.0), 1.0)
        wanted = self._own_weights if weights is None else self._scaled_weights(weights)
        parts = (
            recent.now,
            recent.trend,
            self.knob_scaling.scale(setting) if scaled is None else scaled,
            headroom,
            recent.time_of_day,
            *(self._forecast(feature, recent, setting) for feature in self.spec.forecast_features),
            np.broadcast_to(wanted, (*setting.shape[:-1], wanted.shape[-1])),
        )
        systems = setting.shape[0] if setting.ndim == 2 else 1
        # Turning rows of 1024 systems takes 0.15 ms, with rows that are a little longer 0.02 ms: a power of two between
        # the entries of a system puts them all in the same few lines of the cache.
        rows = np.empty((len(self.labels), systems + PADDING), dtype=np.float32)[:, :systems]
        begin = 0
        for part in parts:
            end = begin + part.shape[-1]
            rows[begin:end] = part.T.reshape(end - begin, systems)
            begin = end
        return rows[:, 0].copy() if setting.ndim == 1 else np.ascontiguousarray(rows.T)

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

    def moves(self, choices: np.ndarray, setting: np.ndarray) -> np.ndarray:
        """The action that an incremental one stands for, (..., n_action).

        Args:
            choices: (..., n_action) int, indices into `MOVES`: how far to move each knob from where it is.
            setting: (..., n_knobs) in force.
        """
        own = self._own.scale(columns(setting, self.knobs))
        return own + MOVES[choices] * self._step

    def decode(self, action: np.ndarray, setting: np.ndarray, *, scaled: np.ndarray | None = None) -> np.ndarray:
        """The setting that an action leads to: within bounds, step limits and the resources there are.

        Args:
            action: (..., n_action); values beyond [-1, 1] are clipped, a non-finite entry keeps its knob.
            setting: (..., n_knobs) in force.
            scaled: `knob_scaling.scale(setting)`, where the caller has it already.

        Returns:
            (..., n_knobs); the other role's knobs are unchanged.
        """
        own = self._own.scale(columns(setting, self.knobs)) if scaled is None else columns(scaled, self.knobs)
        wanted = np.where(np.isfinite(action), np.minimum(np.maximum(action, -1.0), 1.0), own)
        distance = wanted - own
        move = np.minimum(np.maximum(distance, -self._step), self._step)
        moving = np.abs(distance) >= self.spec.dead_band
        decoded = setting.astype(float)  # a copy in the same layout
        decoded.T[self.knobs] = np.where(moving, self._own.unscale(own + move), columns(decoded, self.knobs)).T
        if not self._exceeded(decoded):
            return decoded
        least = setting.astype(float)
        least.T[self.knobs] = self._own.unscale(own - self._step).T
        return self.fit(decoded, least)

    def explain(self, action: np.ndarray, setting: np.ndarray) -> Decoded:
        """As `decode`, and what kept each knob from where the action asked for it."""
        decoded = self.decode(action, setting)
        own, finite = self._own.scale(columns(setting, self.knobs)), np.isfinite(action)
        wanted = np.where(finite, np.minimum(np.maximum(action, -1.0), 1.0), own)
        distance = np.abs(wanted - own)
        still = distance < self.spec.dead_band
        free = self._own.unscale(own + np.minimum(np.maximum(wanted - own, -self._step), self._step))
        short = np.abs(columns(decoded, self.knobs) - free) > 1e-9 * np.abs(free)
        clipped = np.zeros(distance.shape, dtype=np.uint8)
        clipped[short & ~still] = Clip.CAPACITY
        clipped[still & (distance > 1e-6)] = Clip.DEAD_BAND
        clipped[distance > self._step + 1e-6] = Clip.STEP_LIMIT
        clipped[np.abs(action) > 1.0] = Clip.OUT_OF_RANGE
        clipped[~finite] = Clip.NOT_FINITE
        return Decoded(decoded, clipped)

    def fit(self, setting: np.ndarray, least: np.ndarray | None = None) -> np.ndarray:
        """Shrink grants that exceed the host together, each in proportion to what it has above its least.

        Args:
            setting: (..., n_knobs).
            least: (..., n_knobs) below which nothing shrinks, e.g. what a step can reach; None for the knobs' minimum,
                which also holds where `least` itself exceeds the host.
        """
        fitted = setting.astype(float)
        for knobs, capacity in self._capacities:
            granted = columns(setting, knobs)  # (..., n_workloads)
            low = np.broadcast_to(self.knob_scaling.low[knobs], granted.shape)
            if least is not None:
                given = np.minimum(columns(least, knobs), granted)
                low = np.where((_sum_last(given) <= capacity)[..., None], given, low)
            above = granted - low
            factor = (capacity - _sum_last(low)) / np.maximum(_sum_last(above), 1e-12)
            exceeds = _exceeds(granted, capacity)[..., None]
            fitted.T[knobs] = np.where(exceeds, low + above * factor[..., None], granted).T
        return fitted

    def score(self, values: np.ndarray, setting: np.ndarray, previous: np.ndarray) -> dict[str, np.ndarray]:
        """Reward terms of a period; see `Objective.score`."""
        return self.objective.score(values, setting, previous)

    def assess(
        self, values: np.ndarray, setting: np.ndarray, moved: np.ndarray, weights: np.ndarray | None = None
    ) -> Assessment:
        """Reward terms, objectives and constraint cost of a period; see `Objective.assess`."""
        return self.objective.assess(values, setting, moved, weights)

    def _forecast(self, feature: str, recent: Recent, setting: np.ndarray) -> np.ndarray:
        """(..., n_workloads * n_leads) float32."""
        if feature == "expected":
            return recent.forecast
        if feature == "upper":
            return recent.forecast_upper
        done, used = columns(recent.values, self._done), columns(recent.values, self._cpu_used)
        capacity = done * columns(setting, self._cpu_granted) / np.maximum(used, LEAST_CPU)  # (..., n_workloads)
        leads = len(self.spec.forecast_leads_seconds)
        chance = shortage(recent.expected, recent.upper, np.repeat(capacity, leads, axis=-1))
        return (2.0 * chance - 1.0).astype(np.float32)

    def _exceeded(self, setting: np.ndarray) -> bool:
        return any(_exceeds(columns(setting, knobs), capacity).any() for knobs, capacity in self._capacities)

    def _scaled_weights(self, weights: np.ndarray) -> np.ndarray:
        """(..., n_workloads + 1) in [-1, 1]: shares of the value, and the penalty p as p / (p + 4)."""
        values, penalty = weights[..., :-1], weights[..., -1:]
        shares = values / _sum_last(values)[..., None]
        return 2.0 * np.concatenate([shares, penalty / (penalty + 4.0)], axis=-1) - 1.0


def _labels(spec: SystemSpec) -> tuple[str, ...]:
    names = spec.catalogue.names
    wanted = [objective.wanted for objective in spec.workloads.values()]
    return (
        *(f"now/{name}" for name in names),
        *(f"trend/{name}" for name in names),
        *(f"setting/{name}" for name in spec.knob_names),
        *(f"headroom/{slo.name}" for slo in spec.slos),
        "day/sin",
        "day/cos",
        *(
            f"{FORECASTS[feature]}/{name}/{lead:g}s"
            for feature in spec.forecast_features
            for name in wanted
            for lead in spec.forecast_leads_seconds
        ),
        *(f"weight/{name}" for name in (*spec.workloads, "slo")),
    )


def _capacities(spec: SystemSpec) -> list[tuple[np.ndarray, float]]:
    """Knobs (n,) that share a resource of the host, and how much there is of it."""
    capacities = {
        "cpu": spec.cores,
        "memory": spec.memory_bytes,
        "storage": spec.storage_bytes_per_second,
        "network": spec.network_bytes_per_second,
    }
    shared = []
    for resource, capacity in capacities.items():
        names = [getattr(objective, f"{resource}_knob") for objective in spec.workloads.values()]
        knobs = np.array([spec.knob_index(name) for name in names if name is not None])
        if capacity is not None and len(knobs):
            shared.append((knobs, capacity))
    return shared


def _exceeds(granted: np.ndarray, capacity: float) -> np.ndarray:
    """(...) bool. The tolerance keeps rounding from moving grants that already fill the host."""
    return _sum_last(granted) > capacity * (1.0 + 1e-12)


def _sum_last(values: np.ndarray) -> np.ndarray:
    """Sum over the last axis in explicit order: np.sum may add a batch in another order than a single system."""
    total = np.asarray(values[..., 0])
    for i in range(1, values.shape[-1]):
        total = np.asarray(total + values[..., i])
    return total
