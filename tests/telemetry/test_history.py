from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.history import History
from telemetry.metrics import Snapshot


def filled(rows: int, capacity: int = 4) -> History:
    history = History(2, capacity)
    for i in range(rows):
        history.append(Snapshot(float(i), np.array([i, 10.0 * i])))
    return history


def test_a_short_history_is_padded_with_nan_in_front() -> None:
    np.testing.assert_array_equal(filled(2).window(3), [[np.nan, np.nan], [0, 0], [1, 10]])


@given(st.integers(0, 20), st.integers(1, 6))
def test_the_window_holds_the_newest_readings_oldest_first(rows: int, periods: int) -> None:
    window = filled(rows, capacity=6).window(periods)
    newest = list(range(rows))[-periods:]
    assert window.shape == (periods, 2)
    assert window[periods - len(newest) :, 0].tolist() == newest
    assert np.isnan(window[: periods - len(newest)]).all()


def test_last_and_times_follow_the_newest() -> None:
    assert filled(0).last is None
    assert filled(0).times.tolist() == []
    history = filled(6)
    assert history.last is not None
    assert (history.last.time, history.last.values.tolist()) == (5.0, [5.0, 50.0])
    assert history.times.tolist() == [2.0, 3.0, 4.0, 5.0]
    assert len(history) == 4


def test_changing_the_window_or_the_snapshot_does_not_change_the_history() -> None:
    history, values = History(1, 2), np.array([1.0])
    history.append(Snapshot(0.0, values))
    values[0] = 9.0
    history.window(1)[0, 0] = 9.0
    assert history.window(1).tolist() == [[1.0]]


def test_age_is_the_time_since_a_metric_was_last_finite() -> None:
    history = History(3, 4)
    assert history.ages(5.0).tolist() == [np.inf] * 3
    history.append(Snapshot(1.0, np.array([1.0, 1.0, np.nan])))
    history.append(Snapshot(3.0, np.array([1.0, np.nan, np.nan])))
    assert history.ages(4.0).tolist() == [1.0, 3.0, np.inf]


@pytest.mark.parametrize(
    "snapshot", [Snapshot(5.0, np.zeros(2)), Snapshot(6.0, np.zeros(3)), Snapshot(np.nan, np.zeros(2))]
)
def test_what_is_not_a_later_reading_is_refused(snapshot: Snapshot) -> None:
    with pytest.raises(ValueError, match=r"times must grow|holds \(2,\)"):
        filled(6).append(snapshot)


def test_a_window_beyond_the_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed is 1 to 4"):
        filled(2).window(5)


def test_what_the_control_daemon_imports_stays_light() -> None:
    program = (
        "import sys, telemetry.history, telemetry.sampler, telemetry.exposition, telemetry.trace\n"
        "import telemetry.collectors.host, telemetry.collectors.process, telemetry.collectors.scrape\n"
        "print({'pyarrow', 'prometheus_client', 'torch'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
