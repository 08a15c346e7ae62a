"""A replay: which requests and events are sent when, all fixed by the trace and the seed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from testbed import drift
from testbed.digits import Digits
from testbed.events import EVENT

SLICE_SECONDS = 0.5
"""The world stands still for that long, which lets many images be rendered at once."""
MAX_RATE = 10_000.0
MAX_STEPS = 1_000_000


class ReplayError(ValueError):
    """A replay that cannot be played; the message is the answer to the client."""


@dataclass(frozen=True)
class Replay:
    """A trace to replay.

    Attributes:
        step_seconds: length of each step.
        requests_per_second: mean rate in each step, (n_steps,).
        events_per_second: mean rate in each step, (n_steps,).
        seed: of arrivals, samples and noise.
        stream_time: seconds, the time of the drifting world at the start; the unix time if None.
    """

    step_seconds: float
    requests_per_second: tuple[float, ...]
    events_per_second: tuple[float, ...]
    seed: int = 0
    stream_time: float | None = None

    @property
    def seconds(self) -> float:
        """Length of the whole replay."""
        return self.step_seconds * len(self.requests_per_second)


@dataclass(frozen=True)
class Slice:
    """What is sent within one short interval.

    Attributes:
        start: seconds since the start of the replay.
        requests_per_second: mean rate.
        events_per_second: mean rate.
        request_times: (n_requests,) ascending, seconds since the start of the replay.
        images: (n_requests, 64) float32.
        labels: (n_requests,) the right answers.
        event_times: (n_events,) ascending, seconds since the start of the replay.
        events: (n_events,) of dtype `EVENT`; `sent_time` is left for the sender.
    """

    start: float
    requests_per_second: float
    events_per_second: float
    request_times: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    event_times: np.ndarray
    events: np.ndarray


def parse_replay(body: dict[str, Any]) -> Replay:
    """The replay that a client asks for.

    Raises:
        ReplayError: a key is unknown or missing, or a value is not allowed.
    """
    known = ("step_seconds", "requests_per_second", "events_per_second", "seed", "stream_time_seconds")
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise ReplayError(f"unknown key {unknown[0]!r}; the keys are: {', '.join(known)}")
    requests, events = _rates(body, "requests_per_second"), _rates(body, "events_per_second")
    if len(requests) != len(events):
        raise ReplayError(
            f"requests_per_second has {len(requests)} steps and events_per_second {len(events)}; they must be equal"
        )
    seed = body.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ReplayError(f"seed was given {seed!r:.60}; allowed is an integer from 0 to 2^63 - 1")
    stream_time = body.get("stream_time_seconds")
    if stream_time is not None:
        stream_time = _number("stream_time_seconds", stream_time, 0.0, 1e11)
    step_seconds = _number("step_seconds", body.get("step_seconds"), 0.01, 86_400.0)
    return Replay(step_seconds, requests, events, seed, stream_time)


def _rates(body: dict[str, Any], key: str) -> tuple[float, ...]:
    rates = body.get(key)
    if not isinstance(rates, list) or not 1 <= len(rates) <= MAX_STEPS:
        raise ReplayError(f"{key} must be a list of 1 to {MAX_STEPS} rates per second, one for each step")
    return tuple(_number(key, rate, 0.0, MAX_RATE) for rate in rates)


def _number(key: str, value: Any, low: float, high: float) -> float:
    # NaN fails both comparisons and is refused with the rest.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ReplayError(f"{key} was given {value!r:.60}; allowed is a number from {low:g} to {high:g}")
    return float(value)


def slices(replay: Replay, digits: Digits, stream_start: float) -> Iterator[Slice]:
    """The replay's slices in order; the same seed and stream start give the same slices.

    Args:
        replay: what to play.
        digits: the base samples.
        stream_start: seconds, the stream time at the start of the replay.
    """
    draw = drift.SampleDraw(digits.labels)
    per_step = max(1, math.ceil(replay.step_seconds / SLICE_SECONDS))
    length = replay.step_seconds / per_step
    rates = zip(replay.requests_per_second, replay.events_per_second, strict=True)
    for step, (request_rate, event_rate) in enumerate(rates):
        for part in range(per_step):
            rng = np.random.default_rng([replay.seed, step, part])
            start = step * replay.step_seconds + part * length
            world = drift.conditions(stream_start + start)
            request_times = _arrivals(rng, request_rate, start, length)
            samples = draw.draw(rng, world, len(request_times))
            clean = digits.clean(samples, world.angle_bucket)
            noise_rows = rng.integers(len(drift.NOISE), size=len(samples))
            event_times = _arrivals(rng, event_rate, start, length)
            yield Slice(
                start=start,
                requests_per_second=request_rate,
                events_per_second=event_rate,
                request_times=request_times,
                images=drift.finish(clean, world.contrast, world.noise, noise_rows),
                labels=world.labels[digits.labels[samples]],
                event_times=event_times,
                events=_events(rng, draw, world, digits, stream_start + event_times),
            )


def _arrivals(rng: np.random.Generator, rate: float, start: float, length: float) -> np.ndarray:
    # Given their number, the arrivals of a Poisson process are spread uniformly.
    return start + np.sort(rng.random(rng.poisson(rate * length))) * length


def _events(
    rng: np.random.Generator, draw: drift.SampleDraw, world: drift.Conditions, digits: Digits, times: np.ndarray
) -> np.ndarray:
    events = np.zeros(len(times), dtype=EVENT)
    samples = draw.draw(rng, world, len(times))
    events["sample"] = samples
    events["angle_bucket"] = world.angle_bucket
    events["label"] = world.labels[digits.labels[samples]]
    events["contrast"] = world.contrast
    events["noise"] = world.noise
    events["noise_row"] = rng.integers(len(drift.NOISE), size=len(times))
    events["stream_time"] = times
    return events
