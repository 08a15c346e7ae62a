"""PARTIES: several latency-critical workloads on one host, one unit of one resource moved at a time.

Source: Chen, Delimitrou, Martinez, "PARTIES: QoS-aware resource partitioning for multiple interactive services",
ASPLOS'19, and its code (`manager/PARTIES.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.knobs import Asked, Number
from agents.heuristics.readings import Readings
from agents.heuristics.resource_units import ResourceUnits
from agents.heuristics.window import Window
from envs.task import Task

LAG = "ingest_lag_seconds"
READ = ("serving_latency_p99_seconds", "training_backlog_samples", "training_demand_per_second", LAG)
LEAST_DEMAND = 1.0
"""Samples per second below which training has nothing to be late with."""
IDLE, UP, DOWN, SETTLING = 0, 1, 2, 3


@dataclass(frozen=True)
class PartiesParameters:
    """Parameters; each may be an array over the leading shape. Defaults are the code's where it has one."""

    up_slack: Number = 0.05
    """Slack below which a workload gets more; also what all must keep after one was taken from."""
    down_slack: Number = 0.2
    """Slack above which a workload is taken from."""
    unit: Number = 0.1
    """Step over a knob's scaled range, which is 2 long; at least the dead band. There: a core, 100 MHz, a cache way."""
    observe_periods: Number = 5.0
    """Periods in which a move is judged."""
    mean_periods: Number = 10.0
    """Periods over which the latency is averaged that a workload must have as well to be moved."""
    block_periods: Number = 100.0
    """Periods in which a workload is not taken from, after that went wrong."""
    training_seconds: Number = 10.0
    """What training's latency may be: no SLO says so, since none moves with training's resources alone."""


class PartiesPolicy:
    """PARTIES on every resource that the workloads have knobs for; the task's other knobs are held.

        slack = 1 - latency / target, now and of the mean of `mean_periods`; both count
        a move is under way:  it is judged when `observe_periods` are over:
            up:    more periods with a better latency than before it than not, else the workload's next resource is next
            down:  more periods in which all have slack >= 0.05 than not, else undone, next resource, and blocked
        else:  least slack < 0.05:           that workload gets a unit, free or from the one with the most slack
               else most slack > 0.2:        that workload gives one away (where it is not blocked)

    Its latencies are those of requests. Of training, whose samples wait as well, it is the time to work off the backlog
    (backlog / demand); of ingest, the lag, whose target is its SLO. A tick is a control period (there 100 ms). Where no
    unit can be moved the next resource is tried in the next tick rather than at once, and a workload that has none left
    to give is passed over for `observe_periods`. The first resource is CPU, not a random one. A missing latency is what
    it was last.
    """

    def __init__(
        self, task: Task, setting: np.ndarray, parameters: PartiesParameters | None = None, name: str = "parties"
    ) -> None:
        """Hold `setting`, (n_knobs,) or (N, n_knobs), for the knobs that the rule leaves alone."""
        self.name, self.task = name, task
        self.parameters = parameters or PartiesParameters()
        self._units = ResourceUnits(task, setting)
        self._asked = Asked(self._units.knobs)
        self._readings = Readings(task, READ)
        self._means = Window(self.parameters.mean_periods)
        self.reset()

    def reset(self) -> None:
        """Forget all moves; the first resource's turn is CPU."""
        self._asked.reset()
        self._means.clear()
        self._state: _State | None = None

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(n_observation,) or (N, n_observation) -> (..., n_action)."""
        batch = np.atleast_2d(observation)
        grants = self._asked.now(self._units.knobs.in_force(batch))  # (n, N)
        state = self._state = self._state or _State.first(len(self.task.spec.workloads), grants)
        seen = self._latencies(batch)
        state.latency = np.where(np.isnan(seen), state.latency, seen)
        self._means.add(state.latency)
        target = self._targets(len(batch))
        slack, mean_slack = 1.0 - state.latency / target, 1.0 - self._means.mean() / target
        state.blocked = np.maximum(state.blocked - 1.0, 0.0)
        idle = state.kind == IDLE
        judged = self._judge(state, slack, grants)
        action = self._asked.ask(self._start(state, idle, (slack, mean_slack), judged))
        return action if observation.ndim == 2 else action[0]

    def _latencies(self, batch: np.ndarray) -> np.ndarray:
        """(n_workloads, N) seconds."""
        p99, backlog, demand, lag = self._readings(batch)
        seconds = {"serving": p99, "training": backlog / np.maximum(demand, LEAST_DEMAND), "ingest": lag}
        return np.stack([seconds[workload] for workload in self.task.spec.workloads])

    def _targets(self, n: int) -> np.ndarray:
        """(n_workloads, N) seconds."""
        lag = [slo.at_most for slo in self.task.spec.slos if slo.metric == LAG and slo.at_most is not None]
        seconds = {
            "serving": self.task.spec.latency_slo_seconds,
            "training": self.parameters.training_seconds,
            "ingest": min(lag, default=np.inf),
        }
        return np.stack([np.broadcast_to(seconds[workload], n) for workload in self.task.spec.workloads])

    def _judge(self, state: _State, slack: np.ndarray, grants: np.ndarray) -> np.ndarray:
        """Count how the moves under way do, and end those whose time is over; grants (n, N) after what is undone."""
        systems, up = np.arange(len(state.kind)), state.kind == UP
        faster = state.latency[state.workload, systems] < state.latency_before
        good = np.where(up, faster, (slack >= self.parameters.up_slack).all(axis=0))
        state.votes = state.votes + np.where(good, 1, -1)
        state.left = state.left - 1.0
        done = (state.kind != IDLE) & (state.left <= 0.0)
        failed = done & (state.kind != SETTLING) & (state.votes <= 0)
        undone = failed & ~up
        self._turn(state, failed)
        self._block(state, undone, self.parameters.block_periods)
        state.kind = np.where(undone, SETTLING, np.where(done, IDLE, state.kind))
        state.left = np.where(undone, self.parameters.observe_periods, state.left)
        return np.where(undone, state.grants_before, grants)

    def _start(
        self, state: _State, idle: np.ndarray, slacks: tuple[np.ndarray, np.ndarray], grants: np.ndarray
    ) -> np.ndarray:
        """Move a unit where nothing is under way and somebody needs or can spare one; grants (n, N) after it.

        Args:
            state: is changed.
            idle: (N,) bool.
            slacks: (n_workloads, N) now, and of the mean.
            grants: (n, N).
        """
        p, (slack, mean_slack) = self.parameters, slacks
        needs = (slack < p.up_slack) & (mean_slack < p.up_slack)
        spares = (slack > p.down_slack) & (mean_slack > p.down_slack) & (state.blocked == 0.0)
        up, down = idle & needs.any(axis=0), idle & ~needs.any(axis=0) & spares.any(axis=0)
        neediest = np.where(needs, mean_slack, np.inf).argmin(axis=0)
        richest = np.where(spares, slack, -np.inf).argmax(axis=0)
        workload = np.where(up, neediest, np.where(down, richest, state.workload))
        resource = state.resource[workload, np.arange(len(workload))]
        unit = np.broadcast_to(p.unit, len(workload))
        raised = self._units.up(grants, workload, resource, unit, slack)
        after = np.where(up, raised, np.where(down, self._units.down(grants, workload, resource, unit), grants))
        moved = (after != grants).any(axis=0)
        state.workload = workload
        self._turn(state, (up | down) & ~moved)
        # Who has nothing left to give must not keep the others from being asked.
        self._block(state, down & ~moved, p.observe_periods)
        state.kind = np.where(moved, np.where(up, UP, DOWN), state.kind)
        state.left, state.votes = np.where(moved, p.observe_periods, state.left), np.where(moved, 0, state.votes)
        state.latency_before = np.where(moved, state.latency[workload, np.arange(len(workload))], state.latency_before)
        state.grants_before = np.where(moved, grants, state.grants_before)
        return after

    def _block(self, state: _State, systems: np.ndarray, periods: Number) -> None:
        """Do not take from the workload that was to be moved, in some systems, (N,) bool."""
        (chosen,) = np.nonzero(systems)
        state.blocked[state.workload[chosen], chosen] = np.broadcast_to(periods, len(systems))[chosen]

    def _turn(self, state: _State, systems: np.ndarray) -> None:
        """Let it be the next resource's turn, in some systems, (N,) bool, for the workload that was to be moved."""
        (chosen,) = np.nonzero(systems)
        workload = state.workload[chosen]
        state.resource[workload, chosen] = self._units.next_resource(workload, state.resource[workload, chosen])


@dataclass
class _State:
    """Of N systems: the move that is under way, and what is remembered of earlier ones."""

    kind: np.ndarray
    """(N,) IDLE, UP, DOWN or SETTLING."""
    workload: np.ndarray
    """(N,) which was moved last."""
    left: np.ndarray
    """(N,) periods until the move is judged."""
    votes: np.ndarray
    """(N,) good periods minus bad ones since."""
    latency_before: np.ndarray
    """(N,) of that workload when it was moved, seconds."""
    grants_before: np.ndarray
    """(n, N) when it was moved."""
    latency: np.ndarray
    """(n_workloads, N) last known, seconds."""
    resource: np.ndarray
    """(n_workloads, N) whose turn it is."""
    blocked: np.ndarray
    """(n_workloads, N) periods in which the workload is not taken from."""

    @classmethod
    def first(cls, n_workloads: int, grants: np.ndarray) -> _State:
        """Nothing is under way; grants (n, N)."""
        n = grants.shape[1]
        return cls(
            kind=np.full(n, IDLE),
            workload=np.zeros(n, dtype=int),
            left=np.zeros(n),
            votes=np.zeros(n, dtype=int),
            latency_before=np.full(n, np.nan),
            grants_before=grants,
            latency=np.full((n_workloads, n), np.nan),
            resource=np.zeros((n_workloads, n), dtype=int),
            blocked=np.zeros((n_workloads, n)),
        )
