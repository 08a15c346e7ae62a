"""SimulatedPlant: N simulated learning systems at once; the single system is N = 1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from envs.simulator import drift, noise, period
from envs.simulator.actuators import PROMPT_SHARE, Actuators
from envs.simulator.columns import Columns, Systems
from envs.simulator.incidents import CALM, Incident, Incidents, Stress
from envs.simulator.initial_state import capacity, initial_state
from envs.simulator.parameters import PARAMETER_NAMES, Parameters
from envs.simulator.pool import Pool
from envs.simulator.quantities import EXTENSIVE, METRICS, RESUMED, SHORTAGE, STATE, TOTALS, can_run_short, check_spec
from envs.simulator.readings import Answers
from envs.simulator.replay import DemandTable
from envs.spec import SystemSpec
from telemetry.measured_noise import ARRIVAL_BURSTINESS_SECONDS, SPEED_WANDER_SECONDS
from telemetry.metrics import Snapshot
from telemetry.workload import Demand

DRAWS = np.arange(16, 22, dtype=np.uint64)
"""Channels at a reset: demand, offset, peak share, delay, drift phase, age of the first model."""
FIRST_NOISE = np.arange(22, 23, dtype=np.uint64)
"""Channel at a reset: where the arrival rate and the host's speed begin around their means."""
DEVIATIONS = np.arange(32, 32 + -(-len(PARAMETER_NAMES) // 4), dtype=np.uint64)
"""Channels at a reset: one for every four parameters."""
ONCE = 512
"""First channel of what is drawn once an episode."""
ANSWERS = np.arange(1024, 1025, dtype=np.uint64)
"""Channel of the answers that do not come."""


class SimulatedPlant:
    """A batch of learning systems that replay demands; what the knobs change is computed.

    System i of a batch is, bit for bit, the system that a batch of one with the same seed holds. Where the spec has
    the knob `pool_hosts`, a system is a pool of equal hosts: its readings are those of an average ready host, on which
    an equal part of the demand arrives.

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
        missing_ratio: how often a component with very little CPU does not answer, so that its readings are missing
            (NaN); see `envs.simulator.readings`. Measured: 0.03.
        as_recorded: replay the demands' rates as they are, without scaling.
        incident_rate_per_hour: random incidents of each system, of `envs.simulator.incidents.ROWS`.
        pool_scale: a scaled demand is so many times that of one host; None for the spec's default number of hosts.

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
        incident_rate_per_hour: float = 0.0,
        pool_scale: float | None = None,
    ) -> None:
        check_spec(spec)
        self.spec = spec
        self.parameters = parameters if parameters is not None else Parameters.load("reference")
        self.demands = DemandTable(demands, spec.control_period_seconds, normalized=not as_recorded)
        self.randomize, self.random_start, self.as_recorded = randomize, random_start, as_recorded
        self.noise, self.missing_ratio = noise, missing_ratio
        self.incident_rate_per_hour = incident_rate_per_hour
        self.peak_share = peak_share if isinstance(peak_share, tuple) else (peak_share, peak_share)
        self.time = 0.0
        self._single, self.n = n is None, 1 if n is None else n
        self._hosts = spec.knob_index("pool_hosts") if "pool_hosts" in spec.knob_names else None
        hosts = 1.0 if self._hosts is None else float(spec.default_setting[self._hosts])
        self.pool_scale = hosts if pool_scale is None else pool_scale
        self._can_run_short = can_run_short(spec)
        self._answers = Answers(spec.catalogue.names)
        self._aftermath = self._held = False
        self._incidents = Incidents(self.n) if incident_rate_per_hour > 0.0 else None
        self._allocate()
        self.reset(seed)

    def _allocate(self) -> None:
        n, spec = self.n, self.spec
        seen = [metric.name for metric in spec.metrics]
        # The spec's metrics and knobs come first and in its order: no column need be looked up in a step.
        self._systems = Systems(
            Columns(PARAMETER_NAMES, n), Columns(STATE, n), Columns(spec.knob_names, n),
            Columns((*seen, *(name for name in METRICS if name not in seen)), n),
        )  # fmt: skip
        self._seeds, self._keys, self._ticks = (np.zeros(n, dtype=np.uint64) for _ in range(3))
        self._demand = np.zeros(n, dtype=np.int64)
        self._actuators = Actuators(spec.knobs, n)
        self._pool = Pool(n) if self._hosts is not None else None
        self._incidents = Incidents(n) if self._incidents is not None else None

    @property
    def setting(self) -> np.ndarray:
        """In force, (n_knobs,) or (N, n_knobs); a copy."""
        return self._shown(self._systems.knobs.array)

    @property
    def demand_index(self) -> np.ndarray:
        """(N,) int, which demand each system replays."""
        return self._demand.copy()

    @property
    def drawn(self) -> np.ndarray:
        """Parameters of each system, (n_parameters, N) in the order of `PARAMETER_NAMES`; a copy."""
        return self._systems.p.array.copy()

    @property
    def totals(self) -> dict[str, np.ndarray]:
        """Counters since the reset, (N,) each, and what is waiting now.

        Requests arrived = served + rejected + timed out + waiting; events arrived = written + dropped + waiting; uses
        offered = done + expired + waiting.
        """
        state, hosts = self._systems.state, 1.0 if self._pool is None else self._pool.ready
        waiting = {
            "requests_waiting": state.serving_queue * hosts,
            "events_waiting": state.ingest_backlog * hosts,
            "uses_waiting": state.training_backlog * hosts,
        }
        return {name: state[name] * hosts for name in TOTALS} | waiting

    @property
    def incidents(self) -> list[tuple[Incident, ...]]:
        """The incidents that are under way in each system."""
        if self._incidents is None:
            return [()] * self.n
        return self._incidents.active(self._systems.state.elapsed)

    def reset(
        self,
        seed: int | Sequence[int] | np.ndarray | None = None,
        mask: np.ndarray | None = None,
        *,
        demand_indices: int | Sequence[int] | np.ndarray | None = None,
        setting: np.ndarray | None = None,
    ) -> None:
        """Begin anew: empty queues, no incidents, new parameters, demand and offset, all drawn by the seed.

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
        if self._incidents is not None:
            self._incidents.array[:, :, rows] = 0.0
        self._draw(rows, demand_indices)
        start = self._actuators.default if setting is None else self._actuators.fit(np.asarray(setting, dtype=float))
        self._put_in_force(np.broadcast_to(start, self._systems.knobs.array.shape)[:, rows], rows)

    def _draw(self, rows: np.ndarray, demand_indices: int | Sequence[int] | np.ndarray | None) -> None:
        keys, ticks = self._keys[rows], self._ticks[rows]
        draws = noise.uniforms(keys, ticks, DRAWS)  # (6, rows)
        begins_anywhere = self.random_start and demand_indices is None
        if demand_indices is None:
            self._demand[rows] = (draws[0] * len(self.demands)).astype(np.int64)
        else:
            self._demand[rows] = np.broadcast_to(np.asarray(demand_indices, dtype=np.int64), (self.n,))[rows]
        spread = 1.0 if self.randomize else 0.0
        deviations = noise.normals(keys, ticks, DEVIATIONS)[: len(PARAMETER_NAMES)]
        p = self.parameters.columns(np.clip(deviations, -2.0, 2.0) * spread)
        self._actuators.late[rows] = (draws[3] >= PROMPT_SHARE) & self.randomize
        around = noise.normals(keys, ticks, FIRST_NOISE)[:2] * self.noise
        fresh = initial_state(p, draws[4:6], around)
        low, high = self.peak_share
        if self.as_recorded:
            fresh.peak_requests[:] = fresh.mean_events[:] = 1.0
        else:
            peak = capacity(p, self.spec.control_period_seconds) * (low + (high - low) * draws[2])
            fresh.peak_requests[:] = peak * self.pool_scale
            fresh.mean_events[:] = p.ingest_events_per_second * self.pool_scale
        self.demands.begin(fresh, self._demand[rows], draws[1] * begins_anywhere)
        self._systems.p.array[:, rows], self._systems.state.array[:, rows] = p.array, fresh.array

    def force(self, setting: np.ndarray) -> None:
        """Put a setting, (N, n_knobs), in force at once, whatever the delay of actuators and the start-up of hosts."""
        self._put_in_force(self._actuators.fit(setting), np.arange(self.n))

    def _put_in_force(self, setting: np.ndarray, rows: np.ndarray) -> None:
        """Let it be as if `setting`, (n_knobs, n_rows), had been in force for long."""
        self._systems.knobs.array[:, rows] = setting
        self._actuators.begin(setting, rows)
        if self._pool is not None and self._hosts is not None:
            self._pool.begin(setting[self._hosts], rows)

    def use(self, parameters: np.ndarray) -> None:
        """Give each system parameters of its own, (n_parameters, N), until its next reset."""
        self._systems.p.array[:] = parameters

    def resume(self, reading: np.ndarray, world_seconds: float = 0.0) -> None:
        """Go on from where a recorded system was, with no time to settle.

        Args:
            reading: (n_metrics,); what a reading shows of the state is taken from it, as far as it is there.
            world_seconds: on the clock of the world that the model follows, see `envs.simulator.drift`.
        """
        state, names = self._systems.state, self.spec.catalogue.names
        for metric, name in RESUMED.items():
            if metric in names and np.isfinite(reading[names.index(metric)]):
                state[name][:] = reading[names.index(metric)]
        state.training_old[:] = 0.5 * state.training_backlog
        state.serving_entered[:] = state.serving_queue
        state.checkpoint_age[:] = state.model_age
        state.drift_phase[:] = drift.phase(world_seconds)

    def uniforms(self, count: int) -> np.ndarray:
        """Numbers in [0, 1), (count, N), that belong to the systems' seeds: for what is drawn once an episode."""
        channels = np.arange(ONCE, ONCE + count, dtype=np.uint64)
        return noise.uniforms(self._keys, np.zeros_like(self._ticks), channels)

    def inject(self, incident: Incident, systems: Sequence[int] | np.ndarray | None = None) -> None:
        """Let something go wrong, now or later; it takes the place of another of its kind (and workload).

        Args:
            incident: what, and when from now.
            systems: which, ints; None for all.
        """
        if self._incidents is None:
            self._incidents = Incidents(self.n)
        chosen = np.arange(self.n) if systems is None else np.asarray(systems, dtype=np.int64)
        self._incidents.inject(incident, self._systems.state.elapsed[chosen], chosen)

    def hold_demand(self) -> None:
        """From now on the demand stays at the expected rates of the last period, and nothing is left to chance.

        For looking ahead on a copy: what a plan knows of the future is what it sees now. Incidents that are under way
        or already due go on.
        """
        self._held, self.noise, self.missing_ratio, self.incident_rate_per_hour = True, False, 0.0, 0.0
        self._systems.state.between("arrival_flicker", "speed_wander")[:] = 0.0

    def apply(self, setting: np.ndarray) -> None:
        """Ask for a setting; clipped to the knobs' bounds, in force at once or after the system's delay.

        Raises:
            ValueError: not finite, or of the wrong shape; nothing is changed.
        """
        given, in_force = np.asarray(setting, dtype=float), self._systems.knobs.array
        expected = in_force.shape[:1] if self._single else in_force.shape[::-1]
        if given.shape != expected:
            raise ValueError(f"setting has shape {given.shape}; this plant takes {expected}")
        if not np.isfinite(given).all():
            raise ValueError("setting is not finite; every knob needs a number within its bounds")
        if self.randomize:
            self._actuators.ask(given, in_force)
        else:
            self._actuators.fit(given, out=in_force)

    def advance(self, seconds: float) -> Snapshot:
        """Let simulated time pass.

        Raises:
            ValueError: `seconds` is not a positive number.
        """
        if not (np.isfinite(seconds) and seconds > 0):
            raise ValueError(f"cannot advance by {seconds} seconds; it must be a positive number")
        if self.randomize:
            self._actuators.advance(self._systems.knobs.array)
        seconds, state = float(seconds), self._systems.state
        stress = self._stress(seconds)
        z = self._noise(seconds)
        now = self.demands.at(state)
        arrived = self._arrivals(now[:2], seconds, z, stress)
        met = period.Period(arrived[0], arrived[1], seconds, self.spec.latency_slo_seconds, z, stress)
        stopped = period.simulate(self._systems, met)
        self._ticks += np.uint64(1)
        state.elapsed += seconds
        self.demands.move_on(state, seconds / self.spec.control_period_seconds)
        self.time += seconds
        if stopped is not None:
            self._after(stopped)
        return Snapshot(self.time, self._readings(), float(now[2, 0]) if self._single else now[2])

    def _noise(self, seconds: float) -> np.ndarray:
        """Normal numbers of the coming period, (12, N); moves on what is noise from one period to the next as well."""
        if not self.noise:
            return np.zeros((4 * len(period.CHANNELS), self.n))
        z = noise.normals(self._keys, self._ticks, period.CHANNELS)
        slow = self._systems.state.between("arrival_flicker", "speed_wander")
        kept, added = _autoregression(seconds)
        slow *= kept
        slow += added * z[period.SLOW]
        return z

    def _stress(self, seconds: float) -> Stress | None:
        """What incidents do in the coming period; None where the physics of shortage can be left out."""
        if self._incidents is not None:
            elapsed = self._systems.state.elapsed
            if self.incident_rate_per_hour > 0.0:
                self._incidents.draw(self._keys, self._ticks, self.incident_rate_per_hour * seconds / 3600.0, elapsed)
            under_way = self._incidents.under_way(elapsed, seconds)
            if under_way.any():
                return self._incidents.stress(elapsed, under_way)
        return CALM if self._can_run_short or self._aftermath else None

    def _after(self, stopped: np.ndarray) -> None:
        """What a period with shortage leaves behind, given who was stopped at its end, (3, N) bool."""
        state = self._systems.state
        self._aftermath = bool(state.between(SHORTAGE[0], SHORTAGE[-1]).any())
        if self._incidents is not None and stopped.any():
            self._incidents.restart_leaks(stopped, state.elapsed)

    def _arrivals(self, shares: np.ndarray, seconds: float, z: np.ndarray, stress: Stress | None) -> np.ndarray:
        """Requests and events that arrive in a period at each ready host, (2, N).

        Args:
            shares: (2, N) of the demand.
            seconds: length of the period.
            z: (12, N) normal, see `period.CHANNELS`.
            stress: traffic bursts.
        """
        p, state = self._systems.p, self._systems.state
        rates = state.between("requests_rate", "events_rate")
        if not self._held:
            np.multiply(shares, state.between("peak_requests", "mean_events"), out=rates)
            if stress is not None:
                rates[0] *= 1.0 + stress.burst
        mean = rates * seconds
        if self.noise:
            mean *= np.exp(p.arrival_flicker_ratio * (state.arrival_flicker - 0.5 * p.arrival_flicker_ratio))
        arrived = np.maximum(mean + np.sqrt(mean * p.arrival_dispersion) * z[period.ARRIVALS], 0.0)
        if self._pool is None or self._hosts is None:
            return arrived
        wanted = self._systems.knobs.array[self._hosts]
        spread = self._pool.advance(wanted, state.elapsed, p.pool_startup_seconds)
        state.between(EXTENSIVE[0], EXTENSIVE[-1])[:] *= spread
        self._systems.out.put("pool_ready_hosts", self._pool.ready)
        return arrived / self._pool.ready

    def _readings(self) -> np.ndarray:
        """The spec's metrics, (N, n_metrics) or (n_metrics,)."""
        readings = self._systems.out.array[: len(self.spec.metrics)]
        if self.missing_ratio > 0.0:
            drawn = noise.coarse_uniforms(self._keys, self._ticks, ANSWERS)[:3]
            drawn[:, self._ticks == 1] = 1.0  # the first is there: nobody could hold an older one in its place
            readings = np.where(self._answers.missing(self._systems, drawn, self.missing_ratio), np.nan, readings)
        return self._shown(readings)

    def _shown(self, rows: np.ndarray) -> np.ndarray:
        """A copy of (n, N) as (N, n), whose columns stay contiguous, or as (n,) for a single system."""
        return rows[:, 0].copy() if self._single else rows.copy().T

    def select(self, rows: np.ndarray) -> SimulatedPlant:
        """A plant of its own with a copy of some of the systems, (len(rows),)."""
        chosen = SimulatedPlant.__new__(SimulatedPlant)
        chosen.__dict__.update(self.__dict__)
        chosen._single, chosen.n = False, len(rows)
        chosen._allocate()
        chosen._actuators.join(self._actuators, chosen._systems.knobs.array)
        for mine, theirs in zip(chosen._per_system(), self._per_system(), strict=True):
            mine[...] = theirs[..., rows]
        return chosen

    def assign(self, rows: np.ndarray, other: SimulatedPlant, its: np.ndarray) -> None:
        """Replace the systems `rows` by copies of the systems `its` of another plant of the same kind."""
        if (self._incidents is None) is not (other._incidents is None):
            self._incidents = self._incidents or Incidents(self.n)
            other._incidents = other._incidents or Incidents(other.n)
        self._actuators.join(other._actuators, self._systems.knobs.array)
        other._actuators.join(self._actuators, other._systems.knobs.array)
        for mine, theirs in zip(self._per_system(), other._per_system(), strict=True):
            mine[..., rows] = theirs[..., its]
        self._aftermath |= other._aftermath

    def _per_system(self) -> tuple[np.ndarray, ...]:
        """Every array whose last axis is the systems."""
        optional = [part.array for part in (self._pool, self._incidents) if part is not None]
        return (*(columns.array for columns in self._systems), self._seeds, self._keys, self._ticks, self._demand,
                *self._actuators.arrays, *optional)  # fmt: skip

    def close(self) -> None:
        """Nothing is held."""


@lru_cache(maxsize=16)
def _autoregression(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """What is kept of the arrival rate's and the speed's deviations, and what is added, (2, 1) each."""
    kept = np.exp(-seconds / np.array([[ARRIVAL_BURSTINESS_SECONDS], [SPEED_WANDER_SECONDS]]))
    return kept, np.sqrt(1.0 - kept * kept)
