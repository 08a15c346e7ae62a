"""What watching costs: the sampler's own series."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from telemetry.collectors.source import series_key

CLOCK_STEP_SECONDS = 0.5
"""Wall clock against monotonic clock, from sweep to sweep: NTP slews by 0.0005 at most, so this is a step."""


class OwnCost:
    """The series `trimtab_sampler_*`, as of the sweep before.

    By source: `source_up`, `source_seconds`, `source_errors_total`, and `missing_total` by reason. In all:
    `sweep_seconds`, `sweeps_total`, `missed_periods_total`, `series`, `cpu_seconds_total` (of the sweeping thread,
    during sweeps), `clock_steps_total`; and `trimtab_process_cpu_seconds_total` of the whole process.

    Args:
        sources: their names.
        clock: seconds, monotonic.
        wall_clock: seconds since 1970.
    """

    name = "sampler"

    def __init__(self, sources: Sequence[str], clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._own = {
            "trimtab_sampler_sweeps_total": 0.0,
            "trimtab_sampler_missed_periods_total": 0.0,
            "trimtab_sampler_clock_steps_total": 0.0,
            "trimtab_sampler_cpu_seconds_total": 0.0,
            "trimtab_sampler_sweep_seconds": np.nan,
            "trimtab_sampler_series": np.nan,
            "trimtab_process_cpu_seconds_total": np.nan,
        }
        self._keys = {name: _SourceKeys(name) for name in sources}
        for keys in self._keys.values():
            self._own |= {keys.up: np.nan, keys.seconds: np.nan, keys.errors: 0.0}
        self.names: tuple[str, ...] = tuple(self._own)
        self._begin = self._cpu_begin = 0.0
        self._offset: float | None = None

    @property
    def values(self) -> np.ndarray:
        """Values in the order of `names`, (n,) float64."""
        return np.fromiter(self._own.values(), dtype=np.float64, count=len(self.names))

    def begin(self) -> float:
        """A sweep begins; its time."""
        self._cpu_begin, self._begin = time.thread_time(), self._clock()
        offset = self._wall_clock() - self._begin
        if self._offset is not None and abs(offset - self._offset) > CLOCK_STEP_SECONDS:
            self._own["trimtab_sampler_clock_steps_total"] += 1
        self._offset = offset
        self._own["trimtab_process_cpu_seconds_total"] = time.process_time()
        return self._begin

    def read(self, source: str, seconds: float, failed: bool, missing: Mapping[str, int]) -> None:
        """A source was read, or failed."""
        keys = self._keys[source]
        self._own[keys.up], self._own[keys.seconds] = float(not failed), seconds
        self._own[keys.errors] += failed
        for reason, count in missing.items():
            key = keys.missing.get(reason)
            if key is None:
                key = keys.missing[reason] = series_key("trimtab_sampler_missing_total", source=source, reason=reason)
                self.names = (*self.names, key)
            self._own[key] = float(count)

    def end(self, series: int) -> None:
        """The sweep is over, with so many series."""
        self._own["trimtab_sampler_sweeps_total"] += 1
        self._own["trimtab_sampler_series"] = float(series)
        self._own["trimtab_sampler_sweep_seconds"] = self._clock() - self._begin
        self._own["trimtab_sampler_cpu_seconds_total"] += time.thread_time() - self._cpu_begin

    def missed(self, periods: int) -> None:
        """So many periods passed without a sweep."""
        self._own["trimtab_sampler_missed_periods_total"] += periods


class _SourceKeys:
    def __init__(self, source: str) -> None:
        self.up = series_key("trimtab_sampler_source_up", source=source)
        self.seconds = series_key("trimtab_sampler_source_seconds", source=source)
        self.errors = series_key("trimtab_sampler_source_errors_total", source=source)
        self.missing: dict[str, str] = {}
