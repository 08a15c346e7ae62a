"""Calibration finds the parameters of a system that it was not told, and says how well it did."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.scaling import KnobScaling
from envs.simulator.parameters import Parameters
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from envs.task import Task
from telemetry.trace import Trace
from training.calibrate import SPREAD_LIMITS, CalibrationError, fit, pieces, replayed, report
from training.recording import BLOCK_PERIODS, SETTLE_PERIODS, read_recordings

SPEC = SystemSpec.load("reference")
TRUE = Parameters().changed(
    serving_batch_core_seconds=0.018,
    serving_sample_core_seconds=0.0005,
    serving_thread_penalty=2.0,
    training_step_core_seconds=0.06,
    training_sample_core_seconds=0.0016,
    ingest_chunk_core_seconds=0.016,
    other_cores=0.25,
    accuracy_stale_ratio=0.5,
    serving_base_memory_bytes=450e6,
)
HOLD = 12


def record(seed: int, settings: int = 30) -> Trace:
    """A run of the true system through random settings, each held for a while, with all its noise."""
    rng, scaling, task = np.random.default_rng(seed), KnobScaling(SPEC.knobs), Task(SPEC, "allocation")
    plant = SimulatedPlant(SPEC, default_demands(1.0)[seed::7], seed=seed, parameters=TRUE, peak_share=0.6)
    times, values, applied = [], [], []
    for _ in range(settings):
        plant.apply(task.fit(scaling.unscale(rng.uniform(-1.0, 1.0, len(SPEC.knobs)))))
        for _ in range(HOLD):
            snapshot = plant.advance(1.0)
            times.append(snapshot.time)
            values.append(snapshot.values)
            applied.append(plant.setting)
    return Trace(np.array(times), np.array(values), SPEC.catalogue.names, np.array(applied), SPEC.knob_names)


TRACES = [record(1)]


@pytest.fixture(scope="module")
def found() -> Parameters:
    return fit(SPEC, TRACES)


@pytest.mark.parametrize(
    "name",
    ["serving_batch_core_seconds", "serving_thread_penalty", "training_step_core_seconds", "ingest_chunk_core_seconds",
     "other_cores", "serving_base_memory_bytes"],
)  # fmt: skip
def test_parameters_are_recovered(found, name):
    assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=0.2)


def test_a_held_out_run_is_explained_better_than_before(found):
    held_out = [record(3)]
    before, after = report(SPEC, Parameters(), held_out), report(SPEC, found, held_out)
    for metric in ("serving_cpu_used_cores", "training_samples_per_second", "ingest_cpu_used_cores"):
        assert after[metric]["nmae"] < before[metric]["nmae"]
        assert after[metric]["nmae"] < 0.1
    assert after["efficiency"]["rank_correlation"] > 0.9


def test_the_spread_follows_the_residuals_within_its_limits(found):
    assert found.spread
    assert all(SPREAD_LIMITS[0] <= spread <= SPREAD_LIMITS[1] for spread in found.spread.values())
    assert found.metadata["spec_fingerprint"] == SPEC.fingerprint


def test_the_true_parameters_explain_a_run_almost_exactly():
    agreement = report(SPEC, TRUE, TRACES[:1])
    assert agreement["training_memory_bytes"]["nmae"] < 1e-6
    assert agreement["serving_cpu_used_cores"]["nmae"] < 0.05
    assert agreement["serving_latency_p50_seconds"]["rank_correlation"] > 0.9


def test_readings_that_are_missing_are_left_out():
    trace = TRACES[0].slice(0.0, 100.0)
    trace.values[::3, SPEC.catalogue.index("serving_latency_p50_seconds")] = np.nan
    trace.values[:, SPEC.catalogue.index("serving_queue_requests")] = np.nan
    agreement = report(SPEC, TRUE, [trace])
    assert agreement["serving_latency_p50_seconds"]["nmae"] < 0.5
    assert agreement["serving_queue_requests"] == {"nmae": None, "rank_correlation": None, "noise_floor": None}


def test_a_piece_of_which_half_is_missing_is_left_out():
    trace = TRACES[0].slice(0.0, 100.0)
    column = SPEC.catalogue.index("training_samples_per_second")
    first = pieces(SPEC, TRUE, [trace]).measured[:, column]
    trace.values[3 : 3 + (HOLD - 2) // 2 + 1, column] = np.nan
    assert np.isnan(pieces(SPEC, TRUE, [trace]).measured[0, column])
    np.testing.assert_array_equal(pieces(SPEC, TRUE, [trace]).measured[1:, column], first[1:])


def test_the_noise_floor_is_how_far_the_halves_of_a_piece_are_apart():
    column = SPEC.catalogue.index("serving_cpu_used_cores")
    still = TRACES[0].slice(0.0, 100.0)
    still.values[:, column] = 0.5
    assert report(SPEC, TRUE, [still])["serving_cpu_used_cores"]["noise_floor"] == 0.0
    still.values[1::2, column] = 1.5
    assert report(SPEC, TRUE, [still])["serving_cpu_used_cores"]["noise_floor"] < 0.3
    whole = report(SPEC, TRUE, TRACES)
    assert 0.0 < whole["serving_latency_p99_seconds"]["noise_floor"] < 1.0
    assert 0.0 < whole["efficiency"]["noise_floor"] < 0.5


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 3))
def test_blocks_hold_every_settled_row_once(lengths, seed):
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    settings = np.broadcast_to(SPEC.default_setting, (len(rows), len(SPEC.knobs))) + 0.01 * rows[:, None]
    values = rng.random((len(rows), len(SPEC.metrics)))
    trace = Trace(np.arange(len(rows)) + 1.0, values, SPEC.catalogue.names, settings, SPEC.knob_names)
    if max(lengths) <= SETTLE_PERIODS:
        with pytest.raises(CalibrationError):
            read_recordings(SPEC, [trace])
        return
    blocks = read_recordings(SPEC, [trace])[0].blocks
    ends = np.cumsum(lengths)
    settled = [
        row for end, length in zip(ends, lengths, strict=True) for row in range(end - length + SETTLE_PERIODS, end)
    ]
    assert np.concatenate(blocks).tolist() == settled
    assert max(len(block) for block in blocks) <= BLOCK_PERIODS


def test_a_replay_begins_where_the_recording_does():
    trace = TRACES[0].slice(0.0, 30.0)
    later = Trace(trace.times, trace.values.copy(), trace.metric_names, trace.settings, trace.knob_names)
    for metric, level in (("training_backlog_samples", 4000.0), ("training_memory_bytes", 1.2e9)):
        later.values[:, SPEC.catalogue.index(metric)] = level
    (_, simulated), (_, full) = (replayed(SPEC, TRUE, [one])[0] for one in (trace, later))
    assert full[0, SPEC.catalogue.index("training_backlog_samples")] > 3000.0
    assert simulated[0, SPEC.catalogue.index("training_backlog_samples")] < 3000.0
    assert (full[:, SPEC.catalogue.index("training_memory_bytes")] == 1.2e9).all()


def changing(trace: Trace) -> Trace:
    settings = trace.settings.copy()
    settings[:, 0] += np.arange(len(settings)) * 1e-3
    return Trace(trace.times, trace.values, trace.metric_names, settings, trace.knob_names)


@pytest.mark.parametrize(
    ("traces", "message"),
    [
        ([], "no trace"),
        ([TRACES[0].select(["serving_arrivals_per_second"])], "no metric 'serving_goodput_per_second'"),
        ([changing(TRACES[0])], "longer than 3 periods"),
    ],
)
def test_traces_that_cannot_be_used_are_named(traces, message):
    with pytest.raises(CalibrationError, match=message):
        fit(SPEC, traces)
