"""Which series the forecaster is judged on."""

import numpy as np
import pytest

from training.forecast_data import MIN_HOURS, ForecastDataError, MetricSeries, digest, series_in
from training.forecast_generated import generated_series


def write(folder, values):
    np.savez(folder / "host.npz", values=np.asarray(values), step_s=300)


def test_constant_and_short_series_are_left_out(tmp_path):
    steps = (MIN_HOURS + 24) * 12
    moving = np.random.default_rng(0).random(steps)
    write(tmp_path, [moving, np.ones(steps)])
    assert [one.name for one in series_in(tmp_path)] == ["host.npz:metric 0"]


def test_all_metrics_of_a_host_are_held_out_together(tmp_path):
    steps = (MIN_HOURS + 24) * 12
    write(tmp_path, np.random.default_rng(0).random((5, steps)))
    assert len({one.host for one in series_in(tmp_path)}) == 1


def test_a_folder_without_series_says_what_is_needed(tmp_path):
    with pytest.raises(ForecastDataError, match="at least"):
        series_in(tmp_path)


def test_blocks_follow_each_other_to_the_end():
    one = MetricSeries("", "", np.zeros(1000))
    assert [one.edge(block) for block in range(5)] == [600, 750, 833, 916, 1000]


def test_the_digest_tells_different_data_apart():
    first, again, other = (generated_series(1, seed, days=2) for seed in (0, 0, 1))
    assert digest(first) == digest(again) != digest(other)


def test_generated_hosts_have_a_demand_a_latency_and_a_resource_that_differ():
    series = generated_series(2, days=14)
    assert [one.name.split()[-1] for one in series] == ["rate", "latency", "resource"] * 2
    assert len({one.host for one in series}) == 2
    assert all(np.isfinite(one.levels).all() and len(np.unique(one.levels)) > 100 for one in series)
