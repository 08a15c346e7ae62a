"""Pre-scaling: forecasts ask for least grants, and only ever add."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.config import ControllerConfig
from controller.decision import Mode
from controller.kernel import Kernel
from controller.period import Inputs
from controller.prescale import Alarm, Floor, PrescaleConfig, Prescaler, lifted, read_alarms
from controller.shield import Reason
from envs.recent import Recent
from envs.spec import Role, SystemSpec
from plants import HEALTHY
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
CPU = SPEC.knob_index("serving_cpu_cores")
USED = {"serving_cpu_used_cores": 0.45, "training_cpu_used_cores": 0.45, "ingest_cpu_used_cores": 0.45}
ALARM = Alarm("serving_latency_p99_seconds", 0.99, 100.0)


def snapshot(period: float, **readings: float) -> Snapshot:
    values = [(HEALTHY | USED | readings).get(name, 0.0) for name in SPEC.catalogue.names]
    return Snapshot(period, np.array(values))


def floors_after(arrivals: list[float], granted: float, chance: float = 0.9, **readings: float) -> dict[str, Floor]:
    """What is asked for serving after these arrivals, with so much granted to it; a core can do 200."""
    recent, prescaler = Recent(SPEC, outlook=True), Prescaler(SPEC, PrescaleConfig(chance=chance))
    setting, found = SPEC.default_setting, {}
    for other in ("training_cpu_cores", "ingest_cpu_cores"):  # so that something is free
        setting[SPEC.knob_index(other)] = 0.05
    setting[CPU] = granted
    for period, rate in enumerate(arrivals):
        work = {"serving_arrivals_per_second": rate, "serving_goodput_per_second": rate,
                "serving_cpu_used_cores": rate / 200.0}  # fmt: skip
        recent.append(snapshot(float(period), **work | readings))
        found = prescaler.floors(recent, setting)
    return {name: floor for name, floor in found.items() if name == "serving_cpu_cores"}


def test_a_grant_that_suffices_for_what_is_expected_is_left_alone():
    assert floors_after([100.0] * 100, granted=0.6) == {}


def test_what_is_expected_and_cannot_be_done_is_asked_for():
    floor = floors_after([100.0] * 100, granted=0.3)["serving_cpu_cores"]
    assert floor.cores == pytest.approx(0.5, rel=1e-3)
    assert floor.why == "100 per second expected in 10 s, 60 can be done"


def test_an_unsure_forecast_asks_for_nothing():
    assert floors_after([100.0] * 100, granted=0.45, chance=0.99)["serving_cpu_cores"].cores > 0.49
    assert floors_after([60.0, 140.0] * 50, granted=0.45, chance=0.99) == {}


def test_no_more_is_asked_for_than_the_knob_can_give_and_nobody_has():
    assert floors_after([900.0] * 100, granted=0.3)["serving_cpu_cores"].cores == SPEC.knobs[CPU].high
    recent, prescaler = Recent(SPEC, outlook=True), Prescaler(SPEC, PrescaleConfig(chance=0.9))
    for period in range(30):
        recent.append(snapshot(float(period), serving_arrivals_per_second=900.0))
    assert prescaler.floors(recent, SPEC.default_setting)["serving_cpu_cores"].cores == 0.5  # all cores are given out


@pytest.mark.clause("D4")
def test_missing_readings_ask_for_nothing():
    assert floors_after([100.0] * 9, 0.3, **dict.fromkeys(SPEC.catalogue.names, np.nan)) == {}


def test_while_an_issue_is_foretold_nothing_is_taken_from_its_workload():
    recent = Recent(SPEC, outlook=True).append(snapshot(0.0))
    found = Prescaler(SPEC).floors(recent, SPEC.default_setting, [ALARM])
    assert {name: floor.cores for name, floor in found.items()} == {"serving_cpu_cores": 0.5}
    assert found["serving_cpu_cores"].why == "serving_latency_p99_seconds over its limit within the hour, 99% sure"
    unsure = replace(ALARM, probability=0.9)
    assert Prescaler(SPEC).floors(recent, SPEC.default_setting, [unsure]) == {}


@pytest.mark.clause("D4")
@given(
    st.lists(st.floats(0.0, 10.0), min_size=3, max_size=3),
    st.dictionaries(st.integers(0, 2), st.floats(allow_nan=True, allow_infinity=False)),
)
def test_whatever_forecasts_say_they_only_add(proposal: list[float], floors: dict[int, float]):
    wanted = np.array(proposal)
    raised = lifted(wanted, {knob: Floor(cores, "") for knob, cores in floors.items()})
    assert (raised >= wanted).all()


@pytest.mark.clause("D4")
def test_a_forecast_keeps_the_policy_from_taking_and_tells_so():
    before = SPEC.default_setting
    before[SPEC.knob_index("training_cpu_cores")] = 0.3  # so that something is free
    kernel, less = Kernel(SPEC, ControllerConfig(), before, "run"), before.copy()
    less[CPU] = 0.3
    floors = {"serving_cpu_cores": Floor(0.6, "a peak"), "no_such_knob": Floor(9.0, "")}
    for period in range(9):
        inputs = Inputs(
            float(period), snapshot(float(period)), SPEC.default_setting, Mode.SHADOW, {Role.ALLOCATION: less},
            floors=floors,
        )  # fmt: skip
        plan = kernel.decide(inputs)
    assert plan.setting[CPU] > before[CPU]
    told = [reason.detail for reason in plan.reasons if reason.reason is Reason.FORECAST]
    assert told == ["serving_cpu_cores: 0.3 -> 0.6, a peak"]


def test_a_metric_of_which_nothing_is_said_yet_hides_no_alarm_of_another(tmp_path: Path):
    young, old = ({"1h": {"probability": probability}} for probability in (None, 0.97))
    metrics = [
        {"metric": name, "horizons": chances, "expires_at": 50.0}
        for name, chances in (("ingest_y", young), ("serving_x", old))
    ]
    (tmp_path / "forecast.json").write_text(json.dumps({"metrics": metrics}))
    assert read_alarms(tmp_path / "forecast.json", 0.0) == [Alarm("serving_x", 0.97, 50.0)]


def test_alarms_expire_and_a_damaged_file_holds_none(tmp_path: Path):
    path = tmp_path / "forecast.json"
    assert read_alarms(path, 0.0) == []
    chances = {"1h": {"probability": 0.97}}
    path.write_text(json.dumps({"metrics": [{"metric": "serving_x", "horizons": chances, "expires_at": 50.0}]}))
    assert read_alarms(path, 49.0) == [Alarm("serving_x", 0.97, 50.0)]
    assert read_alarms(path, 50.0) == []
    for damaged in ("", "{", "[]", '{"metrics": [{}]}', '{"metrics": 3}', "\x00\xff"):
        path.write_text(damaged)
        assert read_alarms(path, 0.0) == []
