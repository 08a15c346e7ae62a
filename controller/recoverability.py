"""What may be taken from a workload: only as much as can be made good in time, should it prove too much (D5).

Nobody looks into the policy, as in the black-box Simplex architecture (Mehmood et al. 2022, arXiv:2102.12981, after
Sha, IEEE Software 18(4), 2001): in each period it is reckoned how the safe side would come out of what is proposed. A
change that proves harmful is in force for a reaction time (settling and watching). If the workload then needs what it
needs at worst, work is left undone. The rollback gives the former grant back, the fallback raises it by its largest
step per period as far as there are cores, and what was left undone must be worked off by the deadline. Solved for the
new grant, that is a floor. Whoever is short of memory is killed, and what has to be drained is not given back at once:
there nothing is made good, and the floor is the need itself.

The model is learned from its own errors: by how much a need grows within a reaction time, as a quantile of the
logarithm that follows the errors as in adaptive conformal inference (Gibbs and Candes 2021, arXiv:2106.00170). Whatever
the load does, of T needs at most `(1 - quantile) T + (M + STEP) / STEP` are larger than was reckoned with, M being the
logarithm of the largest growth. Usage with a margin of its own is how Autopilot sets limits (Rzadca et al. 2020).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from controller.judge import slo_owners
from envs.scaling import KnobScaling
from envs.spec import SystemSpec
from telemetry.metrics import Snapshot

STEP = 0.1
"""Of the learned margin, in its logarithm: one that is too low by a half is mended after some five misses."""
PRIOR = math.log(1.8)
"""Margin before anything is learned."""
SMOOTHING = 0.1
"""Weight of a new period in the running means of work done and CPU used: of one period, their ratio is mostly noise."""
LEAST_WORK = 1e-9
STARVED = 0.9
"""Share of its CPU grant from which on what a workload needs may be why its SLO is broken."""


@dataclass(frozen=True)
class RecoverabilityConfig:
    """What may be taken from a workload."""

    enabled: bool = True
    """Whether it is asked at all."""
    seconds: float = 30.0
    """Within so long after the rollback, what was left undone must be worked off."""
    quantile: float = 0.95
    """Share of the periods in which a need grows by no more than what is reckoned with."""
    takeover_seconds: float = 0.0
    """How long the fallback hands out the CPU, after a workload was short of it and out of its SLO for a reaction time;
    0: never. Default: never. With 5 s, doubled as below, policies that mean harm are out of the SLOs for less than half
    as long, but the shipped ones lose 2 % of efficiency (docs/safety.md)."""
    longest_takeover_seconds: float = 60.0
    """That time is doubled with each takeover that follows within so long after another, up to this."""


class Recoverability:
    """Learns what workloads need, and says below which grants nothing could be made good in time.

    Looked after are the CPU grants of workloads with an SLO of their own, and all memory limits.

    Args:
        spec: workloads, knobs, cores.
        config: deadline and quantile.
        reaction_periods: from a change until it is taken back, if it does harm.
    """

    STATE = ("_needs", "_margin", "_work")

    def __init__(self, spec: SystemSpec, config: RecoverabilityConfig, reaction_periods: int) -> None:
        self.spec = spec
        self._scaling = KnobScaling(spec.knobs)
        owners, catalogue = slo_owners(spec), spec.catalogue
        self._names = [name for name in spec.workloads if name in owners or None in owners]
        cpu = [spec.workloads[name] for name in self._names]
        memory = [(o.memory_knob, o.memory_used) for o in spec.workloads.values() if o.memory_knob is not None]
        names = [o.cpu_knob for o in cpu] + [knob for knob, _ in memory]
        self._knobs = np.array([spec.knob_index(name) for name in names], dtype=int)  # (n_grants,)
        self._used_at = catalogue.indices([o.cpu_used for o in cpu] + [used for _, used in memory])
        self._done_at = catalogue.indices([o.done for o in cpu])  # (n_cpu,)
        self._wanted_at = catalogue.indices([o.wanted for o in cpu])
        live = np.array([spec.knobs[knob].cost == "live" for knob in self._knobs], dtype=bool)
        self._delays = live & (np.arange(len(names)) < len(cpu))  # whether what it is short of only comes later
        self._all_cpu = np.array([spec.knob_index(o.cpu_knob) for o in spec.workloads.values()], dtype=int)
        self._low, self._high = self._scaling.low[self._knobs], self._scaling.high[self._knobs]
        self._max_step = np.array([knob.max_step for knob in spec.knobs])  # (n_knobs,)
        self._margin = np.full(len(names), PRIOR)
        self._work = np.zeros((2, len(cpu)))  # running means of CPU used and of work done
        self._needs: deque[np.ndarray] = deque()
        self.configure(config, reaction_periods)

    def configure(self, config: RecoverabilityConfig, reaction_periods: int) -> None:
        """Another deadline and quantile from now on; what was learned stays."""
        self.config, self._reaction = config, reaction_periods
        self._needs = deque(self._needs, maxlen=reaction_periods + 1)

    @property
    def worst(self) -> np.ndarray:
        """What is needed a reaction time from now at worst, (n_grants,) cores and bytes; NaN where it is not known."""
        return self._needs[-1] * np.exp(self._margin) if self._needs else np.full(len(self._knobs), np.nan)

    def observe(self, snapshot: Snapshot) -> None:
        """Learn from a period; what cannot be read teaches nothing."""
        self._needs.append(self._need(snapshot.values))
        if len(self._needs) <= self._reaction:
            return
        growth = np.log(self._needs[-1]) - np.log(self._needs[0])
        missed = growth > self._margin
        learned = np.maximum(self._margin + STEP * (missed - (1.0 - self.config.quantile)), 0.0)
        self._margin = np.where(np.isfinite(growth), learned, self._margin)

    def held(
        self, setting: np.ndarray, current: np.ndarray, high: np.ndarray, exempt: np.ndarray
    ) -> tuple[np.ndarray, list[str]]:
        """A setting that takes no more than can be made good, and a line for each knob of which that is less.

        Args:
            setting: (n_knobs,) wanted.
            current: (n_knobs,) in force.
            high: (n_knobs,) largest values allowed.
            exempt: (n_knobs,) which knobs may be lowered to anything.
        """
        own = self._knobs
        overbooked = current[self._all_cpu].sum() > self.spec.cores  # grants that are not there are no grants
        lowered = (setting[own] < current[own]) & ~exempt[own] & ~(overbooked & np.isin(own, self._all_cpu))
        if not (self.config.enabled and lowered.any()):
            return setting, []
        floors = self._yielding(self.floors(setting, current, high), setting, current)
        short, lines, allowed = lowered & (setting[own] < floors), [], setting.copy()
        for row in np.flatnonzero(short):
            knob = self.spec.knobs[own[row]]
            allowed[own[row]] = floors[row]
            lines.append(
                f"{knob.name}: {current[own[row]]:.3g} -> {setting[own[row]]:.3g} held at {floors[row]:.3g}; a need of "
                f"{self.worst[row]:.3g} {knob.unit} could not be made good within {self.config.seconds:g} s"
            )
        return allowed, lines

    def floors(self, setting: np.ndarray, current: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Least grants from which all comes back in time, (n_grants,); at most what is in force.

        Args:
            setting: (n_knobs,) wanted.
            current: (n_knobs,) in force.
            high: (n_knobs,) largest values allowed.
        """
        own, worst = self._knobs, self.worst
        periods = max(1, int(self.config.seconds / self.spec.control_period_seconds))
        steps = np.arange(periods)[:, None] * self._max_step  # (periods, n_knobs)
        raised = self._scaling.unscale(self._scaling.scale(current) + steps)[:, own]  # (periods, n_grants)
        # What others get, or would give, may stay with them: only what nobody asks for is free.
        others = np.maximum(setting, current)[self._all_cpu].sum() - np.maximum(setting, current)[own]
        most = np.maximum(np.minimum(self.spec.cores - others, high[own]), current[own])
        given = np.clip(raised, current[own], most)
        made_good = np.where(self._delays, (given - worst).sum(axis=0), 0.0)  # core-periods
        floors = np.minimum(worst - made_good / self._reaction, current[own])
        floors = np.where(np.isfinite(floors), np.maximum(floors, self._low), current[own])
        # A move that is left too small for a trial is none.
        every = np.tile(current, (2, 1))
        every[1, own] = floors
        scaled = self._scaling.scale(every)[:, own]
        return np.where(scaled[0] - scaled[1] < self.spec.dead_band, current[own], floors)

    def _yielding(self, floors: np.ndarray, setting: np.ndarray, current: np.ndarray) -> np.ndarray:
        """The floors, (n_grants,), less what others need at worst and are to get: of two who are short, the policy says
        which has it."""
        own, cpu = self._knobs, np.isin(self._knobs, self._all_cpu)
        raised = cpu & (setting[own] > current[own])
        needed = np.clip(self.worst, current[own], np.maximum(setting, current)[own])
        held = np.where(cpu & ~raised, np.maximum(floors - setting[own], 0.0), 0.0)
        rest = np.minimum(setting, current)[np.setdiff1d(self._all_cpu, own)].sum()
        total = setting[own][cpu & ~raised].sum() + held.sum() + needed[raised].sum() + rest
        over = min(total - self.spec.cores, held.sum())
        return floors - held * over / held.sum() if over > 0.0 else floors

    def starved(self, broken: Collection[str], setting: np.ndarray) -> list[str]:
        """Workloads whose SLOs do not hold while they need most of the CPU that they get.

        Args:
            broken: workloads of which an SLO does not hold.
            setting: (n_knobs,) in force.
        """
        if not self._needs:
            return []
        short = self._needs[-1] > STARVED * setting[self._knobs]
        return [name for name, hit in zip(self._names, short, strict=False) if hit and name in broken]

    def _need(self, values: np.ndarray) -> np.ndarray:
        """What each grant is needed for now, (n_grants,) within its knob's bounds: CPU for all work that is wanted, at
        what a piece of it costs; memory as it is used."""
        used, done, wanted = values[self._used_at], values[self._done_at], values[self._wanted_at]
        new = np.stack([used[: len(done)], done])  # (2, n_cpu)
        known = (new >= 0.0).all(axis=0) & np.isfinite(new).all(axis=0)
        self._work = self._work + np.where(known, SMOOTHING * (new - self._work), 0.0)
        need = used.copy()
        need[: len(done)] = np.where(known, wanted * self._work[0] / np.maximum(self._work[1], LEAST_WORK), np.nan)
        return np.where(np.isfinite(need), np.clip(need, self._low, self._high), np.nan)
