import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from controller.shield import Reason, Shield, ShieldConfig, pinned_setting
from envs.scaling import KnobScaling
from envs.spec import SystemSpec
from plants import ToyPlant
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
SCALING = KnobScaling(SPEC.knobs)
N = len(SPEC.knobs)
STEP = np.array([knob.max_step for knob in SPEC.knobs])
CPU = [SPEC.knob_index(o.cpu_knob) for o in SPEC.workloads.values()]

anything = st.one_of(
    hnp.arrays(float, N, elements=st.floats(allow_nan=True, allow_infinity=True)),
    hnp.arrays(float, hnp.array_shapes(max_dims=3, max_side=14)),
    st.lists(st.one_of(st.floats(), st.text(max_size=3), st.none()), max_size=14),
    st.text(max_size=5),
    st.none(),
    st.integers(),
    st.just([10**400] * N),
)
inside = hnp.arrays(float, N, elements=st.floats(-1, 1)).map(SCALING.unscale)


def healthy(time=10.0):
    plant = ToyPlant(SPEC)
    return Snapshot(time, plant.advance(1.0).values)


def snapshots():
    values = hnp.arrays(float, len(SPEC.metrics), elements=st.floats(allow_nan=True, allow_infinity=True))
    return st.one_of(st.none(), st.just(healthy()), values.map(lambda v: Snapshot(10.0, v)))


@pytest.mark.clause("D1")
@settings(max_examples=300, deadline=None)
@given(proposed=anything, current=inside, snapshot=snapshots(), now=st.floats(0, 1e6), undo=st.booleans())
def test_whatever_is_proposed_the_result_is_allowed(proposed, current, snapshot, now, undo):
    setting, _ = Shield(SPEC).check(proposed, current, snapshot, now, undo=undo)
    assert np.isfinite(setting).all()
    assert (setting >= SCALING.low - 1e-9).all()
    assert (setting <= SCALING.high + 1e-9).all()
    assert setting[CPU].sum() <= max(SPEC.cores, current[CPU].sum()) + 1e-6
    changed = setting != current
    assert (setting[changed & SCALING.integer] % 1 == 0).all()


@pytest.mark.clause("D1")
@pytest.mark.parametrize(("found", "comes_back"), [(14.5, 14.0), (14.6, 15.0), (14.0, 14.0)])
def test_a_fraction_that_a_lying_actuator_set_comes_back_as_the_nearest_whole_number(found, comes_back):
    knob = SPEC.knob_index("ingest_chunk_events")
    current, target = SPEC.default_setting.copy(), SPEC.default_setting.copy()
    current[knob], target[knob] = 26.0, found
    setting, _ = Shield(SPEC).check(target, current, healthy(), 10.0, undo=True)
    assert setting[knob] == comes_back


@pytest.mark.clause("D2")
@settings(max_examples=200, deadline=None)
@given(proposed=inside, current=inside)
def test_no_knob_moves_further_than_its_step(proposed, current):
    current = current.copy()
    if current[CPU].sum() > SPEC.cores:
        current[CPU] *= 0.4
        current = np.clip(current, SCALING.low, SCALING.high)
    setting, _ = Shield(SPEC).check(proposed, current, healthy(), 10.0)
    # An integer knob is rounded after the step, as in Task.decode: half a unit more.
    slack = np.where(SCALING.integer, np.abs(SCALING.scale(setting + 0.5) - SCALING.scale(setting - 0.5)), 1e-9)
    assert (np.abs(SCALING.scale(setting) - SCALING.scale(current)) <= STEP + slack).all()


@pytest.mark.clause("O1")
@settings(max_examples=200, deadline=None)
@given(proposed=inside, current=inside, missing=st.sets(st.integers(0, len(SPEC.metrics) - 1), min_size=1))
def test_with_missing_guards_only_cpu_is_added(proposed, current, missing):
    shield, snapshot = Shield(SPEC), healthy()
    snapshot.values[list(missing)] = np.nan
    setting, _ = shield.check(proposed, current, snapshot, 10.0)
    if shield.missing(snapshot, 10.0) is not None:
        changed = np.flatnonzero(setting != current)
        assert set(changed) <= set(CPU)
        assert (setting[changed] > current[changed]).all()


@pytest.mark.clause("D2")
@settings(max_examples=50, deadline=None)
@given(wishes=st.lists(inside, min_size=20, max_size=60), seconds=st.floats(0.5, 5.0))
def test_charged_reversals_never_exceed_the_budget(wishes, seconds):
    config = ShieldConfig(cooldown_seconds=0.0, reversals_per_hour=60.0, reversal_burst=3.0)
    shield, current = Shield(SPEC, config), SPEC.default_setting
    directions, reversals = np.zeros(N), np.zeros(N)
    now = 0.0
    for wish in wishes:
        now += seconds
        setting, _ = shield.check(wish, current, healthy(now), now)
        shield.applied(current, setting, now)
        direction = np.sign(setting - current)
        charged = (direction * directions < 0) & ~(np.isin(np.arange(N), CPU) & (direction > 0))
        reversals += charged
        directions = np.where(direction != 0, direction, directions)
        current = setting
    assert (reversals <= 3.0 + 60.0 * now / 3600.0).all()


@pytest.mark.parametrize("current", [np.full(N, np.nan), np.zeros(3), np.full(N, 1e9)], ids=["nan", "short", "outside"])
def test_unknown_setting_in_force_means_hold(current):
    setting, reasons = Shield(SPEC).check(SPEC.default_setting, current, healthy(), 10.0)
    assert np.array_equal(setting, current, equal_nan=True)
    assert [refusal.reason for refusal in reasons] == [Reason.MALFORMED]


def test_entry_that_is_not_finite_keeps_its_knob():
    current, proposed = SPEC.default_setting, SPEC.default_setting
    proposed[3], proposed[6] = np.nan, 64
    setting, reasons = Shield(SPEC).check(proposed, current, healthy(), 10.0)
    assert (setting[3], setting[6]) == (current[3], 64)
    assert str(reasons[0]) == "not_finite: serving_batch_size"


@pytest.mark.clause("O1")
@pytest.mark.parametrize("age", [3.5, 1e9, float("nan")])
def test_stale_reading_holds_everything_but_added_capacity(age):
    current = SPEC.default_setting
    current[:3] = 0.3
    proposed = current.copy()
    proposed[0], proposed[1], proposed[3] = 0.5, 0.2, 16
    setting, reasons = Shield(SPEC).check(proposed, current, healthy(100.0 - age), 100.0)
    assert setting[:4].tolist() == [0.5, 0.3, 0.3, 8.0]
    assert Reason.STALE in {refusal.reason for refusal in reasons}


@pytest.mark.clause("O2")
def test_negative_rate_is_no_reading():
    snapshot = healthy()
    snapshot.values[SPEC.catalogue.index("serving_arrivals_per_second")] = -5.0
    assert "serving_arrivals_per_second" in Shield(SPEC).missing(snapshot, 10.0).detail


def test_cooldown_holds_one_workload_and_not_the_others():
    shield, current = Shield(SPEC), SPEC.default_setting
    changed = current.copy()
    changed[3] = 16
    shield.applied(current, changed, 9.0)
    proposed = changed.copy()
    proposed[3], proposed[6] = 32, 64
    setting, reasons = shield.check(proposed, changed, healthy(), 10.0)
    assert (setting[3], setting[6]) == (16, 64)
    assert [refusal.reason for refusal in reasons] == [Reason.COOLDOWN]


def test_raised_grant_is_cut_when_the_one_that_pays_is_held():
    shield, current = Shield(SPEC), SPEC.default_setting
    shield.applied(current * 0.9, current, 9.5)  # all workloads are in cooldown
    proposed = current.copy()
    proposed[0], proposed[1] = 0.7, 0.3
    setting, reasons = shield.check(proposed, current, healthy(), 10.0)
    assert (setting == current).all()
    assert {refusal.reason for refusal in reasons} == {Reason.COOLDOWN, Reason.CPU_SUM}


def test_overbooked_host_is_brought_into_its_limits_at_once():
    current = SPEC.default_setting
    current[:3] = [1.3, 1.0, 0.6]
    proposed = current.copy()
    proposed[:3] = [0.5, 0.06, 0.04]
    setting, _ = Shield(SPEC).check(proposed, current, healthy(), 10.0)
    assert setting[:3].sum() <= SPEC.cores


def test_unchanged_proposal_has_no_reasons():
    setting, reasons = Shield(SPEC).check(SPEC.default_setting, SPEC.default_setting, healthy(), 10.0)
    assert (setting == SPEC.default_setting).all()
    assert reasons == []


def test_pins_are_clipped_to_the_bounds_and_unknown_ones_left_out():
    pinned = pinned_setting(
        SPEC, SPEC.default_setting, {"serving_batch_size": 1e9, "nonsense": 1, "serving_threads": 1.4}
    )
    assert pinned[SPEC.knob_index("serving_batch_size")] == 64
    assert pinned[SPEC.knob_index("serving_threads")] == 1
