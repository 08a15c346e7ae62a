from __future__ import annotations

from training.bench_store import bench_store


def test_the_figures_are_those_of_the_sweeps_that_were_kept() -> None:
    found = bench_store(series=40, hours=0.05)
    assert (found["series"], found["sweeps"]) == (40, 180)
    assert set(found["bytes_per_value"]) == {"raw", "1min", "1h"}
    assert 0.0 < found["cpu_seconds_per_sweep"] < found["longest_append_seconds"]
    assert found["bytes_per_day"] > 0
    assert found["pyarrow_ratio"] > 0
