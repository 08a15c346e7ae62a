"""Bounds of the configuration: within those of the spec, and reached step by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from controller.shield import Shield, ShieldConfig
from envs.scaling import KnobScaling
from envs.spec import SystemSpec
from plants import ToyPlant
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
SCALING = KnobScaling(SPEC.knobs)
N = len(SPEC.knobs)
STEP = np.array([knob.max_step for knob in SPEC.knobs])
CPU = [SPEC.knob_index(o.cpu_knob) for o in SPEC.workloads.values()]
FREE = ShieldConfig(cooldown_seconds=0.0, reversal_burst=1e6)


def inside() -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(float, N, elements=st.floats(-1, 1)).map(SCALING.unscale)


@st.composite
def narrowed(draw: st.DrawFn) -> dict[str, tuple[float, float]]:
    """Narrower bounds of any knobs but the CPU grants, whose sum is limited as well."""
    ends = np.sort([draw(inside()), draw(inside())], axis=0)
    chosen = draw(st.sets(st.sampled_from([i for i in range(N) if i not in CPU])))
    return {SPEC.knobs[i].name: (float(ends[0, i]), float(ends[1, i])) for i in chosen}


def snapshot(time: float) -> Snapshot:
    return Snapshot(time, ToyPlant(SPEC).advance(1.0).values)


@pytest.mark.clause("L5")
@settings(max_examples=100, deadline=None)
@given(bounds=narrowed(), start=inside(), proposed=inside())
def test_narrowed_bounds_are_reached_step_by_step_whatever_is_proposed(
    bounds: dict[str, tuple[float, float]], start: np.ndarray, proposed: np.ndarray
) -> None:
    shield, current = Shield(SPEC, FREE, bounds), start.copy()
    current[CPU] = np.minimum(current[CPU], SPEC.cores / len(CPU))
    for period in range(60):
        after, _ = shield.check(proposed, current, snapshot(period), float(period))
        slack = np.where(SCALING.integer, np.abs(SCALING.scale(after + 0.5) - SCALING.scale(after - 0.5)), 1e-9)
        assert (np.abs(SCALING.scale(after) - SCALING.scale(current)) <= STEP + slack).all()
        shield.applied(current, after, float(period))
        current = after
    assert not shield.outside(current).any()


@pytest.mark.clause("L5")
@settings(max_examples=100, deadline=None)
@given(bounds=narrowed(), current=inside(), proposed=inside())
def test_what_is_taken_back_goes_no_further_out_and_makes_no_jump_inside(
    bounds: dict[str, tuple[float, float]], current: np.ndarray, proposed: np.ndarray
) -> None:
    shield = Shield(SPEC, FREE, bounds)
    after, _ = shield.check(proposed, current, snapshot(1.0), 1.0, undo=True)
    outside = shield.outside(current)
    low = np.array([bounds.get(knob.name, (knob.low, knob.high))[0] for knob in SPEC.knobs])
    high = np.array([bounds.get(knob.name, (knob.low, knob.high))[1] for knob in SPEC.knobs])
    assert (after >= np.minimum(np.floor(low), current) - 1e-9).all()
    assert (after <= np.maximum(np.ceil(high), current) + 1e-9).all()
    assert (after[outside & (proposed == current)] == current[outside & (proposed == current)]).all()


def test_bounds_can_be_widened_again() -> None:
    shield = Shield(SPEC, FREE, {"serving_batch_size": (4, 8)})
    setting = SPEC.default_setting
    setting[SPEC.knob_index("serving_batch_size")] = 16
    assert shield.outside(setting).sum() == 1
    shield.narrow({})
    assert not shield.outside(setting).any()
