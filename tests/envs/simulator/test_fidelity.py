"""The shipped parameters explain recorded runs that they were not fitted to, as well as the bar asks."""

import numpy as np
import pytest

from envs.simulator.parameters import Parameters
from envs.spec import SystemSpec
from telemetry.trace import Trace
from training.calibrate import pieces, replayed, report
from training.calibration import shipped_recordings

SPEC = SystemSpec.load("reference")
SHIPPED = Parameters.load("reference")
HELD_OUT = [Trace.load(path) for path in shipped_recordings(held_out=True)]
THROUGHPUT = ("serving_goodput_per_second", "training_samples_per_second", "training_goodput_per_second",
              "ingest_written_per_second")  # fmt: skip
UTILISATION = ("serving_cpu_used_cores", "training_cpu_used_cores", "ingest_cpu_used_cores", "host_cpu_used_ratio")
LATENCY = ("serving_latency_p50_seconds", "serving_latency_p99_seconds")
BACKLOG = ("training_backlog_samples", "ingest_backlog_events", "ingest_lag_seconds", "serving_queue_requests")
MEMORY = ("serving_memory_bytes", "training_memory_bytes", "ingest_memory_bytes")


@pytest.fixture(scope="module")
def agreement():
    return report(SPEC, SHIPPED, HELD_OUT)


@pytest.mark.parametrize("metric", [*THROUGHPUT, *UTILISATION, *LATENCY, *BACKLOG])
def test_the_bar_is_met_on_runs_that_were_not_fitted(agreement, metric):
    assert agreement[metric]["nmae"] <= 0.25
    assert agreement[metric]["rank_correlation"] >= 0.8


@pytest.mark.parametrize("metric", MEMORY)
def test_memory_is_within_a_few_percent(agreement, metric):
    assert agreement[metric]["nmae"] <= 0.06


def test_settings_are_in_the_order_of_their_measured_efficiency(agreement):
    assert agreement["efficiency"]["rank_correlation"] >= 0.9
    assert agreement["efficiency"]["nmae"] <= 0.12


def test_the_better_of_two_settings_is_told_wherever_they_differ_by_more_than_noise():
    compared = pieces(SPEC, SHIPPED, HELD_OUT)
    column = SPEC.catalogue.index("training_samples_per_second")
    simulated, measured = compared.simulated[:, column], compared.measured[:, column]
    apart = measured[:, None] > 2.0 * measured[None]
    assert (simulated[:, None] > simulated[None])[apart].mean() > 0.97


def test_the_shipped_parameters_were_not_fitted_to_the_held_out_runs():
    fitted = [Trace.load(path) for path in shipped_recordings(held_out=False)]
    assert f"{len(fitted)} traces, {sum(len(trace) for trace in fitted)} periods" in SHIPPED.metadata["source"]
    for trace in HELD_OUT:
        assert all(trace.metadata["seed"] != other.metadata["seed"] for other in fitted)


def test_every_replayed_reading_is_finite():
    for _, simulated in replayed(SPEC, SHIPPED, HELD_OUT):
        assert np.isfinite(simulated).all()
