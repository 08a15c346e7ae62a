from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from telemetry.query import Query, QueryError, parse_duration, parse_time, query_trace
from telemetry.trace import Trace
from trimtab import app

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()


def trace(**metadata: object) -> Trace:
    """Ten rows, 2 s apart from 100 s on: a level, a counter that is reset, a setting."""
    counted = np.array([0, 4, 8, 12, 16, 2, 6, 10, 14, 18], dtype=float)
    values = np.stack([np.arange(10.0), counted], axis=1)
    values[3, 0] = np.nan
    return Trace(100.0 + 2.0 * np.arange(10), values, ("level", "seen_total"), np.ones((10, 1)), ("threads",), metadata)


def test_a_trace_is_asked_in_its_own_seconds_where_it_has_no_date() -> None:
    found = query_trace(trace(), Query(("level",), 104.0, 110.0))
    assert (found.times.tolist(), found.values[:, 0].tolist()) == ([104.0, 108.0], [2.0, 4.0])


def test_a_trace_is_asked_by_the_wall_clock_where_it_has_one() -> None:
    found = query_trace(trace(wall_start=NOON), Query(("level",), NOON + 4.0, NOON + 5.0))
    assert found.wall.tolist() == [NOON + 4.0]


def test_settings_are_series_too() -> None:
    assert query_trace(trace(), Query(("setting:*",))).names == ("setting:threads",)


@pytest.mark.parametrize(
    ("field", "level", "seen"),
    [
        ("auto", [0.5, 2.0, 4.5, 6.5, 8.5], [4.0, 12.0, 2.0, 10.0, 18.0]),
        ("min", [0.0, 2.0, 4.0, 6.0, 8.0], [0.0, 8.0, 2.0, 6.0, 14.0]),
        ("max", [1.0, 2.0, 5.0, 7.0, 9.0], [4.0, 12.0, 16.0, 10.0, 18.0]),
        ("increase", [np.nan] * 5, [4.0, 8.0, 6.0, 8.0, 8.0]),
        ("rate", [np.nan] * 5, [2.0, 2.0, 1.5, 2.0, 2.0]),
    ],
)
def test_steps_by_hand(field: str, level: list[float], seen: list[float]) -> None:
    found = query_trace(trace(), Query(("level", "seen_total"), step_seconds=4.0, field=field))  # type: ignore[arg-type]
    assert found.times.tolist() == [104.0, 108.0, 112.0, 116.0, 120.0]
    np.testing.assert_allclose(found.values, np.stack([level, seen], axis=1))


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (("node_load1",), [1, 0, 0]),
        (("*cpu*",), [0, 1, 1]),
        (('*"idle"*',), [0, 0, 1]),
        (("a", "node_*"), [1, 1, 1]),
    ],
)
def test_patterns_match_the_whole_name_or_the_name_without_labels(patterns: tuple[str, ...], wanted: list[int]) -> None:
    names = ("node_load1", 'node_cpu_seconds_total{mode="user"}', 'node_cpu_seconds_total{mode="idle"}')
    assert Query(patterns).wants(names).tolist() == [bool(one) for one in wanted]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-24T12:00", NOON),
        ("2026-11-24T13:00:30+01:00", NOON + 30.0),
        (str(NOON), NOON),
        ("-90min", NOON - 5400.0),
        ("-1.5h", NOON - 5400.0),
        ("-7d", NOON - 7 * 86400.0),
    ],
)
def test_times_are_dates_seconds_or_before_the_end(text: str, seconds: float) -> None:
    assert parse_time(text, NOON) == seconds


@pytest.mark.parametrize("text", ["yesterday", "-soon", "", "2026-13-01"])
def test_other_times_are_refused_with_examples(text: str) -> None:
    with pytest.raises(QueryError, match="allowed are"):
        parse_time(text, NOON)


def test_durations_have_units() -> None:
    assert [parse_duration(text) for text in ("90", "90s", "1.5min", "1h", "2d")] == [
        90.0,
        90.0,
        90.0,
        3600.0,
        172800.0,
    ]
    with pytest.raises(QueryError, match="duration 'long'"):
        parse_duration("long")


@pytest.mark.parametrize("bad", [{"step_seconds": 0.0}, {"step_seconds": float("nan")}, {"begin": 2.0, "end": 1.0}])
def test_queries_that_make_no_sense_are_refused(bad: dict) -> None:
    with pytest.raises(QueryError):
        Query(**bad)


def test_the_command_prints_json_csv_and_a_table(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    trace(wall_start=NOON).save(path)
    asked = ["trace", "query", path, "--series", "seen*", "--from", "-5s"]
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert found["times"] == [NOON + 14.0, NOON + 16.0, NOON + 18.0]
    assert found["series"] == {"seen_total": [10.0, 14.0, 18.0]}
    assert CliRunner().invoke(app, [*asked, "--csv"]).stdout.splitlines()[:2] == [
        "time,seen_total",
        "2026-11-24T12:00:14.000Z,10.0",
    ]
    assert "seen_total" in CliRunner().invoke(app, asked).stdout


def test_a_range_without_a_date_stays_without_one() -> None:
    cut = query_trace(trace(start_seconds=50.0), Query(("level",), 104.0)).trace()
    assert "wall_start" not in cut.metadata
    assert cut.metadata["start_seconds"] == 54.0
