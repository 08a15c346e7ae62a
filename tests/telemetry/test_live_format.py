from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry import live_format as fmt

anything = st.floats(allow_infinity=False)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (fmt.size(0), "0 B"),
        (fmt.size(327_155_712), "312 MiB"),
        (fmt.size(1023.9), "1.0 KiB"),
        (fmt.amount(1234), "1.2 k"),
        (fmt.amount(999.7), "1.0 k"),
        (fmt.amount(0.25), "0.25"),
        (fmt.amount(1e-9), "0.00"),
        (fmt.traffic(1_200_000), "1.2 MB/s"),
        (fmt.seconds(0.0041), "4.1 ms"),
        (fmt.seconds(1.3), "1.3 s"),
        (fmt.seconds(12e-6), "12 µs"),
        (fmt.seconds(0), "0 s"),
        (fmt.share(0.43), "43%"),
        (fmt.share(0.003), "0.3%"),
        (fmt.share(0), "0%"),
        (fmt.age(3 * 86400 + 4 * 3600 + 59), "3d 4h"),
        (fmt.age(750), "12m"),
        (fmt.quantity('node_disk_read_bytes_total{device="a"}', 2000, True), "2 kB/s"),
        (fmt.quantity("node_memory_MemFree_bytes", 2048, False), "2 KiB"),
        (fmt.quantity("node_pressure_cpu_waiting_seconds_total", 0.5, True), "50%"),
        (fmt.quantity("node_forks_total", 3, True), "3/s"),
    ],
)
def test_numbers_are_short(shown: str, expected: str) -> None:
    assert shown == expected


@given(anything)
def test_whatever_is_shown_fits_its_column(value: float) -> None:
    for write in (fmt.size, fmt.amount, fmt.traffic):
        assert len(write(math.copysign(min(abs(value), 1e14), value))) <= 10


@pytest.mark.parametrize("write", [fmt.size, fmt.amount, fmt.traffic, fmt.seconds, fmt.share, fmt.cores, fmt.age])
def test_what_is_not_known_is_a_dash(write) -> None:
    assert write(math.nan).strip() == "–"


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=30), st.integers(1, 20))
def test_a_sparkline_is_as_wide_as_asked_for(values: list[float], width: int) -> None:
    assert len(fmt.sparkline(values, width)) == width


def test_a_sparkline_rises_from_zero_to_the_largest_with_gaps() -> None:
    assert fmt.sparkline([0, 1, math.nan, 8], 5) == " ▁▁ █"
    assert fmt.sparkline([0.01, 0.01], 2, least=0.1) == "▁▁"


@given(st.lists(st.floats(0, 2) | st.just(math.nan), min_size=1, max_size=4), st.integers(1, 40))
def test_a_bar_never_overflows(shares: list[float], width: int) -> None:
    assert len("".join(fmt.bar(width, shares))) <= width


def test_a_bar_has_a_piece_for_each_share() -> None:
    assert fmt.bar(8, [0.5, 0.25]) == ["████", "██"]
    assert fmt.bar(8, [1 / 16]) == ["▌"]
