"""Recent: what is remembered of a system between decisions. The environment and the controller keep the same one."""

from __future__ import annotations

import copy

import numpy as np

from envs.outlook import Margin
from envs.scaling import MetricScaling
from envs.spec import SystemSpec
from telemetry.metrics import Snapshot

LEVEL, SLOPE, DAMPING = 0.1, 0.01, 0.9
"""Of the forecast, per period: how fast its level and its slope follow, and how fast the slope fades. On generated days
of every family these err by 22 and 29 % of the mean 10 and 60 periods ahead, the last reading by 24 and 32 %, faster
levels by more; a slope brings nothing on average, so that a small one is kept for the steady rises alone."""


class Recent:
    """The last periods of N systems and what they let one expect: all that a Task observes besides the setting.

    Expected demand is Holt's damped linear trend (Holt 1957; Gardner and McKenzie 1985) of what each workload is
    wanted to do.

    Args:
        spec: which metrics, how long a window, how far ahead.
        n: number of systems; None for a single one, whose arrays have no leading dimension.
        hold_missing: show the last known reading where one is missing. An environment must always show numbers; the
            controller wants to know.
        outlook: follow the upper end of the forecasts even if observations do not show it.
    """

    def __init__(
        self, spec: SystemSpec, n: int | None = None, *, hold_missing: bool = False, outlook: bool = False
    ) -> None:
        self.spec, self._single, self._hold = spec, n is None, hold_missing
        systems, catalogue = 1 if n is None else n, spec.catalogue
        self._scaling = MetricScaling(catalogue.metrics, np.float32)
        self._ring = np.full((spec.window_periods, len(catalogue), systems), np.nan, dtype=np.float32)  # scaled
        self._values = np.full((len(catalogue), systems), np.nan)
        self._appended = 0
        self._day = np.full(systems, np.nan)
        wanted = [objective.wanted for objective in spec.workloads.values()]
        self._wanted = catalogue.indices(wanted)  # (n_workloads,)
        self._level, self._slope = (np.full((len(wanted), systems), fill) for fill in (np.nan, 0.0))
        leads = np.array([lead / spec.control_period_seconds for lead in spec.forecast_leads_seconds])
        outlook = outlook or not {"upper", "shortage"}.isdisjoint(spec.forecast_features)
        whole = np.maximum(np.rint(leads), 1).astype(int)
        self._margin = Margin(whole, len(wanted), systems) if outlook else None
        reach = DAMPING * (1.0 - DAMPING**leads) / (1.0 - DAMPING)  # damped slopes until then, summed
        self._reach = reach[:, None]  # (n_leads, 1)
        forecast = [catalogue.metrics[i] for i in self._wanted for _ in leads]
        self._forecast_scaling = MetricScaling(forecast, np.float32)

    @property
    def full(self) -> bool:
        """Whether as many periods have passed as a window holds."""
        return self._appended >= len(self._ring)

    @property
    def values(self) -> np.ndarray:
        """The last readings, (..., n_metrics) in natural units; NaN where missing and not held."""
        return self._given(self._values)

    @property
    def now(self) -> np.ndarray:
        """The last readings scaled to [-1, 1], (..., n_metrics) float32."""
        return self._given(self._ring[(self._appended - 1) % len(self._ring)])

    @property
    def trend(self) -> np.ndarray:
        """The last readings minus their mean over the window, scaled, (..., n_metrics) float32."""
        periods = len(self._ring)
        order = [(self._appended + i) % periods for i in range(periods)]  # oldest first, whatever the ring's turn
        total = self._ring[order[0]] + self._ring[order[1]]
        for i in order[2:]:
            total += self._ring[i]
        total *= np.float32(-1.0 / periods)
        total += self._ring[order[-1]]
        return self._given(total)

    @property
    def expected(self) -> np.ndarray:
        """Expected demand of each workload at each lead, (..., n_workloads * n_leads) in natural units."""
        return self._given(self._by_lead(self._expected()))

    @property
    def upper(self) -> np.ndarray:
        """What that demand stays below in nine cases of ten, likewise.

        Raises:
            ValueError: neither the spec's `forecast_features` nor `outlook` asked for it.
        """
        return self._given(self._by_lead(self._upper()))

    @property
    def forecast(self) -> np.ndarray:
        """`expected` scaled to [-1, 1], (..., n_workloads * n_leads) float32."""
        return self._given(self._forecast_scaling.scale(self._by_lead(self._expected()).T).T)

    @property
    def forecast_upper(self) -> np.ndarray:
        """`upper` scaled to [-1, 1], likewise."""
        return self._given(self._forecast_scaling.scale(self._by_lead(self._upper()).T).T)

    @property
    def time_of_day(self) -> np.ndarray:
        """Sine and cosine of the day's share that has passed, (..., 2) float32; both 0 where it is not known."""
        angle = (2.0 * np.pi * self._day).astype(np.float32)
        place = np.empty((2, len(angle)), dtype=np.float32)
        np.sin(angle, out=place[0])
        np.cos(angle, out=place[1])
        unknown = np.isnan(angle)
        if unknown.any():
            place[:, unknown] = 0.0
        return self._given(place)

    def append(self, snapshot: Snapshot) -> Recent:
        """Add a period; returns itself, so that it can be passed on in one line.

        Raises:
            ValueError: the values are not (n_metrics,), or (N, n_metrics) for a batch.
        """
        given = np.atleast_2d(snapshot.values).T  # (n_metrics, N)
        if given.shape != self._values.shape or (snapshot.values.ndim == 1) is not self._single:
            raise ValueError(f"readings have shape {snapshot.values.shape}, not {self.values.shape}")
        self._values = np.where(np.isnan(given), self._values, given) if self._hold else given.copy()
        self._ring[self._appended % len(self._ring)] = self._scaling.scale(self._values.T).T
        self._appended += 1
        self._day[:] = snapshot.day
        self._expect(self._values[self._wanted])
        return self

    def assign(self, rows: np.ndarray, other: Recent, places: np.ndarray) -> None:
        """Let the systems `rows` become the systems `places` of another, which holds a full window."""
        ages = range(len(self._ring))
        mine, theirs = ([(recent._appended + i) % len(self._ring) for i in ages] for recent in (self, other))
        for to, source in zip(mine, theirs, strict=True):
            self._ring[to][:, rows] = other._ring[source][:, places]
        for name in ("_values", "_level", "_slope"):
            getattr(self, name)[:, rows] = getattr(other, name)[:, places]
        self._day[rows] = other._day[places]
        if self._margin is not None and other._margin is not None:
            self._margin.assign(rows, other._margin, places)

    def copy(self) -> Recent:
        """An independent one that remembers the same."""
        twin = copy.copy(self)
        for name in ("_ring", "_values", "_day", "_level", "_slope"):
            setattr(twin, name, getattr(self, name).copy())
        twin._margin = None if self._margin is None else self._margin.copy()
        return twin

    def _expect(self, seen: np.ndarray) -> None:
        """Let level and slope of the forecast follow what was seen, (n_workloads, N), as far as it was."""
        ahead = self._level + DAMPING * self._slope
        level = ahead + LEVEL * (seen - ahead)
        slope = DAMPING * self._slope + SLOPE * (level - self._level - DAMPING * self._slope)
        known, first = np.isfinite(seen), np.isnan(self._level)
        if not known.all() or first.any():
            level = np.where(known, np.where(first, seen, level), self._level)
            slope = np.where(known & ~first, slope, self._slope)
        self._level, self._slope = level, slope
        if self._margin is not None:
            self._margin.learn(seen, self._expected())

    def _expected(self) -> np.ndarray:
        """(n_workloads, n_leads, N)."""
        return self._level[:, None] + self._reach * self._slope[:, None]

    def _upper(self) -> np.ndarray:
        if self._margin is None:
            raise ValueError("the upper end is followed only with outlook=True, or where observations show it")
        return self._expected() * (1.0 + self._margin.share)

    @staticmethod
    def _by_lead(demand: np.ndarray) -> np.ndarray:
        """(n_workloads, n_leads, N) -> (n_workloads * n_leads, N)."""
        return demand.reshape(-1, demand.shape[-1])

    def _given(self, columns: np.ndarray) -> np.ndarray:
        """(n, N) -> (N, n), or (n,) for a single system."""
        return columns[:, 0] if self._single else columns.T
