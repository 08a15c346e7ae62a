"""SystemSpec: what is watched, what can be set, what is wanted. One TOML file, validated here and nowhere else."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, field

from envs.fields import MOST, Checked, FieldError, Finite, NonNegative, Positive
from telemetry.metrics import Catalogue, MetricSpec, Scale

RESOURCES = ("cpu_cores", "memory_gib", "storage_megabytes_per_second", "network_megabytes_per_second")
"""The priced resources, in the order of every resource array, each in the unit it is priced in."""

OBSERVATION_VERSION = 1
"""Grows when an observation changes its meaning, so that older policies are refused."""

Workload = Literal["serving", "training", "ingest"]
WORKLOADS: tuple[Workload, ...] = ("serving", "training", "ingest")


ActuatorName = Literal[
    "cpu", "cpu_weight", "processors", "memory", "storage", "storage_operations", "processes", "pause", "network",
    "network_share", "nice", "io_priority", "rlimit", "component", "file", "callback", "host",
]  # fmt: skip
Window = Annotated[
    str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)\Z", examples=["22:00-06:00"])
]


class SpecError(ValueError):
    """A spec that cannot be used; the message is one line: where, what was given, what is allowed."""


class Role(StrEnum):
    """What a knob does: hand out resources, or tune how a component uses them."""

    ALLOCATION = "allocation"
    TUNING = "tuning"


class Metric(Checked, frozen=True, kw_only=True):
    """An observed metric, as written in the spec; see `telemetry.metrics.MetricSpec`."""

    name: str
    low: Finite
    high: Finite
    help: str
    scale: Scale = Scale.LINEAR
    knee: Positive = 1.0


class Knob(Checked, frozen=True, kw_only=True):
    """Something that can be set while the system runs."""

    name: str
    workload: Workload
    role: Role
    low: Finite
    high: Finite
    default: Finite
    """The static default: what a sensible person gets without tuning."""
    unit: str
    scale: Scale = Scale.LINEAR
    """`log`: the policy's [-1, 1] moves over the logarithm of the range (low > 0)."""
    integer: bool = False
    max_step: Annotated[float, Meta(gt=0, le=2)] = 2.0
    """Largest move per control period, as a distance in the scaled range [-1, 1]; 2 is the whole range."""
    actuator: ActuatorName = "component"
    """What sets it on a live system; docs/actuators.md tells what each needs. `host`: simulated hosts only."""
    target: str = ""
    """What the actuator works on: `PATH` or `PATH#table.key` for `file`, a device or path for `storage` and
    `storage_operations`, an interface for `network`, a resource such as `nofile` for `rlimit`."""
    reload: Literal["", "SIGHUP", "SIGUSR1", "SIGUSR2"] = ""
    """Signal that tells the component to read its `file` again; empty: it looks at the file's time by itself."""
    cost: Literal["live", "drain", "restart"] = "live"
    """What a change costs the component: nothing, an idle moment, or a restart, which waits for `restart_windows`. The
    latter two need the workload's `in_flight`: nothing is changed while there is anything that may be lost."""
    help: str = ""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"knob {self.name}: low {self.low} must be below high {self.high}")
        if not self.low <= self.default <= self.high:
            raise ValueError(f"knob {self.name}: default {self.default} is outside [{self.low}, {self.high}]")
        if self.scale is Scale.LOG and self.low <= 0:
            raise ValueError(f"knob {self.name}: a log scale needs low > 0, given {self.low}")
        if self.actuator in ("file", "rlimit") and not self.target:
            needed = "a path" if self.actuator == "file" else "a resource such as 'nofile'"
            raise ValueError(f"knob {self.name}: actuator {self.actuator!r} needs target, {needed}")
        if self.reload and self.actuator != "file":
            raise ValueError(f"knob {self.name}: reload is for actuator 'file', given {self.actuator!r}")


class Slo(Checked, frozen=True, kw_only=True):
    """A bound on an observed metric that must hold in a control period."""

    name: str
    metric: str
    at_most: Finite | None = None
    at_least: Finite | None = None
    weight: Positive = 1.0
    """How much one period of breach counts in the penalty, relative to the other SLOs."""

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"slo {self.name}: give exactly one of at_most, at_least")


class WorkloadObjective(Checked, frozen=True, kw_only=True):
    """How one workload's useful work is measured.

    Useful work in a period is `done / wanted`, clipped at `catch_up`.
    """

    value: NonNegative
    """Weight of this workload's useful work."""
    done: str
    """Metric: useful work done, per second."""
    wanted: str
    """Metric: the useful work that was asked for, per second."""
    cpu_used: str
    """Metric: CPU in use, cores."""
    memory_used: str
    """Metric: resident memory, bytes."""
    cpu_knob: str
    """Knob: CPU reserved, cores."""
    memory_knob: str | None = None
    """Knob: memory reserved, bytes; None: what is used counts as reserved."""
    storage_knob: str | None = None
    """Knob: storage bandwidth reserved, bytes per second; None likewise."""
    network_knob: str | None = None
    """Knob: network rate reserved, bytes per second; None likewise."""
    catch_up: Annotated[float, Meta(ge=1, le=MOST)] = 1.0
    """Largest `done / wanted` that counts; above 1, working off a backlog is useful too."""
    in_flight: str | None = None
    """Metric: what a restart would lose, such as requests in a queue; knobs that are not `live` wait until it is 0."""

    def check(self, workload: str, known: list[str], knobs: list[str]) -> None:
        """Look whether the metrics and knobs that it uses are there.

        Raises:
            ValueError: one is not.
        """
        for name in (self.done, self.wanted, self.cpu_used, self.memory_used, self.in_flight):
            if name is not None:
                _require(name, known, f"workload {workload} uses metric")
        for knob in (self.cpu_knob, self.memory_knob, self.storage_knob, self.network_knob):
            if knob is not None:
                _require(knob, knobs, f"workload {workload} uses knob")


class Prices(Checked, frozen=True, kw_only=True):
    """Price of a unit reserved for an hour, relative to one core (the ratio of public cloud prices)."""

    cpu_cores: NonNegative = 1.0
    memory_gib: NonNegative = 0.13
    storage_megabytes_per_second: NonNegative = 0.002
    network_megabytes_per_second: NonNegative = 0.01


class SystemSpec(Checked, frozen=True, kw_only=True):
    """A learning system as a control problem. Written as TOML; `SystemSpec.load` reads and validates it."""

    name: str
    control_period_seconds: Positive = 1.0
    """Time between decisions. Default 1 s: every actuator acts within 50 ms, and a second holds enough requests."""
    window_periods: Annotated[int, Meta(ge=2, le=60)] = 5
    """How many recent periods an observation sees. Default 5: shorter trends are noise at one-second periods."""
    cores: Positive
    """CPU that may be handed out to the workloads together, cores; of each host, where there is a pool of them."""
    memory_bytes: Positive | None = None
    """Memory that may be handed out to the workloads together (of each host), bytes; None: no limit."""
    storage_bytes_per_second: Positive | None = None
    """Storage bandwidth that may be handed out together, likewise."""
    network_bytes_per_second: Positive | None = None
    """Network rate that may be handed out together, likewise."""
    hosts_knob: str | None = None
    """Knob: how many hosts are provisioned. All of a provisioned host is reserved, whatever its workloads use; other
    metrics and knobs are those of one host."""
    restart_windows: list[Window] = field(default_factory=list)
    """Times of day in which knobs of cost `restart` may be changed, `HH:MM-HH:MM`, local time; one may lead over
    midnight. Default: none, so that nothing is restarted."""
    ready_hosts: str = "pool_ready_hosts"
    """Metric: how many of them are ready; used only with `hosts_knob`."""
    forecast_leads_seconds: Annotated[list[Positive], Meta(min_length=1, max_length=6)] = field(
        default_factory=lambda: [10.0, 60.0]
    )
    """How far ahead the observation tells the expected demand. Default 10 s and 60 s: the time of a trial, and of a
    host to start."""
    forecast_features: list[Literal["expected", "upper", "shortage"]] = field(default_factory=lambda: ["expected"])
    """What the observation tells of each workload at each lead: the demand that is expected, its 90 % quantile, and how
    likely it exceeds what the CPU granted now can do. Default: only the first, see `docs/forecasting.md`."""
    latency_slo_seconds: Positive
    """Deadline of a request; must be one of the serving histogram's bounds."""
    storage_written: str = "storage_written_bytes_per_second"
    network_moved: str = "network_moved_bytes_per_second"
    dead_band: Annotated[float, Meta(ge=0, lt=1)] = 0.06
    """Smallest move worth making, as a distance in the scaled range [-1, 1]. Default 0.06: 3 % of the range, which for
    CPU is a change by a twelfth; smaller moves cost more in trials than they bring."""
    violation_penalty: NonNegative = 4.0
    """What one period with every SLO broken costs in the reward, in units of efficiency. Default 4: at 2, tuned
    heuristics gave up a fifth of the periods for a few percent of CPU."""
    change_penalty: NonNegative = 0.02
    """What moving every knob over its whole range costs in the reward."""
    metrics: list[Metric]
    knobs: list[Knob]
    slos: list[Slo]
    workloads: dict[Workload, WorkloadObjective]
    prices: Prices = Prices()

    def __post_init__(self) -> None:
        known = [metric.name for metric in self.metrics]
        knobs = [knob.name for knob in self.knobs]
        features: list[str] = [*self.forecast_features]
        for names, what in ((known, "metric"), (knobs, "knob"), (features, "forecast feature")):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} named twice: {', '.join(twice)}")
        for slo in self.slos:
            _require(slo.metric, known, f"slo {slo.name} uses metric")
        for workload, objective in self.workloads.items():
            objective.check(workload, known, knobs)
        self._check_hosts(known, knobs)
        for name in (self.storage_written, self.network_moved):
            _require(name, known, "the spec uses metric")
        for entry in self.knobs:
            held = self.workloads.get(entry.workload)
            if entry.cost != "live" and (held is None or held.in_flight is None):
                raise ValueError(f"knob {entry.name} of cost {entry.cost!r} needs in_flight of {entry.workload}")

    def _check_hosts(self, known: list[str], knobs: list[str]) -> None:
        if self.hosts_knob is None:
            return
        _require(self.hosts_knob, knobs, "hosts_knob uses knob")
        if self.memory_bytes is None:
            raise ValueError("a spec with hosts_knob needs memory_bytes: the memory of a host, which is paid for")
        _require(self.ready_hosts, known, "the spec uses metric")

    @classmethod
    def load(cls, source: str | Path) -> SystemSpec:
        """Read a spec from a TOML file, or a shipped one by its name (`reference`, `host`, `pool`).

        With `extends = "reference"`, a spec adds to another one: its lists are appended, its tables merged.

        Raises:
            SpecError: unreadable file, broken TOML, unknown key (names the known ones), value out of range.
        """
        try:
            return cls.model_validate(_read(source))
        except FieldError as error:
            raise SpecError(f"spec {str(source)!r}: {error}") from None

    @property
    def catalogue(self) -> Catalogue:
        """The observed metrics, in the order of every values array."""
        return Catalogue(MetricSpec(m.name, m.low, m.high, m.help, scale=m.scale, knee=m.knee) for m in self.metrics)

    @functools.cached_property
    def knob_names(self) -> tuple[str, ...]:
        """Knob names, in the order of every setting array."""
        return tuple(knob.name for knob in self.knobs)

    def knob_index(self, name: str) -> int:
        """Position of a knob in a setting.

        Raises:
            SpecError: unknown name, with the closest known one.
        """
        if name not in self.knob_names:
            _require(name, list(self.knob_names), "knob", SpecError)
        return self.knob_names.index(name)

    @property
    def default_setting(self) -> np.ndarray:
        """The static default, (n_knobs,) float64 in natural units."""
        return np.array([knob.default for knob in self.knobs])

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits over everything that changes what an observation or action means.

        Objective weights, prices and names for people are left out: they change what is wanted, not what is seen.
        """
        return self._hashed(self.forecast_features)

    @property
    def setting_fingerprint(self) -> str:
        """As `fingerprint`, whatever forecasts are observed: what settings and rules that read none were found for."""
        return self._hashed(["expected"])

    def _hashed(self, forecasts: Sequence[str]) -> str:
        meaning: dict[str, object] = {
            "observation": OBSERVATION_VERSION,
            "leads": self.forecast_leads_seconds,
            "period": self.control_period_seconds,
            "window": self.window_periods,
            "metrics": [[m.name, m.low, m.high, m.scale, m.knee] for m in self.metrics],
            "dead_band": self.dead_band,
            # A cost is left out where it is the default, so that policies made before there were costs stay valid.
            "knobs": [
                [k.name, k.role, k.low, k.high, k.scale, k.integer] + ([k.cost] if k.cost != "live" else [])
                for k in self.knobs
            ],
            "slos": [[s.metric, s.at_most, s.at_least] for s in self.slos],
        }
        if list(forecasts) != ["expected"]:  # left out else: it came after the first policies
            meaning["forecast"] = list(forecasts)
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]


def _read(source: str | Path) -> dict[str, Any]:
    """The content of a spec's TOML file, after what it extends."""
    path = Path(source)
    shipped = resources.files("envs") / "specs" / f"{source}.toml"
    try:
        named = path.suffix == "" and not path.is_file() and shipped.is_file()
        content = tomllib.loads((shipped if named else path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read spec {str(source)!r}: {error}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no TOMLDecodeError
        raise SpecError(f"spec {str(source)!r} is not valid TOML: {error}") from None
    base = content.pop("extends", None)
    if base is None:
        return content
    if base == str(source) or not isinstance(base, str):
        raise SpecError(f"spec {str(source)!r} extends {base!r}; allowed is the name or file of another spec")
    beside = path.parent / base
    return _merged(_read(beside if beside.suffix and beside.is_file() else base), content)


def _merged(base: Any, added: Any) -> Any:
    """Tables merged key by key, lists appended, all else replaced."""
    if isinstance(base, dict) and isinstance(added, dict):
        return base | {key: _merged(base[key], value) if key in base else value for key, value in added.items()}
    if isinstance(base, list) and isinstance(added, list):
        return base + added
    return added


def _require(name: str, known: list[str], what: str, error: type[ValueError] = ValueError) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    raise error(f"{what} {name!r}, which is unknown; {hint}")
