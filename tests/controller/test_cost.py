import json

import numpy as np
import pytest

from controller.decision import Mode
from controller.period import Inputs
from controller.shield import Reason, Shield
from envs.spec import SpecError, SystemSpec
from plants import HEALTHY
from telemetry.metrics import Snapshot

KNOB = "serving_batch_size"


@pytest.fixture
def costly(spec, tmp_path):
    """The reference spec with a batch size that takes a restart, from 22:30 to 04:00."""
    return lambda cost, windows=("22:30-04:00",): make(spec, cost, windows)


def make(spec, cost, windows, in_flight="serving_queue_requests"):
    changed = spec.model_dump(mode="json")
    changed["workloads"]["serving"]["in_flight"] = in_flight
    changed["restart_windows"] = list(windows)
    next(knob for knob in changed["knobs"] if knob["name"] == KNOB)["cost"] = cost
    return SystemSpec.model_validate(changed)


def snapshot(spec, hour, queue):
    readings = {name: HEALTHY.get(name, 0.0) for name in spec.catalogue.names} | {"serving_queue_requests": queue}
    return Snapshot(10.0, np.array(list(readings.values())), hour / 24)


def reasons_for(spec, hour, queue, undo=False):
    """What the shield says to another batch size; empty if it is allowed."""
    current = spec.default_setting
    wanted = current.copy()
    wanted[spec.knob_index(KNOB)] = current[spec.knob_index(KNOB)] + 2
    setting, reasons = Shield(spec).check(wanted, current, snapshot(spec, hour, queue), 10.0, undo=undo)
    assert (setting == current).all() == bool(reasons)
    return [reason.reason for reason in reasons]


@pytest.mark.clause("A7")
@pytest.mark.parametrize(("hour", "allowed"), [(22.4, False), (22.5, True), (23.9, True), (3.9, True), (4.0, False)])
def test_a_knob_that_restarts_is_changed_in_a_window_only(costly, hour, allowed):
    assert reasons_for(costly("restart"), hour, 0.0) == ([] if allowed else [Reason.COST])


@pytest.mark.clause("A7")
@pytest.mark.parametrize("queue", [1.0, float("nan")])
@pytest.mark.parametrize("cost", ["drain", "restart"])
def test_nothing_is_interrupted_while_something_may_be_lost_or_it_is_not_known(costly, cost, queue):
    assert reasons_for(costly(cost), 23.0, queue) == [Reason.COST]


@pytest.mark.clause("A7")
def test_without_a_window_nothing_is_restarted_at_any_time(costly):
    assert {tuple(reasons_for(costly("restart", ()), hour, 0.0)) for hour in range(24)} == {(Reason.COST,)}


@pytest.mark.clause("A7")
def test_what_is_unknown_is_no_time_of_day(costly):
    assert reasons_for(costly("restart", ("00:00-24:00",)), float("nan"), 0.0) == [Reason.COST]


def test_a_knob_that_drains_needs_no_window(costly):
    assert reasons_for(costly("drain", ()), 12.0, 0.0) == []


def test_what_proved_harmful_comes_back_at_once(costly):
    assert reasons_for(costly("restart", ()), 12.0, 5.0, undo=True) == []


def test_a_cost_needs_a_metric_that_tells_what_may_be_lost(spec):
    with pytest.raises(ValueError, match=r"serving_batch_size of cost 'drain' needs in_flight of serving"):
        make(spec, "drain", (), in_flight=None)


def test_a_cost_changes_the_fingerprint_and_its_default_does_not(costly, spec):
    assert costly("live").fingerprint == spec.fingerprint
    assert costly("restart").fingerprint != spec.fingerprint


@pytest.mark.parametrize("window", ["25:00-04:00", "22:30", "4-5", "10:00-24:30"])
def test_a_window_that_is_no_time_of_day_is_refused_in_one_line(spec, tmp_path, window):
    path = tmp_path / "spec.toml"
    path.write_text(f'extends = "reference"\nrestart_windows = ["{window}"]\n')
    with pytest.raises(SpecError, match=r"restart_windows"):
        SystemSpec.load(path)


@pytest.mark.clause("D7")
@pytest.mark.parametrize("hour", [0.0, 23.25, float("nan")])
def test_the_time_of_day_stands_in_the_journal(spec, hour):
    inputs = Inputs(10.0, snapshot(spec, hour, 0.0), spec.default_setting, Mode.ACT)
    day = Inputs.of(json.loads(json.dumps(inputs.plain()))).snapshot.day
    assert day == hour / 24 or np.isnan([day, hour]).all()
