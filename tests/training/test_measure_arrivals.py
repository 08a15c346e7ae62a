from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from training.measure_arrivals import clients, dispersion_of, generate, rank_correlation, weibull_shape


@pytest.mark.parametrize(("cv", "shape"), [(1.0, 1.0), (np.sqrt(5.0), 0.5), (100.0, 0.2)])
def test_a_weibull_shape_gives_back_its_variation(cv: float, shape: float) -> None:
    assert weibull_shape(cv) == pytest.approx(shape, rel=1e-6)


@pytest.mark.parametrize("family", ["G", "W"])
@pytest.mark.parametrize("cv", [0.7, 1.0, 3.0])
def test_generated_clients_have_their_rate_and_variation(family: str, cv: float) -> None:
    counts = np.concatenate([generate([(50.0, cv, family)], np.random.default_rng(seed)) for seed in range(20)])
    assert counts.mean() == pytest.approx(50.0, rel=0.05)
    # A renewal process counted over many gaps has the variance CV^2 times the mean.
    assert counts.var() / counts.mean() == pytest.approx(cv**2, rel=0.25)


def test_a_request_log_is_counted_in_steps_of_any_length(tmp_path: Path) -> None:
    times = np.sort(np.random.default_rng(0).uniform(0, 3_000_000, 30_000)).astype(int)
    path = tmp_path / "log.csv"
    path.write_text("timestamp_ms,input_length\n" + "".join(f"{time},1\n" for time in times))
    assert dispersion_of(path, 1.0).ratio == pytest.approx(1.0, abs=0.1)
    assert dispersion_of(path, 10.0).means.mean() == pytest.approx(100.0, rel=0.02)


def test_clients_that_are_poisson_make_a_service_that_is(tmp_path: Path) -> None:
    rows = "".join(f"{600 * window},{client},20,1,G\n" for window in range(4) for client in range(3))
    for name in ("deepseek-r1_top15clients_d0-1", "m-large_top15clients_d0-9", "m-small_top15clients_d0-9"):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(b"t,client,rate,cv,dist\n" + rows.encode()))
    for row in clients(tmp_path):
        assert float(row["variance / mean"]) == pytest.approx(1.0, abs=0.2)


def test_equal_orders_correlate_fully() -> None:
    assert rank_correlation(np.array([1.0, 5.0, 3.0]), np.array([2.0, 9.0, 2.5])) == pytest.approx(1.0)
