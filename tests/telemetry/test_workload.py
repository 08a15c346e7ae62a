from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.demand_families import DAY, FAMILIES, demand_statistics
from telemetry.workload import Demand, fill_gaps, generate_demand

FACTS = Path(__file__).parents[2] / "../shared/traces/facts_generator_dev.csv"

rates = st.lists(st.floats(0, 1e6), min_size=2, max_size=60).map(np.array)


def demand(requests: np.ndarray, events: np.ndarray | None = None, step: float = 10.0) -> Demand:
    return Demand("d", step, requests, requests if events is None else events, "test")


@pytest.mark.parametrize(
    ("requests", "events", "step", "message"),
    [
        ([1.0, np.nan], [1.0, 1.0], 1.0, r"requests_per_second\[1\] is nan"),
        ([1.0, 1.0], [1.0, -2.0], 1.0, r"events_per_second\[1\] is -2.0"),
        ([1.0, 1.0], [1.0, 1.0, 1.0], 1.0, "2 request rates but 3 event rates"),
        ([1.0], [1.0], 1.0, "T >= 2"),
        ([1.0, 1.0], [1.0, 1.0], 0.0, "step_seconds is 0.0"),
    ],
)
def test_demand_refuses_what_is_no_rate(requests: list, events: list, step: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Demand("d", step, np.array(requests), np.array(events), "test")


def test_a_demand_cannot_be_changed_through_the_array_it_was_made_of() -> None:
    source = np.array([1.0, 2.0])
    made = demand(source)
    source[0] = np.nan
    assert made.requests_per_second[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        made.requests_per_second[0] = 5.0


def test_normalized_demand_has_request_peak_one_and_event_mean_one() -> None:
    shape = demand(np.array([1.0, 4.0]), np.array([2.0, 6.0])).normalized()
    assert shape.requests_per_second.tolist() == [0.25, 1.0]
    assert shape.events_per_second.tolist() == [0.5, 1.5]


def test_a_demand_of_zero_stays_zero_when_scaled() -> None:
    assert demand(np.zeros(3)).scaled(100.0, 5.0).requests_per_second.tolist() == [0.0, 0.0, 0.0]


def test_compressed_keeps_rates_and_shortens_time() -> None:
    fast = demand(np.array([1.0, 2.0, 3.0])).compressed(6.0)
    assert fast.duration == pytest.approx(5.0)
    assert fast.requests_per_second.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("factor", [0.0, -2.0, np.inf, np.nan])
def test_time_cannot_stand_still_or_run_backwards(factor: float) -> None:
    with pytest.raises(ValueError, match="compression is"):
        demand(np.ones(3)).compressed(factor)


@pytest.mark.parametrize("field", [{"day_seconds": 0.0}, {"day_seconds": np.nan}, {"start_seconds": -1.0}])
def test_a_day_without_length_or_a_start_before_midnight_is_refused(field: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(field))} is"):
        replace(demand(np.ones(3)), **field)


@given(st.floats(0, 2 * DAY), st.floats(0.01, 1e4), st.integers(0, 20))
def test_the_time_of_day_survives_slicing_and_compression(start: float, factor: float, first: int) -> None:
    whole = replace(demand(np.arange(24.0), step=3600.0), start_seconds=start)
    fast = whole.compressed(factor)
    part = fast.slice((first - 0.5) * fast.step_seconds, np.inf)
    # On a circle: 0.9999 and 0.0001 are neighbours.
    difference = part.day_fractions - whole.day_fractions[first:]
    np.testing.assert_allclose((difference + 0.5) % 1.0, 0.5, atol=1e-9)


def test_a_generated_demand_knows_its_time_of_day() -> None:
    noon = generate_demand(3, duration_seconds=7200, start=12 * 3600.0)
    assert noon.day_fractions[0] == 0.5
    assert noon.resampled(600.0).scaled(10.0, 10.0).day_fractions[0] == 0.5


@given(rates, st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 1.7]))
def test_resampling_keeps_the_total_of_the_time_covered(requests: np.ndarray, ratio: float) -> None:
    original = demand(requests)
    if int(original.duration / (10.0 * ratio) + 1e-9) < 2:
        return
    other = original.resampled(10.0 * ratio)
    edges = np.arange(len(requests) + 1) * 10.0
    integral = np.concatenate([[0.0], np.cumsum(requests) * 10.0])
    covered = np.interp(other.duration, edges, integral)
    assert other.requests_per_second.sum() * other.step_seconds == pytest.approx(covered, rel=1e-9, abs=1e-6)


@given(rates, st.integers(1, 58))
def test_two_slices_hold_what_the_whole_holds(requests: np.ndarray, cut: int) -> None:
    whole = demand(requests)
    if not 2 <= cut <= len(whole) - 2:
        return
    parts = whole.slice(0.0, cut * 10.0), whole.slice(cut * 10.0, whole.duration)
    assert np.concatenate([p.requests_per_second for p in parts]).tolist() == requests.tolist()


def test_a_slice_without_two_steps_says_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"holds 1 steps of 10\.0 s of a demand that lasts 30.0 s"):
        demand(np.ones(3)).slice(0.0, 5.0)


def test_finer_steps_lie_on_lines_between_the_centres() -> None:
    finer = demand(np.array([0.0, 10.0, 20.0, 30.0])).resampled(5.0)
    assert (np.diff(finer.requests_per_second) >= 0).all()
    assert len(finer) == 8


@pytest.mark.parametrize(
    ("values", "expected", "interpolated", "held"),
    [
        ([1, np.nan, np.nan, 4], [1, 2, 3, 4], 2, 0),
        ([1, np.nan, np.nan, np.nan, np.nan, 6], [1, 1, 1, 1, 1, 6], 0, 4),
        ([np.nan, 2, np.nan], [2, 2, 2], 0, 2),
        ([1, 2], [1, 2], 0, 0),
    ],
)
def test_short_gaps_are_interpolated_and_long_ones_held(
    values: list, expected: list, interpolated: int, held: int
) -> None:
    filled, lines, plateaus = fill_gaps(np.array(values, dtype=float))
    assert filled.tolist() == expected
    assert (lines, plateaus) == (interpolated, held)


def test_all_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="all 3 values are NaN"):
        fill_gaps(np.full(3, np.nan))


def test_the_same_seed_gives_the_same_demand() -> None:
    one, same, other = (generate_demand(seed, duration_seconds=7200) for seed in (3, 3, 4))
    assert one.requests_per_second.tolist() == same.requests_per_second.tolist()
    assert one.events_per_second.tolist() == same.events_per_second.tolist()
    assert one.requests_per_second.tolist() != other.requests_per_second.tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1.0, 10.0, 60.0, 600.0, 3600.0]), st.sampled_from(["mixed", *FAMILIES]))
def test_every_generated_demand_is_valid(seed: int, step: float, family: str) -> None:
    made = generate_demand(seed, duration_seconds=7200, step_seconds=step, family=family, start=30_000)
    assert made.duration == 7200
    assert made.requests_per_second.mean() == pytest.approx(100.0) or not made.requests_per_second.any()


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'lunar'; known are: mixed, servegen"):
        generate_demand(1, family="lunar")


def measured(family: str, step: float) -> dict[str, float]:
    """Medians over seeds: one seed's nine days scatter more than the two series that some families were fitted to."""
    found = [
        demand_statistics(
            generate_demand(s, duration_seconds=9 * DAY, step_seconds=step, family=family).requests_per_second, step
        )
        for s in range(9)
    ]
    return {name: float(np.median([f[name] for f in found])) for name in found[0]}


@pytest.mark.skipif(not FACTS.exists(), reason="the shared public traces are not here")
@pytest.mark.parametrize("step", [600.0, 120.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_generated_statistics_lie_within_those_of_the_family(family: str, step: float) -> None:
    with open(FACTS, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["family"] == family]
    for name, value in measured(family, step).items():
        known = [float(row[name]) for row in rows if row[name]]
        # A tenth beyond: two series of a family make a thin range (web requests: 3.95 to 4.02 for the season).
        assert min(known) / 1.1 <= value <= max(known) * 1.1, name


def test_statistics_of_a_pure_season_show_no_residual() -> None:
    times = np.arange(0, 3 * DAY, 600.0)
    found = demand_statistics(np.exp(np.sin(2 * np.pi * times / DAY)), 600.0)
    assert found["resid_logsd"] == pytest.approx(0.0, abs=1e-9)
    assert found["prof_max_min"] == pytest.approx(np.exp(2.0), rel=0.02)


def test_statistics_need_two_days() -> None:
    with pytest.raises(ValueError, match="over 2 days"):
        demand_statistics(np.ones(100), 600.0)
