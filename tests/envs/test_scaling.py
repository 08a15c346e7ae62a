"""Scaling: fixed maps to [-1, 1] and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.scaling import KnobScaling, MetricScaling
from envs.spec import SystemSpec
from telemetry.metrics import MetricSpec, Scale

SPEC = SystemSpec.load("reference")
METRICS, KNOBS = MetricScaling(SPEC.catalogue.metrics), KnobScaling(SPEC.knobs)
anything = st.floats(width=64)
inside = st.floats(-1.0, 1.0)


def rows(of, length):
    return st.lists(of, min_size=length, max_size=length).map(np.array)


@given(rows(inside, len(SPEC.metrics)))
def test_metrics_come_back_from_a_round_trip(scaled):
    np.testing.assert_allclose(METRICS.scale(METRICS.unscale(scaled)), scaled, atol=1e-9)


@given(rows(anything, len(SPEC.metrics)))
def test_scaled_metrics_are_within_bounds_or_missing(values):
    with np.errstate(all="ignore"):
        scaled = METRICS.scale(values)
    assert ((np.abs(scaled) <= 1.0 + 1e-12) | np.isnan(values)).all()
    assert (np.isnan(scaled) == np.isnan(values)).all()


@given(rows(inside, len(SPEC.knobs)))
def test_knobs_come_back_from_a_round_trip(scaled):
    setting = KNOBS.unscale(scaled)
    assert ((setting >= KNOBS.low) & (setting <= KNOBS.high)).all()
    assert (setting[KNOBS.integer] == np.rint(setting[KNOBS.integer])).all()
    np.testing.assert_allclose(KNOBS.unscale(KNOBS.scale(setting)), setting, rtol=1e-9)


@given(rows(st.floats(allow_nan=False), len(SPEC.knobs)))
def test_any_number_unscales_to_an_allowed_setting(scaled):
    setting = KNOBS.unscale(scaled)
    assert ((setting >= KNOBS.low) & (setting <= KNOBS.high)).all()


@given(st.lists(rows(st.floats(0.0, 1e4), len(SPEC.metrics)), min_size=2, max_size=5))
def test_a_batch_scales_as_its_rows_do(batch):
    together = METRICS.scale(np.array(batch))
    assert (together == np.array([METRICS.scale(row) for row in batch])).all()


@pytest.mark.parametrize(("value", "scaled"), [(0.0, -1.0), (1.0, 0.0), (3.0, 1.0), (99.0, 1.0)])
def test_a_log_scale_resolves_around_its_knee(value, scaled):
    metric = MetricSpec("m", 0.0, 3.0, "", scale=Scale.LOG, knee=1.0)  # log1p(1) is half of log1p(3)
    assert MetricScaling([metric]).scale(np.array([value]))[0] == pytest.approx(scaled)
