"""Interleaved comparison on a live plant, A B C B C A ...: all get the same demand, so drift of the machine cancels."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from controller.live_plant import LivePlant
from envs.spec import SystemSpec
from telemetry.collectors.source import series_key
from telemetry.metrics import Snapshot
from telemetry.sampler import Sweep, counter_delta, histogram_delta, histogram_quantile, share_below
from telemetry.workload import Demand
from training.live_arms import Arm
from training.rollout import Rollout

LATENCY = "load_latency_seconds"
"""The clients' own histogram, from the intended send time: no coordinated omission."""

CLIENTS = {"component": "load"}
"""Label of the load generator's series."""


class LoadError(RuntimeError):
    """The load generator cannot be driven; one line."""


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
        segment: which piece of the demand; all arms got it.
        times: (T,) seconds on the plant's clock, at the end of each period.
        values: (T, n_metrics).
        settings: (T, n_knobs) in force during each period.
        previous: (T, n_knobs) in force before it.
        client: the clients' view.
        run: which of several independent comparisons.
    """

    arm: str
    segment: int
    times: np.ndarray
    values: np.ndarray
    settings: np.ndarray
    previous: np.ndarray
    client: ClientFigures
    run: int = 0


@dataclass(frozen=True)
class Interleaving:
    """How the arms take turns."""

    settle_periods: int
    """Periods at the start of a segment that are not counted: what the last arm left in the queues drains, and the
    windows of readings fill without which no policy acts."""
    warm_up_periods: int
    """Arms that move run so long before the first counted window, on the first segment."""
    seed: int = 0
    """Of the arrivals; each segment has its own below it."""
    stream_seconds: float = 0.0
    """Where in the drifting stream the first segment begins."""


@dataclass(frozen=True)
class Progress:
    """State after one period, for a progress line.

    Attributes:
        done: periods so far.
        total: periods of the comparison.
        arm: whose period it was.
        segment: which piece of the demand.
        snapshot: the period's readings.
        setting: (n_knobs,) in force during it.
    """

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


@dataclass(frozen=True)
class _Turn:
    arm: Arm
    segment: int
    periods: int
    counted: bool
    first: bool
    """Whether it is the first counted one of its segment: the others begin with the model that it began with."""


def run_interleaved(
    plant: LivePlant,
    urls: Mapping[str, str],
    arms: Sequence[Arm],
    segments: Sequence[Demand],
    config: Interleaving,
    *,
    on_period: Callable[[Progress], None] = lambda progress: None,
) -> list[Window]:
    """Give each segment to each arm in turn; another arm begins in each segment.

    Within a segment all arms meet the same arrivals at the same time of the drifting stream, and start from the same
    model: training is marked before the first and rewound before the others.

    Args:
        plant: read and set by the arms.
        urls: of the testbed's components, by name.
        arms: two or more.
        segments: at the plant's control period, each longer than the periods that are not counted.
        config: turns and seeds.
        on_period: called after every period.

    Raises:
        LoadError: the testbed does not answer.
    """
    turns = _turns(arms, [len(segment.requests_per_second) for segment in segments], config)
    begins = np.cumsum([0.0, *(segment.duration for segment in segments)]) + config.stream_seconds
    total, done = sum(turn.periods for turn in turns), 0
    windows: list[Window] = []
    for turn in turns:
        if turn.counted:
            _post(f"{urls['training']}/{'mark' if turn.first else 'rewind'}", {})
        # 1000 segments to a seed: no two runs share arrivals.
        replay(urls["load"], segments[turn.segment], 1000 * config.seed + turn.segment, begins[turn.segment])
        periods = _Periods(plant, turn.arm)
        for period in range(turn.periods):
            if period == config.settle_periods:
                periods.count_from_here()
            snapshot, setting = periods.step()
            done += 1
            on_period(Progress(done, total, turn.arm.name, turn.segment, snapshot, setting))
        if turn.counted:
            windows.append(periods.window(turn.segment))
    return windows


def _turns(arms: Sequence[Arm], lengths: Sequence[int], config: Interleaving) -> list[_Turn]:
    moving = [arm for arm in arms if arm.moves and config.warm_up_periods]
    turns = [_Turn(arm, 0, config.warm_up_periods, counted=False, first=False) for arm in moving]
    for segment, length in enumerate(lengths):
        begins = segment % len(arms)
        order = [*arms[begins:], *arms[:begins]]
        turns += [_Turn(arm, segment, length, counted=True, first=arm is order[0]) for arm in order]
    return turns


class _Periods:
    """The periods of one turn, and what is counted of them."""

    def __init__(self, plant: LivePlant, arm: Arm) -> None:
        self._plant, self._arm = plant, arm
        self._rows: list[tuple[float, np.ndarray, np.ndarray, np.ndarray]] = []
        self._before: Sweep | None = None
        arm.begin()
        self._previous = plant.setting

    def count_from_here(self) -> None:
        """Leave out what was before."""
        self._rows.clear()
        self._before = self._plant.last_sweep

    def step(self) -> tuple[Snapshot, np.ndarray]:
        """One period of the arm: its readings, and the setting in force during it.

        Arms set the knobs when the period has been read, so what is in force afterwards belongs to the next one.
        """
        setting = self._plant.setting
        snapshot = self._arm.step()
        self._rows.append((snapshot.time, snapshot.values, setting, self._previous))
        self._previous = setting
        return snapshot, setting

    def window(self, segment: int) -> Window:
        """What was counted.

        Raises:
            LoadError: no period was counted, or the plant was never read before.
        """
        after = self._plant.last_sweep
        if self._before is None or after is None or not self._rows:
            raise LoadError(f"no period of segment {segment} was counted; a segment must be longer than it settles")
        client = ClientFigures.between(self._before, after, self._plant.spec.latency_slo_seconds)
        times, values, settings, previous = (np.array(column) for column in zip(*self._rows, strict=True))
        return Window(self._arm.name, segment, times, values, settings, previous, client)


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
