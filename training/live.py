"""Interleaved comparison on a live plant, A B C B C A ...: all get the same demand, so drift of the machine cancels."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from controller.live_plant import LivePlant
from controller.loop import Controller
from envs.spec import SystemSpec
from telemetry.collectors.source import series_key
from telemetry.metrics import Snapshot
from telemetry.sampler import Sweep, counter_delta, histogram_delta, histogram_quantile, share_below
from telemetry.workload import Demand
from training.rollout import Rollout

LATENCY = "load_latency_seconds"
"""The clients' own histogram, from the intended send time: no coordinated omission."""

CLIENTS = {"component": "load"}
"""Label of the load generator's series."""


class LoadError(RuntimeError):
    """The load generator cannot be driven; one line."""


class Arm(Protocol):
    """One of those that are compared."""

    name: str

    def begin(self) -> None:
        """Take over at the start of a window, with the setting that this arm had at the end of its last one."""
        ...

    def step(self) -> Snapshot:
        """One control period."""
        ...


class StaticArm:
    """Holds one setting."""

    def __init__(self, plant: LivePlant, setting: np.ndarray, name: str) -> None:
        self.plant, self.name, self._setting = plant, name, setting

    def begin(self) -> None:
        """Apply the setting."""
        self.plant.apply(self._setting)

    def step(self) -> Snapshot:
        """Apply again, since a component may have restarted, and let a period pass."""
        self.plant.apply(self._setting)
        return self.plant.advance(self.plant.spec.control_period_seconds)


class ControllerArm:
    """Lets a controller act; each window has a fresh one that starts from the setting in force.

    Args:
        plant: what the controllers act on.
        make: makes a controller.
    """

    name = "trimtab"

    def __init__(self, plant: LivePlant, make: Callable[[], Controller]) -> None:
        self.plant, self._make = plant, make
        self.controller: Controller | None = None
        self._setting: np.ndarray | None = None

    def begin(self) -> None:
        """Go back to where the last controller was and start without a bump from there."""
        if self._setting is not None:
            self.plant.apply(self._setting)
        self.controller = self._make()

    def step(self) -> Snapshot:
        """One step of the controller's loop."""
        if self.controller is None:
            self.begin()
            return self.step()
        decision = self.controller.step()
        self._setting = self.plant.setting
        return decision.snapshot


@dataclass(frozen=True)
class ClientFigures:
    """What the clients of serving saw in one window.

    Attributes:
        sent: requests.
        answered: requests that got an answer with a label.
        within_slo: share of finished requests answered within the deadline, counted from the intended send time.
        p50: seconds.
        p99: seconds; the largest bound of the histogram where it lies beyond.
        accuracy: share of answers with the right label.
        right: share of requests sent that got the right label. A system that answers only the first requests of a
            window, while the model is fresh, has a high accuracy and few right answers.
    """

    sent: float
    answered: float
    within_slo: float
    p50: float
    p99: float
    accuracy: float
    right: float

    @classmethod
    def between(cls, before: Sweep, after: Sweep, deadline: float) -> ClientFigures:
        """From the load generator's counters at both ends of a window; NaN where a counter was reset."""

        def grown(counter: str) -> float:
            return counter_delta(before, after, series_key(counter, **CLIENTS))

        bounds, counts = histogram_delta(before, after, LATENCY, CLIENTS)
        answered = grown("load_answered_total")
        sent, correct = grown("load_requests_sent_total"), grown("load_correct_total")
        return cls(
            sent=sent,
            answered=answered,
            within_slo=share_below(bounds, counts, deadline),
            p50=histogram_quantile(bounds, counts, 0.5),
            p99=histogram_quantile(bounds, counts, 0.99),
            accuracy=correct / max(answered, 1.0),
            right=min(1.0, correct / max(sent, 1.0)),
        )


@dataclass(frozen=True)
class Window:
    """One counted window of one arm.

    Attributes:
        arm: name of the arm.
        segment: which piece of the demand; both arms got it.
        times: (T,) seconds since the comparison began.
        values: (T, n_metrics).
        settings: (T, n_knobs) in force during each period.
        previous: (T, n_knobs) in force before it.
        client: the clients' view.
    """

    arm: str
    segment: int
    times: np.ndarray
    values: np.ndarray
    settings: np.ndarray
    previous: np.ndarray
    client: ClientFigures


@dataclass(frozen=True)
class Progress:
    """State after one period, for a progress line."""

    done: int
    total: int
    arm: str
    segment: int
    snapshot: Snapshot
    setting: np.ndarray


def replay(load_url: str, demand: Demand, seed: int, stream_seconds: float = 0.0) -> None:
    """Start replaying a demand on the load generator, in place of what it replays now.

    Args:
        load_url: of the load generator.
        demand: requests and events.
        seed: of the arrivals.
        stream_seconds: where in the drifting stream it begins.

    Raises:
        LoadError: not reachable, or refused.
    """
    body = {
        "step_seconds": demand.step_seconds,
        "requests_per_second": np.round(demand.requests_per_second, 3).tolist(),
        "events_per_second": np.round(demand.events_per_second, 3).tolist(),
        "seed": seed,
        "stream_time_seconds": stream_seconds,
    }
    _post(f"{load_url}/replay", body)


def _post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30.0):
            pass
    except (urllib.error.URLError, OSError) as error:
        raise LoadError(f"the testbed did not answer POST {url}: {error}") from None


def run_interleaved(
    plant: LivePlant,
    urls: Mapping[str, str],
    arms: Sequence[Arm],
    segments: Sequence[Demand],
    *,
    settle_periods: int,
    warm_up_periods: int = 0,
    on_period: Callable[[Progress], None] = lambda progress: None,
) -> list[Window]:
    """Give each segment to each arm in turn; another arm begins in each segment.

    Within a segment all arms meet the same arrivals at the same time of the drifting stream, and start from the same
    model: training is marked before the first and rewound before the others.

    Args:
        plant: read and set by the arms.
        urls: of the testbed's components, by name.
        arms: two or more.
        segments: at the plant's control period; the first `settle_periods` of each are not counted: what the last
            arm left in the queues drains in them.
        settle_periods: see above.
        warm_up_periods: each arm runs so long before the first counted window, on the first segment.
        on_period: called after every period.
    """
    step = plant.spec.control_period_seconds
    lengths = [len(segment.requests_per_second) for segment in segments]
    total, done, start = len(arms) * (sum(lengths) + warm_up_periods), 0, None
    windows: list[Window] = []
    schedule = [(arm, 0, warm_up_periods, False) for arm in arms if warm_up_periods]
    for index, length in enumerate(lengths):
        first = index % len(arms)
        schedule += [(arm, index, length, True) for arm in (*arms[first:], *arms[:first])]
    for turn, (arm, index, periods, counted) in enumerate(schedule):
        if counted:
            first_of_segment = turn == 0 or schedule[turn - 1][1:] != (index, periods, True)
            _post(f"{urls['training']}/{'mark' if first_of_segment else 'rewind'}", {})
        replay(urls["load"], segments[index], index, stream_seconds=step * sum(lengths[:index]))
        arm.begin()
        rows: list[tuple[float, np.ndarray, np.ndarray, np.ndarray]] = []
        before: Sweep | None = None
        for period in range(periods):
            previous = plant.setting
            snapshot = arm.step()
            start = snapshot.time - step if start is None else start
            if period >= settle_periods:
                rows.append((snapshot.time - start, snapshot.values, plant.setting, previous))
            else:
                before = plant.last_sweep
            done += 1
            on_period(Progress(done, total, arm.name, index, snapshot, plant.setting))
        if counted and before is not None and plant.last_sweep is not None:
            client = ClientFigures.between(before, plant.last_sweep, plant.spec.latency_slo_seconds)
            times, values, settings, previous_settings = (np.array(column) for column in zip(*rows, strict=True))
            windows.append(Window(arm.name, index, times, values, settings, previous_settings, client))
    return windows


def as_rollout(windows: Sequence[Window]) -> Rollout:
    """Windows of one arm and of equal length, as the episodes of a rollout, to be scored like simulated ones."""
    stacked = (np.stack([getattr(w, part) for w in windows], axis=1) for part in ("values", "settings", "previous"))
    return Rollout(*stacked)


def cut(demand: Demand, spec: SystemSpec, count: int, periods: int, settle_periods: int) -> list[Demand]:
    """Cut a demand into `count` equal segments of `periods` control periods, compressed in time to fit.

    Each segment is preceded by `settle_periods` periods at its first rates.
    """
    factor = demand.duration / (count * periods * spec.control_period_seconds)
    fitted = demand.compressed(factor).resampled(spec.control_period_seconds)
    segments = []
    for index in range(count):
        chosen = np.arange(index * periods, (index + 1) * periods)
        chosen = np.concatenate([np.full(settle_periods, chosen[0]), chosen])
        chosen = np.minimum(chosen, len(fitted.requests_per_second) - 1)
        rates = (fitted.requests_per_second[chosen], fitted.events_per_second[chosen])
        begin = fitted.start_seconds + index * periods * spec.control_period_seconds
        segments.append(
            replace(
                fitted,
                name=f"{demand.name}/{index}",
                requests_per_second=rates[0],
                events_per_second=rates[1],
                start_seconds=begin % fitted.day_seconds,
            )
        )
    return segments
