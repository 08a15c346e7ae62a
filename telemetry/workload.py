"""Demand: what the world asks of a learning system, as two rates over time. Its generator is `generate_demand`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from telemetry.demand_families import DAY, FAMILIES, FamilyRanges, ar1_for_step

LONGEST_INTERPOLATED_GAP = 3
"""Steps. A longer gap holds the last value: a line over an hour would invent a trend; a plateau shows what it is."""


@dataclass(frozen=True, eq=False)
class Demand:
    """Requests to serve and events to ingest, piecewise constant over steps of equal length.

    Attributes:
        name: what people call it.
        step_seconds: length of a step, > 0.
        requests_per_second: (T,) float64, mean rate within each step, finite, >= 0.
        events_per_second: (T,) float64, likewise.
        source: where it is from (a file, or the generator with its seed).
        interpolated_steps: how many steps of `requests_per_second` were missing and lie on a line between neighbours.
        held_steps: how many were missing for longer than `LONGEST_INTERPOLATED_GAP` steps and repeat the last value.
        day_seconds: length of a day on the demand's own clock, > 0; shorter than 24 h where it was compressed.
        start_seconds: time after a midnight at which the first step begins, on the same clock; >= 0.

    Raises:
        ValueError: on rates that are not finite, negative, of different length, or fewer than two, and on a step, day
            or start that is no length of time.
    """

    name: str
    step_seconds: float
    requests_per_second: np.ndarray
    events_per_second: np.ndarray
    source: str
    interpolated_steps: int = 0
    held_steps: int = 0
    day_seconds: float = DAY
    start_seconds: float = 0.0

    def __post_init__(self) -> None:
        for field in ("step_seconds", "day_seconds"):
            length = getattr(self, field)
            if not (np.isfinite(length) and length > 0):
                raise ValueError(f"demand {self.name}: {field} is {length}, must be finite and > 0")
        if not (np.isfinite(self.start_seconds) and self.start_seconds >= 0):
            raise ValueError(f"demand {self.name}: start_seconds is {self.start_seconds}, must be finite and >= 0")
        for field in ("requests_per_second", "events_per_second"):
            rates = np.array(getattr(self, field), dtype=np.float64)  # a copy: nobody else can change a frozen demand
            if rates.ndim != 1 or len(rates) < 2:
                raise ValueError(f"demand {self.name}: {field} has shape {rates.shape}, must be (T,) with T >= 2")
            bad = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
            if len(bad):
                raise ValueError(
                    f"demand {self.name}: {field}[{bad[0]}] is {rates[bad[0]]} ({len(bad)} such values); "
                    "rates must be finite and >= 0"
                )
            rates.flags.writeable = False
            object.__setattr__(self, field, rates)
        if len(self.requests_per_second) != len(self.events_per_second):
            raise ValueError(
                f"demand {self.name}: {len(self.requests_per_second)} request rates but "
                f"{len(self.events_per_second)} event rates; both need one per step"
            )

    def __len__(self) -> int:
        return len(self.requests_per_second)

    @property
    def duration(self) -> float:
        """Seconds from the start of the first step to the end of the last."""
        return len(self) * self.step_seconds

    @property
    def times(self) -> np.ndarray:
        """Start of each step, (T,) seconds from 0."""
        return np.arange(len(self)) * self.step_seconds

    @property
    def day_fractions(self) -> np.ndarray:
        """Time of day at which each step begins, (T,) in [0, 1): 0 is midnight, 0.5 noon."""
        return (self.start_seconds + self.times) / self.day_seconds % 1.0

    def normalized(self) -> Demand:
        """Requests with peak 1, events with mean 1; a rate that is zero throughout stays zero."""
        return self.scaled(1.0, 1.0)

    def scaled(self, peak_requests_per_second: float, mean_events_per_second: float) -> Demand:
        """The same shape with the given request peak and event mean; a rate that is zero throughout stays zero."""
        peak = self.requests_per_second.max() or 1.0
        mean = self.events_per_second.mean() or 1.0
        return replace(
            self,
            requests_per_second=self.requests_per_second / peak * peak_requests_per_second,
            events_per_second=self.events_per_second / mean * mean_events_per_second,
        )

    def compressed(self, factor: float) -> Demand:
        """Time runs `factor` times faster: a day passes in 24 h / factor.

        Rates stay as they are (the system meets the same load levels), so totals shrink by `factor`.

        Args:
            factor: > 0; below 1 time runs slower.

        Raises:
            ValueError: on a factor that is not finite or not above zero.
        """
        if not (np.isfinite(factor) and factor > 0):
            raise ValueError(f"demand {self.name}: compression is {factor}, must be finite and > 0")
        return replace(
            self,
            step_seconds=self.step_seconds / factor,
            day_seconds=self.day_seconds / factor,
            start_seconds=self.start_seconds / factor,
        )

    def resampled(self, step_seconds: float) -> Demand:
        """The same demand in steps of another length: means where coarser, straight lines where finer.

        Totals are kept over the time covered; a last part shorter than a step is dropped.

        Raises:
            ValueError: if fewer than two new steps fit.
        """
        if step_seconds == self.step_seconds:
            return self
        # The tolerance keeps 86400 / 0.1 from losing its last step to rounding.
        steps = int(self.duration / step_seconds + 1e-9) if step_seconds > 0 else 0
        if steps < 2:
            raise ValueError(
                f"demand {self.name}: {steps} steps of {step_seconds} s fit into {self.duration} s; at least 2 must"
            )
        return replace(
            self,
            step_seconds=step_seconds,
            requests_per_second=_resample(self.requests_per_second, self.step_seconds, step_seconds, steps),
            events_per_second=_resample(self.events_per_second, self.step_seconds, step_seconds, steps),
        )

    def slice(self, t0: float, t1: float) -> Demand:
        """The steps that start in [t0, t1), seconds from the start; each keeps its time of day.

        Raises:
            ValueError: if fewer than two steps start there.
        """
        inside = (self.times >= t0) & (self.times < t1)
        if np.count_nonzero(inside) < 2:
            raise ValueError(
                f"demand {self.name}: [{t0}, {t1}) holds {np.count_nonzero(inside)} steps of {self.step_seconds} s "
                f"of a demand that lasts {self.duration} s; at least 2 are needed"
            )
        return replace(
            self,
            requests_per_second=self.requests_per_second[inside],
            events_per_second=self.events_per_second[inside],
            start_seconds=self.start_seconds + float(self.times[inside][0]),
        )


def _resample(rates: np.ndarray, old_step: float, new_step: float, steps: int) -> np.ndarray:
    """(T,) rates per `old_step` -> (steps,) rates per `new_step` with the same integral."""
    edges = np.arange(steps + 1) * new_step  # (steps + 1,)
    integral = np.concatenate([[0.0], np.cumsum(rates)]) * old_step  # (T + 1,)
    covered = np.interp(edges, np.arange(len(rates) + 1) * old_step, integral)  # (steps + 1,)
    if new_step > old_step:
        return np.maximum(np.diff(covered) / new_step, 0.0)  # rounding may give -1e-17
    centres = (np.arange(len(rates)) + 0.5) * old_step
    line = np.interp(edges[:-1] + new_step / 2, centres, rates)  # (steps,)
    total = line.sum() * new_step
    return line * (covered[-1] / total) if total > 0 else np.diff(covered) / new_step


def fill_gaps(values: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Fill NaN: up to `LONGEST_INTERPOLATED_GAP` steps by a line, longer gaps by the last value.

    A gap at the start takes the first value known, one at the end the last, both as held.

    Returns:
        (T,) values without NaN, number of interpolated steps, number of held steps.

    Raises:
        ValueError: if every value is NaN.
    """
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise ValueError(f"all {len(values)} values are NaN")
    filled = np.interp(np.arange(len(values)), known, values[known])
    held = 0
    for before, after in itertools.pairwise(known):
        if after - before - 1 > LONGEST_INTERPOLATED_GAP:
            filled[before + 1 : after] = values[before]
            held += int(after - before - 1)
    held += int(known[0]) + int(len(values) - 1 - known[-1])
    return filled, len(values) - len(known) - held, held


def generate_demand(
    seed: int,
    *,
    duration_seconds: float = DAY,
    step_seconds: float = 60.0,
    family: str = "mixed",
    start: float = 0.0,
) -> Demand:
    """A synthetic demand that looks like the public traces of a family; the same seed gives the same demand.

    Request rate = exp(daily season + AR(1) residual + level shifts) x bursts, with rare windows of zero. Event rate = a
    share of the requests, some time later, with a residual of its own. The mean request rate is 100 per second: use
    `Demand.scaled` for another load.

    Args:
        seed: of `np.random.default_rng`.
        duration_seconds: length; at least two steps.
        step_seconds: length of a step.
        family: a key of `FAMILIES`, or "mixed" for one drawn by the seed.
        start: seconds after midnight at which the demand begins, >= 0.

    Raises:
        ValueError: on an unknown family, a start before midnight, or when fewer than two steps fit.
    """
    if family != "mixed" and family not in FAMILIES:
        raise ValueError(f"unknown demand family {family!r}; known are: mixed, {', '.join(FAMILIES)}")
    steps = int(duration_seconds / step_seconds + 1e-9) if step_seconds > 0 else 0
    if steps < 2:
        raise ValueError(f"{steps} steps of {step_seconds} s fit into {duration_seconds} s; at least 2 must")
    rng = np.random.default_rng(seed)
    drawn = family if family != "mixed" else str(rng.choice(list(FAMILIES)))
    ranges = FAMILIES[drawn]
    log_rate = _season(rng, ranges, start + np.arange(steps) * step_seconds)
    log_rate += _residual(rng, ranges, steps, step_seconds)
    log_rate += _level_shifts(rng, ranges, steps, step_seconds)
    requests = np.exp(log_rate) * _bursts(rng, ranges, steps, step_seconds)
    requests *= _outages(rng, ranges, steps, step_seconds)
    requests *= 100.0 / (requests.mean() or 1.0)
    return Demand(
        name=f"{drawn}-{seed}",
        step_seconds=step_seconds,
        requests_per_second=requests,
        events_per_second=events_after_requests(requests, step_seconds, rng),
        source=f"generated: family={family} seed={seed}",
        start_seconds=start,
    )


def events_after_requests(requests: np.ndarray, step_seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Events that follow requests, (T,) per second: a share of them, up to 10 min late, with noise of their own."""
    share = rng.uniform(0.3, 2.0)
    lag = int(rng.uniform(0.0, 600.0) / step_seconds)
    noise = _ar1(rng, len(requests), *ar1_for_step(0.8, rng.uniform(0.05, 0.25), step_seconds))
    late = np.concatenate([np.full(lag, requests[0]), requests])[: len(requests)]
    return share * late * np.exp(noise)


def _season(rng: np.random.Generator, ranges: FamilyRanges, times: np.ndarray) -> np.ndarray:
    """Two daily harmonics, (T,) in log rate, whose largest and smallest value differ by the drawn ratio."""
    swing = np.log(_draw_log(rng, ranges.season_ratio))
    share, phase, second_phase = rng.uniform(0.1, 0.45), rng.uniform(0.0, DAY), rng.uniform(0.0, DAY)

    def curve(t: np.ndarray) -> np.ndarray:
        second = share * np.cos(4 * np.pi * (t - second_phase) / DAY)
        return np.asarray(np.cos(2 * np.pi * (t - phase) / DAY) + second)

    whole_day = curve(np.linspace(0.0, DAY, 289))  # so that an hour's demand has an hour's part of the swing
    return curve(times) * (swing / np.ptp(whole_day))


def _ar1(rng: np.random.Generator, steps: int, coefficient: float, sd: float) -> np.ndarray:
    """Stationary AR(1), (steps,) with standard deviation `sd`."""
    shocks = rng.normal(0.0, sd * np.sqrt(1 - coefficient**2), steps)
    shocks[0] = rng.normal(0.0, sd)
    values = np.empty(steps)
    level = 0.0
    for i, shock in enumerate(shocks):
        level = coefficient * level + shock
        values[i] = level
    return values


def _residual(rng: np.random.Generator, ranges: FamilyRanges, steps: int, step_seconds: float) -> np.ndarray:
    sd, coefficient = _draw_log(rng, ranges.residual_sd), rng.uniform(*ranges.residual_ar1)
    return _ar1(rng, steps, *ar1_for_step(coefficient, sd, step_seconds))


def _level_shifts(rng: np.random.Generator, ranges: FamilyRanges, steps: int, step_seconds: float) -> np.ndarray:
    """A new normal now and then, (T,) in log rate, e.g. a customer arriving or leaving."""
    happens = rng.random(steps) < ranges.shifts_per_day * step_seconds / DAY
    return np.cumsum(np.where(happens, rng.normal(0.0, 0.25, steps), 0.0))


def _bursts(rng: np.random.Generator, ranges: FamilyRanges, steps: int, step_seconds: float) -> np.ndarray:
    """Factors (T,) >= 1: Poisson arrivals, heavy-tailed height and duration, a steep rise and an exponential decay."""
    factor = np.ones(steps)
    for _ in range(rng.poisson(ranges.bursts_per_day * steps * step_seconds / DAY)):
        begin = int(rng.integers(steps))
        height = min(0.3 * (1 + rng.pareto(2.5)), 8.0)
        decay = min(300.0 * (1 + rng.pareto(1.5)), 7200.0)  # seconds
        factor[begin:] += height * np.exp(-np.arange(steps - begin) * step_seconds / decay)
    return factor


def _outages(rng: np.random.Generator, ranges: FamilyRanges, steps: int, step_seconds: float) -> np.ndarray:
    """Factors (T,) of 1, and 0 in rare windows of 10 to 40 minutes: the gaps and outages of the public traces."""
    factor = np.ones(steps)
    for _ in range(rng.poisson(ranges.outages_per_day * steps * step_seconds / DAY)):
        begin = int(rng.integers(steps))
        factor[begin : begin + max(1, int(rng.uniform(600.0, 2400.0) / step_seconds))] = 0.0
    return factor


def _draw_log(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """Log-uniform within `bounds`."""
    return float(np.exp(rng.uniform(*np.log(bounds))))
