"""SimulatedPlant: N simulated learning systems at once; the single system is N = 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.scaling import KnobScaling
from envs.simulator import host, ingest, noise, serving, training_job
from envs.simulator.columns import Columns
from envs.simulator.parameters import PARAMETER_NAMES, Parameters
from envs.simulator.quantities import GOOD_SETTING, KNOBS, METRICS, STATE, TOTALS
from envs.simulator.replay import DemandTable
from envs.spec import SpecError, SystemSpec
from telemetry.metrics import Snapshot
from telemetry.workload import Demand

NOISE = np.arange(11, dtype=np.uint64)
"""Channels: requests, events, speed of three components, latency, accuracy, CPU of three, host."""
DRAWS = np.arange(16, 22, dtype=np.uint64)
"""Channels at a reset: demand, offset, peak share, delay, drift phase, age of the first model."""
DEVIATIONS = np.arange(32, 32 + len(PARAMETER_NAMES), dtype=np.uint64)
"""Channels at a reset: one for each parameter."""
PROMPT_SHARE = 0.85
"""Of randomized systems, so many act at once, the others a period later; real actuators took below 50 ms."""
MOST_DELAY = 1


class SimulatedPlant:
    """A batch of learning systems that replay demands; what the knobs change is computed.

    System i of a batch is, bit for bit, the system that a batch of one with the same seed holds.

    Args:
        spec: its metrics and knobs must be among those that the simulator has.
        demands: normalized, then scaled for each system: the peak of the requests to `peak_share` of what serving can
            answer on one core with a good setting, the mean of the events to the parameters' nominal rate.
        n: number of systems; None for a single one with shapes (n_knobs,) and (n_metrics,).
        seed: system i has the seed `seed + i`.
        parameters: None for the shipped ones.
        randomize: draw each system's parameters around `parameters`, and delay its actuators by up to a period.
        random_start: begin each demand at a random period.
        peak_share: a number, or a range from which each system's is drawn.
        noise: noise of arrivals, speed and readings; without it every period is an expectation.
        missing_ratio: share of readings that are missing (NaN).
        as_recorded: replay the demands' rates as they are, without scaling.

    Raises:
        SpecError: the spec names a metric or knob that the simulator does not have, or lacks a knob.
        ValueError: no demand, or one that is shorter than two periods.
    """

    def __init__(
        self,
        spec: SystemSpec,
        demands: Sequence[Demand],
        *,
        n: int | None = None,
        seed: int = 0,
        parameters: Parameters | None = None,
        randomize: bool = False,
        random_start: bool = False,
        peak_share: float | tuple[float, float] = 0.8,
        noise: bool = True,
        missing_ratio: float = 0.0,
        as_recorded: bool = False,
    ) -> None:
        _check_spec(spec)
        self.spec = spec
        self.parameters = parameters if parameters is not None else Parameters.load("reference")
        self.demands = DemandTable(demands, spec.control_period_seconds, normalized=not as_recorded)
        self.randomize, self.random_start, self.as_recorded = randomize, random_start, as_recorded
        self.noise, self.missing_ratio = noise, missing_ratio
        self.peak_share = peak_share if isinstance(peak_share, tuple) else (peak_share, peak_share)
        self.time = 0.0
        self._single, self.n = n is None, 1 if n is None else n
        self._scaling = KnobScaling(spec.knobs)
        self._default = spec.default_setting
        self._order = np.array([METRICS.index(metric.name) for metric in spec.metrics])
        self._allocate()
        self.reset(seed)

    def _allocate(self) -> None:
        n, n_knobs = self.n, len(self.spec.knobs)
        self._state, self._p = Columns(STATE, n), Columns(PARAMETER_NAMES, n)
        self._knobs, self._out = Columns(self.spec.knob_names, n), Columns(METRICS, n)
        self._seeds, self._keys, self._ticks = (np.zeros(n, dtype=np.uint64) for _ in range(3))
        self._demand, self._offset, self._delay = (np.zeros(n, dtype=np.int64) for _ in range(3))
        self._in_force = np.zeros((n, n_knobs))
        self._asked = np.zeros((MOST_DELAY + 1, n, n_knobs))  # newest first

    @property
    def setting(self) -> np.ndarray:
        """In force, (n_knobs,) or (N, n_knobs); a copy."""
        return self._in_force[0].copy() if self._single else self._in_force.copy()

    @property
    def demand_index(self) -> np.ndarray:
        """(N,) int, which demand each system replays."""
        return self._demand.copy()

    @property
    def totals(self) -> dict[str, np.ndarray]:
        """Counters since the reset, (N,) each, and what is waiting now.

        Requests arrived = served + rejected + timed out + waiting; events arrived = written + dropped + waiting; uses
        offered = done + expired + waiting.
        """
        state = self._state
        waiting = {
            "requests_waiting": state.serving_queue.copy(),
            "events_waiting": state.ingest_backlog.copy(),
            "uses_waiting": state.training_backlog.copy(),
        }
        return {name: state[name].copy() for name in TOTALS} | waiting

    def reset(
        self,
        seed: int | Sequence[int] | np.ndarray | None = None,
        mask: np.ndarray | None = None,
        *,
        demand_indices: int | Sequence[int] | np.ndarray | None = None,
        setting: np.ndarray | None = None,
    ) -> None:
        """Begin anew: empty queues, new parameters, demand and offset, all drawn by the seed.

        Args:
            seed: an int s gives system i the seed s + i; (N,) ints give each its own; None draws a new one from the
                old.
            mask: (N,) bool, which systems; None for all.
            demand_indices: demand of each system (an int for all), replayed from its beginning; None draws them.
            setting: in force at the start, (n_knobs,) or (N, n_knobs); None for the spec's default.
        """
        rows = np.arange(self.n) if mask is None else np.flatnonzero(mask)
        if seed is None:
            self._seeds[rows] = noise.mixed(self._seeds[rows] + np.uint64(1))
        else:
            given = np.asarray(seed, dtype=np.int64)
            each = given + np.arange(self.n) if given.ndim == 0 else given
            self._seeds[rows] = np.broadcast_to(each, (self.n,))[rows].astype(np.uint64)
        self._keys[rows] = noise.system_keys(self._seeds[rows])
        self._ticks[rows] = 0
        self._draw(rows, demand_indices)
        start = self._default if setting is None else self._fitted(np.asarray(setting, dtype=float))
        self._in_force[rows] = np.broadcast_to(start, self._in_force.shape)[rows]
        self._asked[:, rows] = self._in_force[rows]

    def _draw(self, rows: np.ndarray, demand_indices: int | Sequence[int] | np.ndarray | None) -> None:
        keys, ticks = self._keys[rows], self._ticks[rows]
        draws = noise.uniforms(keys, ticks, DRAWS)  # (6, rows)
        if demand_indices is None:
            self._demand[rows] = (draws[0] * len(self.demands)).astype(np.int64)
            begin = draws[1] if self.random_start else 0.0 * draws[1]
        else:
            self._demand[rows] = np.broadcast_to(np.asarray(demand_indices, dtype=np.int64), (self.n,))[rows]
            begin = 0.0 * draws[1]
        self._offset[rows] = (begin * self.demands.lengths[self._demand[rows]]).astype(np.int64)
        spread = 1.0 if self.randomize else 0.0
        deviations = np.clip(noise.normals(keys, ticks, DEVIATIONS), -2.0, 2.0) * spread
        self._p.array[:, rows] = self.parameters.columns(deviations).array
        late = (draws[3] >= PROMPT_SHARE).astype(np.int64)
        self._delay[rows] = late if self.randomize else 0
        self._start(rows, draws)

    def _start(self, rows: np.ndarray, draws: np.ndarray) -> None:
        """A system that has run well for a while: the model in service is about five seconds old."""
        p = self._p.select(rows)
        fresh = Columns(STATE, len(rows))
        fresh.drift_phase[:] = 2.0 * np.pi * draws[4]
        fresh.trained_age[:] = 1.0
        fresh.model_age[:] = fresh.checkpoint_age[:] = 10.0 * draws[5]
        fresh.trained_fit[:] = fresh.model_fit[:] = 0.9
        fresh.accuracy[:] = p.accuracy_best_ratio - 0.1 * p.accuracy_starved_ratio - 0.1 * p.accuracy_stale_ratio
        fresh.training_demand[:] = p.ingest_events_per_second * p.training_uses_per_event
        low, high = self.peak_share
        fresh.peak_requests[:] = _capacity(p, self.spec) * (low + (high - low) * draws[2])
        fresh.mean_events[:] = p.ingest_events_per_second
        if self.as_recorded:
            fresh.peak_requests[:] = fresh.mean_events[:] = 1.0
        self._state.array[:, rows] = fresh.array

    def force(self, setting: np.ndarray) -> None:
        """Put a setting, (N, n_knobs), in force at once, whatever the delay of the actuators."""
        self._in_force[:] = self._fitted(setting)
        self._asked[:] = self._in_force

    def use(self, parameters: np.ndarray) -> None:
        """Give each system parameters of its own, (n_parameters, N), until its next reset."""
        self._p.array[:] = parameters

    def uniforms(self, count: int) -> np.ndarray:
        """Numbers in [0, 1), (count, N), that belong to the systems' seeds: for what is drawn once an episode."""
        channels = np.arange(512, 512 + count, dtype=np.uint64)
        return noise.uniforms(self._keys, np.zeros_like(self._ticks), channels)

    def apply(self, setting: np.ndarray) -> None:
        """Ask for a setting; clipped to the knobs' bounds, in force at once or after the system's delay.

        Raises:
            ValueError: not finite, or of the wrong shape; nothing is changed.
        """
        given = np.asarray(setting, dtype=float)
        expected = self._in_force.shape[1:] if self._single else self._in_force.shape
        if given.shape != expected:
            raise ValueError(f"setting has shape {given.shape}; this plant takes {expected}")
        if not np.isfinite(given).all():
            raise ValueError("setting is not finite; every knob needs a number within its bounds")
        self._asked[0] = self._fitted(given)
        if self.randomize:
            np.copyto(self._in_force, self._asked[0], where=(self._delay == 0)[:, None])
        else:
            self._in_force[:] = self._asked[0]

    def _fitted(self, setting: np.ndarray) -> np.ndarray:
        rounded = np.where(self._scaling.integer, np.rint(setting), setting)
        return np.minimum(np.maximum(rounded, self._scaling.low), self._scaling.high)

    def advance(self, seconds: float) -> Snapshot:
        """Let simulated time pass.

        Raises:
            ValueError: `seconds` is not a positive number.
        """
        if not (np.isfinite(seconds) and seconds > 0):
            raise ValueError(f"cannot advance by {seconds} seconds; it must be a positive number")
        if self.randomize:
            self._in_force[:] = self._asked[self._delay, np.arange(self.n)]
        self._knobs.array[:] = self._in_force.T
        z = noise.normals(self._keys, self._ticks, NOISE) if self.noise else np.zeros((len(NOISE), self.n))
        self._ticks += np.uint64(1)
        self._simulate(float(seconds), z)
        if self.randomize:
            self._asked[1:] = self._asked[:-1].copy()
        self._state.elapsed[:] += seconds
        self.time += seconds
        values = np.ascontiguousarray(self._out.array[self._order].T)  # (N, n_metrics)
        if self.missing_ratio > 0.0:
            self._lose(values)
        return Snapshot(self.time, values[0] if self._single else values)

    def _simulate(self, seconds: float, z: np.ndarray) -> None:
        """One period: demand, what each workload would use, what the host lets them have, what they do with it.

        Args:
            z: (channels, N) about standard normal, see `NOISE`.
        """
        p, state, knobs, out = self._p, self._state, self._knobs, self._out
        step = (state.elapsed / self.spec.control_period_seconds + 1e-6).astype(np.int64) + self._offset
        shares = self.demands.rates(self._demand, step)
        requests = _arrivals(p, shares[0] * state.peak_requests * seconds, z[0])
        events = _arrivals(p, shares[1] * state.mean_events * seconds, z[1])

        serve = serving.load(p, knobs, state.serving_queue + requests, seconds)
        write = ingest.load(p, state, knobs, events, seconds)
        train = training_job.load(p, state, knobs, seconds)
        share, others = host.slowdown(p, serve.wanted + train.wanted + write.wanted, requests / seconds)
        speed = share * np.exp(p.speed_noise_ratio * z[2:5])  # (3, N)

        latency_noise = np.exp(p.latency_noise_ratio * z[5])
        written, lag = ingest.advance(p, state, knobs, out, write, ingest.IngestPeriod(events, seconds, speed[2]))
        slo = self.spec.latency_slo_seconds
        arrived = serving.ServingPeriod(requests, seconds, speed[0], latency_noise, slo)
        serving.advance(p, state, knobs, out, serve, arrived)
        # Of n answers, averaged over 15 s, the share that is right has a standard deviation of about 0.4 / sqrt(15 n).
        accuracy_noise = 0.1 * z[6] / np.sqrt(requests + 10.0)
        trained = training_job.TrainingPeriod(written, lag, seconds, speed[1], accuracy_noise)
        training_job.advance(p, state, knobs, out, train, trained)
        self._read_host(others, requests, events, written / write.chunk, seconds)
        self._read_resources(z[7:11])

    def _read_host(
        self, others: np.ndarray, requests: np.ndarray, events: np.ndarray, shards: np.ndarray, seconds: float
    ) -> None:
        p, out = self._p, self._out
        used = out.serving_cpu_used_cores + out.training_cpu_used_cores + out.ingest_cpu_used_cores + others
        out.host_cpu_used_ratio[:] = np.minimum(used / p.physical_cores, 1.0)
        shard_bytes = shards * p.ingest_shard_bytes + out.ingest_written_per_second * seconds * p.ingest_row_bytes
        out.storage_written_bytes_per_second[:] += shard_bytes / seconds
        moved = requests * p.serving_request_bytes + events * p.ingest_event_bytes
        out.network_moved_bytes_per_second[:] = moved / seconds

    def _read_resources(self, z: np.ndarray) -> None:
        """Errors of the CPU readings; what is used never exceeds what is granted, and nothing is negative."""
        out, knobs = self._out, self._knobs
        error = 1.0 + self._p.reading_noise_ratio * z  # (4, N)
        for i, workload in enumerate(("serving", "training", "ingest")):
            used = out[f"{workload}_cpu_used_cores"]
            np.minimum(used * error[i], knobs[f"{workload}_cpu_cores"], out=used)
        np.minimum(out.host_cpu_used_ratio * error[3], 1.0, out=out.host_cpu_used_ratio)

    def _lose(self, values: np.ndarray) -> None:
        channels = np.arange(1024, 1024 + values.shape[1], dtype=np.uint64)
        drawn = noise.uniforms(self._keys, self._ticks, channels).T  # (N, n_metrics)
        values[drawn < self.missing_ratio] = np.nan

    def select(self, rows: np.ndarray) -> SimulatedPlant:
        """A plant of its own with a copy of some of the systems, (len(rows),)."""
        chosen = SimulatedPlant.__new__(SimulatedPlant)
        chosen.__dict__.update(self.__dict__)
        chosen._single, chosen.n = False, len(rows)
        chosen._allocate()
        for mine, theirs in zip(chosen._per_system(), self._per_system(), strict=True):
            mine[...] = theirs[..., rows]
        chosen._in_force[:] = self._in_force[rows]
        chosen._asked[:] = self._asked[:, rows]
        return chosen

    def assign(self, rows: np.ndarray, other: SimulatedPlant, its: np.ndarray) -> None:
        """Replace the systems `rows` by copies of the systems `its` of another plant of the same kind."""
        for mine, theirs in zip(self._per_system(), other._per_system(), strict=True):
            mine[..., rows] = theirs[..., its]
        self._in_force[rows] = other._in_force[its]
        self._asked[:, rows] = other._asked[:, its]

    def _per_system(self) -> tuple[np.ndarray, ...]:
        """Every array whose last axis is the systems."""
        return (self._state.array, self._p.array, self._seeds, self._keys, self._ticks, self._demand, self._offset,
                self._delay)  # fmt: skip

    def close(self) -> None:
        """Nothing is held."""


def _arrivals(p: Columns, mean: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.maximum(mean + np.sqrt(mean * p.arrival_dispersion) * z, 0.0)


def _capacity(p: Columns, spec: SystemSpec) -> np.ndarray:
    """Requests per second (N,) that serving can answer with `GOOD_SETTING` on a host that it has for itself."""
    n = p.array.shape[1]
    knobs = Columns(KNOBS, n)
    for name, value in GOOD_SETTING.items():
        knobs[name][:] = value
    flood = serving.load(p, knobs, np.full(n, 1e6), spec.control_period_seconds)
    return serving.capacity(p, knobs, flood, np.ones(n))


def _check_spec(spec: SystemSpec) -> None:
    for given, known, what in ((spec.catalogue.names, METRICS, "metric"), (spec.knob_names, KNOBS, "knob")):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise SpecError(f"the simulator has no {what} {unknown[0]!r}; it has: {', '.join(known)}")
    missing = [name for name in KNOBS if name not in spec.knob_names]
    if missing:
        raise SpecError(f"the simulator needs the knob {missing[0]!r}, which spec {spec.name!r} lacks")
