from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.collectors.source import SourceError
from telemetry.sampler import Sampler, Sweep, counter_delta, histogram_delta, histogram_quantile, share_below


class Clock:
    """Seconds that only pass when told; also what `Sampler.run` waits on."""

    def __init__(self, waits: int = 0) -> None:
        self.now, self.waits = 100.0, waits

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float) -> bool:
        self.now += timeout
        self.waits -= 1
        return self.waits <= 0


class Scripted:
    """A source that does what it is told, one entry a sweep: values, an exception, or seconds to take."""

    def __init__(self, clock: Clock, *script: dict | Exception | float, name: str = "s") -> None:
        self.name, self._clock, self._script = name, clock, list(script)

    def collect(self) -> dict[str, float]:
        step = self._script.pop(0) if self._script else {"x": 1.0}
        if isinstance(step, Exception):
            raise step
        if isinstance(step, float):
            self._clock.now += step
            return {"x": step}
        return step


def test_one_failing_source_costs_only_its_own_values() -> None:
    clock = Clock()
    bad, good = Scripted(clock, SourceError("gone\nlong story"), name="bad"), Scripted(clock, {"y": 2.0}, name="good")
    sweep = Sampler([bad, good], 1.0, clock).sweep()
    assert sweep.values["y"] == 2.0
    assert sweep.errors == {"bad": "gone"}
    assert sweep.values['trimtab_sampler_source_up{source="bad"}'] == 0.0
    assert sweep.values['trimtab_sampler_source_errors_total{source="bad"}'] == 1.0


def test_a_failure_is_logged_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    sampler = Sampler([Scripted(clock, ValueError("odd"), ValueError("odd"), {"x": 1.0}, {"x": 1.0})], 1.0, clock)
    with caplog.at_level(logging.INFO, "telemetry.sampler"):
        for _ in range(4):
            sampler.sweep()
    assert caplog.messages == ["source s fails: odd", "source s is back"]


def test_the_cost_of_a_sweep_is_a_metric_of_the_next() -> None:
    clock = Clock()
    sampler = Sampler([Scripted(clock, 0.25)], 1.0, clock)
    assert sampler.sweep().values['trimtab_sampler_source_seconds{source="s"}'] == 0.25
    values = sampler.sweep().values
    assert values["trimtab_sampler_sweep_seconds"] == 0.25
    assert values["trimtab_sampler_sweeps_total"] == 1.0


def test_sweeps_do_not_drift_and_missed_periods_are_left_out() -> None:
    clock = Clock(waits=5)
    seen: list[float] = []
    sampler = Sampler([Scripted(clock, 0.3, 0.3, 2.5, 0.3, 0.3)], 1.0, clock)
    sampler.run(clock, lambda sweep: seen.append(sweep.time))
    assert seen == pytest.approx([100.0, 101.0, 102.0, 105.0, 106.0])
    assert sampler.sweep().values["trimtab_sampler_missed_periods_total"] == 2.0


def test_sources_need_names_of_their_own_and_time_must_pass() -> None:
    with pytest.raises(ValueError, match="different names"):
        Sampler([Scripted(Clock()), Scripted(Clock())], 1.0)
    with pytest.raises(ValueError, match="must be > 0"):
        Sampler([], 0.0)


class Array:
    """A source on the array road, whose series and values the test sets."""

    def __init__(self, name: str = "a", **values: float) -> None:
        self.name, self.values, self.missing = name, values, Counter[str]()
        self._series: tuple[str, ...] = ()

    def series(self) -> tuple[str, ...]:
        if self._series != tuple(self.values):
            self._series = tuple(self.values)
        return self._series

    def read(self, out: np.ndarray) -> bool:
        if tuple(self.values) != self._series:
            return False
        out[:] = list(self.values.values())
        return True


def test_a_row_holds_both_kinds_of_sources_in_the_order_of_its_names() -> None:
    sweep = Sampler([Array(x=1.0), Scripted(Clock(), {"y": 2.0})], 1.0, Clock()).sweep()
    assert sweep.names[:2] == ("x", "y")
    assert sweep.row[:2].tolist() == [1.0, 2.0]
    assert len(sweep.names) == len(sweep.row)
    assert dict(sweep.values) == {n: v for n, v in zip(sweep.names, sweep.row, strict=True) if not np.isnan(v)}


def test_names_are_the_same_object_and_rows_are_not_while_nothing_changes() -> None:
    sampler = Sampler([Array(x=1.0), Scripted(Clock(), {"y": 2.0}, {"y": 3.0})], 1.0, Clock())
    before, after = sampler.sweep(), sampler.sweep()
    assert before.names is after.names
    assert before.row[1] == 2.0
    assert after.row[1] == 3.0


def test_a_changed_set_of_series_is_in_the_same_sweep() -> None:
    source = Array(x=1.0)
    sampler = Sampler([source], 1.0, Clock())
    before = sampler.sweep()
    source.values = {"x": 1.0, "y": 5.0}
    after = sampler.sweep()
    assert before.names is not after.names
    assert after.values["y"] == 5.0
    assert "y" not in before.values


@pytest.mark.parametrize("source", [Array(x=1.0), Scripted(Clock(), {"x": 1.0}, {}, {"x": 3.0})])
def test_what_is_missing_is_nan_in_the_row_and_absent_by_name(source: Array | Scripted) -> None:
    sampler = Sampler([source], 1.0, Clock())
    names = sampler.sweep().names
    if isinstance(source, Array):
        source.values = {"x": np.nan}
    sweep = sampler.sweep()
    assert sweep.names is names
    assert np.isnan(sweep.row[0])
    assert "x" not in sweep.values


def test_a_failing_array_source_leaves_nan() -> None:
    source = Array(x=1.0)
    sampler = Sampler([source], 1.0, Clock())
    sampler.sweep()
    source.values = {"x": "odd"}  # type: ignore[dict-item]
    sweep = sampler.sweep()
    assert np.isnan(sweep.row[0])
    assert list(sweep.errors) == ["a"]


def test_a_source_whose_series_never_settle_fails() -> None:
    class Restless(Array):
        def read(self, out: np.ndarray) -> bool:
            return False

    assert Sampler([Restless(x=1.0)], 1.0, Clock()).sweep().errors == {
        "a": "its series changed during each of 5 readings"
    }


def test_a_name_that_two_sources_tell_is_there_once() -> None:
    sweep = Sampler([Array(x=1.0), Scripted(Clock(), {"x": 2.0})], 1.0, Clock()).sweep()
    assert sweep.names.count("x") == 1
    assert sweep.values["x"] == 2.0


def test_series_that_come_and_go_do_not_fill_the_row() -> None:
    clock = Clock()
    sampler = Sampler([Scripted(clock, *({f"x{i}": 1.0} for i in range(100)))], 1.0, clock)
    sizes = [len(sampler.sweep().names) for _ in range(100)]
    assert max(sizes) - min(sizes) <= 3


def test_why_values_are_missing_is_a_counter() -> None:
    source = Array(x=np.nan)
    source.missing["zombie"] = 2
    assert (
        Sampler([source], 1.0, Clock()).sweep().values['trimtab_sampler_missing_total{source="a",reason="zombie"}']
        == 2.0
    )


def test_a_step_of_the_wall_clock_is_counted() -> None:
    clock, wall = Clock(), Clock()
    sampler = Sampler([], 1.0, clock, wall_clock=wall)
    for monotonic, seconds in ((100.0, 5000.0), (101.0, 5001.0), (102.0, 4000.0), (103.0, 4001.0)):
        clock.now, wall.now = monotonic, seconds
        values = sampler.sweep().values
    assert values["trimtab_sampler_clock_steps_total"] == 1.0


def sweep(**values: float) -> Sweep:
    return Sweep(0.0, dict(values))


anything = st.one_of(st.none(), st.floats())


@given(anything, anything)
def test_a_counter_never_grows_by_less_than_nothing(old: float | None, new: float | None) -> None:
    before, after = (Sweep(0.0, {} if v is None else {"c_total": v}) for v in (old, new))
    reasons: Counter[str] = Counter()
    delta = counter_delta(before, after, "c_total", reasons)
    assert (delta >= 0) != np.isnan(delta)
    assert reasons.total() == np.isnan(delta)


@pytest.mark.parametrize(
    ("before", "after", "delta", "reason"),
    [
        (sweep(c=1.0), sweep(c=4.0), 3.0, None),
        (sweep(c=5.0), sweep(c=4.0), np.nan, "reset"),
        (sweep(), sweep(c=4.0), np.nan, "missing"),
        (sweep(c=np.nan), sweep(c=4.0), np.nan, "not finite"),
    ],
)
def test_why_a_delta_is_unknown_is_counted(before: Sweep, after: Sweep, delta: float, reason: str | None) -> None:
    reasons: Counter[str] = Counter()
    np.testing.assert_equal(counter_delta(before, after, "c", reasons), delta)
    assert list(reasons) == ([reason] if reason else [])


def buckets(*cumulative: float, route: str = "a") -> Sweep:
    names = ("0.1", "0.5", "+Inf")
    return Sweep(0.0, {f'h_bucket{{route="{route}",le="{le}"}}': c for le, c in zip(names, cumulative, strict=True)})


def test_a_histogram_delta_counts_what_was_observed_between() -> None:
    bounds, counts = histogram_delta(buckets(1, 2, 3), buckets(2, 6, 8), "h", {"route": "a"})
    assert bounds.tolist() == [0.1, 0.5, np.inf]
    assert counts.tolist() == [1, 3, 1]


def test_labels_pick_the_histogram() -> None:
    both = Sweep(0.0, buckets(1, 1, 1).values | buckets(9, 9, 9, route="b,c").values)
    assert histogram_delta(buckets(0, 0, 0, route="b,c"), both, "h", {"route": "b,c"})[1].tolist() == [9, 0, 0]
    assert len(histogram_delta(both, both, "h")[0]) == 0


def test_a_reset_or_a_missing_bucket_makes_all_counts_unknown() -> None:
    assert np.isnan(histogram_delta(buckets(5, 5, 9), buckets(1, 7, 9), "h", {"route": "a"})[1]).all()
    assert np.isnan(histogram_delta(Sweep(0.0, {}), buckets(1, 7, 9), "h", {"route": "a"})[1]).all()


BOUNDS = np.array([0.1, 0.5, 2.0, np.inf])


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ([10, 0, 0, 0], 0.5, 0.05),
        ([0, 10, 0, 0], 0.5, 0.3),
        ([5, 5, 0, 0], 0.5, 0.1),
        ([0, 0, 4, 4], 1.0, 2.0),
        ([0, 4, 0, 0], 0.0, 0.1),
        ([0, 0, 0, 0], 0.5, np.nan),
        ([np.nan] * 4, 0.5, np.nan),
    ],
)
def test_quantiles_are_linear_within_a_bucket(counts: list, q: float, expected: float) -> None:
    np.testing.assert_allclose(histogram_quantile(BOUNDS, np.array(counts, float), q), expected)


counts4 = st.lists(st.integers(0, 1000), min_size=4, max_size=4).map(lambda c: np.array(c, float))


@given(counts4, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_quantile_is_never_lower(counts: np.ndarray, p: float, q: float) -> None:
    low, high = (histogram_quantile(BOUNDS, counts, x) for x in sorted((p, q)))
    assert (np.isnan(low) and np.isnan(high)) or low <= high + 1e-12


@given(counts4, st.floats(0, 3), st.floats(0, 3))
def test_the_share_below_grows_with_the_bound_and_stays_within_one(counts: np.ndarray, a: float, b: float) -> None:
    low, high = (share_below(BOUNDS, counts, x) for x in sorted((a, b)))
    assert (np.isnan(low) and np.isnan(high)) or 0 <= low <= high + 1e-12 <= 1 + 1e-9


def test_the_share_below_a_bound_of_a_bucket_is_exact() -> None:
    counts = np.array([1.0, 2.0, 3.0, 4.0])
    assert share_below(BOUNDS, counts, 0.5) == pytest.approx(0.3)
    assert share_below(BOUNDS, counts, 100.0) == pytest.approx(0.6)
    assert share_below(BOUNDS, counts, np.inf) == 1.0
    assert np.isnan(share_below(np.array([]), np.array([]), 1.0))
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        histogram_quantile(BOUNDS, counts, 1.5)
