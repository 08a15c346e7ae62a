"""The kernel alone, fed with anything at all."""

from __future__ import annotations

import ast
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller import checkpoint
from controller.config import ControllerConfig
from controller.decision import Mode, decision_record
from controller.journal import plain
from controller.kernel import Kernel
from controller.opportunities import Kind, Opportunity
from controller.period import Effect, Inputs, Plan, decision_of
from controller.plant_events import Event, EventKind
from controller.prescale import Floor
from controller.replay import replay
from controller.shield import Reason, Refusal
from envs.scaling import KnobScaling
from envs.spec import Role, SystemSpec
from plants import HEALTHY
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
READINGS = np.array([HEALTHY.get(name, 0.0) for name in SPEC.catalogue.names])
ANYTHING = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324]))
LITTLE = ControllerConfig(blind_seconds=5.0, rollbacks_per_hour=1)
"""So that blindness and demotion are met within a few periods."""
NARROW = replace(
    LITTLE, bounds={"serving_batch_size": (2.0, 6.0), "training_cpu_cores": (0.1, 0.3)}, advice_seconds=3.0
)
"""The default setting is outside of it."""


@st.composite
def arrays(draw: st.DrawFn, usual: np.ndarray) -> np.ndarray:
    """The usual values with anything in some places; now and then of a wrong shape."""
    if draw(st.integers(0, 19)) == 0:
        return np.full(draw(st.sampled_from([(), (0,), (3,), (2, len(usual))])), draw(ANYTHING))
    values = usual.copy()
    places = st.integers(0, len(usual) - 1)
    for place, value in draw(st.lists(st.tuples(places, ANYTHING), max_size=2)):
        values[place] = value
    return values


@st.composite
def settings_near(draw: st.DrawFn) -> np.ndarray:
    """Settings, most of them allowed and away from the default."""
    knobs = KnobScaling(SPEC.knobs)
    moved = draw(st.lists(st.floats(-0.3, 0.3), min_size=len(SPEC.knobs), max_size=len(SPEC.knobs)))
    return draw(arrays(knobs.unscale(knobs.scale(SPEC.default_setting) + np.array(moved))))


TEXTS = st.text(max_size=5)
KNOBS = st.sampled_from([*SPEC.knob_names, "", "unknown"])
EVENTS = st.builds(Event, st.sampled_from(EventKind), st.sampled_from([*SPEC.workloads, "nobody"]), TEXTS, KNOBS)
REFUSALS = st.builds(Refusal, st.sampled_from(Reason), TEXTS)
OPPORTUNITIES = st.builds(
    Opportunity, st.sampled_from(Kind), st.sampled_from([*SPEC.workloads]), *[st.floats(0.0, 10.0)] * 3, TEXTS
)
RARELY = st.sampled_from([False] * 9 + [True])
READING = st.one_of(st.just(READINGS), arrays(READINGS))
PERIODS = st.fixed_dictionaries(
    {
        "passed": st.one_of(st.just(1.0), st.just(1.0), ANYTHING),
        "late": st.one_of(st.just(0.0), ANYTHING),
        "values": READING,
        "proposals": st.dictionaries(st.sampled_from(Role), settings_near()),
        "proposal_reasons": st.lists(REFUSALS, max_size=1),
        "events": st.lists(EVENTS, max_size=2),
        "mode": st.sampled_from([Mode.OFF, Mode.SHADOW, *[Mode.ADVISE, Mode.CANARY] * 2, *[Mode.ACT] * 4]),
        "modes": st.dictionaries(st.sampled_from([*SPEC.workloads, "nobody"]), st.sampled_from(Mode), max_size=2),
        "approvals": st.lists(st.sampled_from(["run-0001", "run-0002", "run-0003", "unknown"]), max_size=2),
        "config": st.sampled_from([None] * 8 + [LITTLE, NARROW]),
        "paused": RARELY,
        "killed": RARELY,
        "revert": RARELY,
        "pins": st.dictionaries(KNOBS, ANYTHING, max_size=2),
        "rollback": st.sampled_from([None] * 6 + ["", "unknown"]),
        "no_right": st.sampled_from([""] * 6 + ["the warden is not alive"]),
        "floors": st.dictionaries(KNOBS, st.builds(Floor, ANYTHING, TEXTS), max_size=2),
        "opportunities": st.lists(OPPORTUNITIES, max_size=2),
        "lost": st.sampled_from([""] * 9 + ["the lease ran out"]),
        "before": st.one_of(st.none(), st.none(), settings_near()),
        "after": st.one_of(st.none(), st.none(), settings_near()),
        "journaled": st.sampled_from([True] * 5 + [False]),
        "refusals": st.lists(REFUSALS, max_size=1),
    }
)


class Run:
    """A kernel, what was fed to it, and the records that a journal would hold."""

    def __init__(self) -> None:
        self.kernel = Kernel(SPEC, LITTLE, SPEC.default_setting, "run")
        self.setting, self.now = SPEC.default_setting, 0.0
        self.records: list[dict] = []
        self.write(checkpoint.checkpoint_record(self.kernel, "at"))

    def write(self, record: dict) -> None:
        self.records.append(json.loads(json.dumps(plain(record), allow_nan=False)))

    def period(self, drawn: dict) -> tuple[Inputs, Plan]:
        """One period; what is not drawn follows from the one before."""
        self.now += drawn["passed"] if np.isfinite(self.now + drawn["passed"]) else 1.0
        outside = ("values", "passed", "late", "before", "after", "journaled", "refusals")
        inputs = Inputs(
            self.now + drawn["late"],
            Snapshot(self.now, drawn["values"]),
            self.setting if drawn["before"] is None else drawn["before"],
            policies=dict.fromkeys(drawn["proposals"], "anybody"),
            **{key: value for key, value in drawn.items() if key not in outside},
        )
        plan = self.kernel.decide(inputs)
        wanted = plan.setting if drawn["journaled"] else plan.undone
        after = drawn["after"] if drawn["after"] is not None else wanted if plan.act else plan.inputs.before
        effect = Effect(inputs.now, after, drawn["journaled"], plan.act, drawn["refusals"])
        decision = decision_of(plan, effect, self.kernel.applied(plan, effect), "at", self.kernel.period)
        decision.inputs, decision.effect = inputs.plain(), effect.plain()
        self.setting = decision.setting if np.isfinite(decision.setting).all() else SPEC.default_setting
        self.write(decision_record(SPEC, decision))
        return inputs, plan


@pytest.mark.clause("D7")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(periods=st.lists(PERIODS, min_size=1, max_size=15), cut=st.integers(0, 15))
def test_whatever_comes_in_the_kernel_raises_nothing_and_decides_the_same_again(periods, cut):
    run = Run()
    for number, drawn in enumerate(periods):
        if number == cut:  # from here on without what came before
            run.write(checkpoint.checkpoint_record(run.kernel, "at"))
        run.period(drawn)
    replayed = replay(run.records)
    assert replayed.problem == ""
    assert replayed.periods == len(periods)
    again = replay(run.records[cut + 1 :]) if cut < len(periods) else replayed
    assert (again.problem, again.before) == ("", 0)


QUIET = {
    "passed": 1.0, "late": 0.0, "values": READINGS, "proposals": {}, "mode": Mode.ACT, "before": None, "after": None,
    "journaled": True, "refusals": [],
}  # fmt: skip


def proposal(**wanted: float) -> dict[str, dict[Role, np.ndarray]]:
    setting = SPEC.default_setting
    for name, value in wanted.items():
        setting[SPEC.knob_index(name)] = value
    return {"proposals": {Role.TUNING: setting}}


def contents(part: object) -> dict[str, bytes]:
    own = {name: value for name, value in vars(part).items() if not hasattr(value, "STATE") and name != "_next_id"}
    return {name: pickle.dumps(value) for name, value in own.items()}


@pytest.mark.clause("D7")
@pytest.mark.parametrize("name", ["kernel", "shield", "arbiter", "trials", "adviser", "canary"])
def test_all_that_changes_in_the_kernel_stands_in_its_checkpoints_and_nothing_else(name):
    run, broken = Run(), READINGS.copy()
    broken[SPEC.catalogue.index("serving_within_slo_ratio")] = 0.1
    part = run.kernel if name == "kernel" else getattr(run.kernel, name)
    before, changed = contents(part), set()
    elsewhere = Event(EventKind.CHANGED_ELSEWHERE, "training", "told", "training_batch_size")
    for drawn in [
        *[{}] * 4,  # then one change that is kept while another waits, one that is taken back, and blindness
        proposal(serving_batch_size=16),
        *[proposal(serving_batch_size=24)] * 2,
        *[{}] * 4,
        {"mode": Mode.ADVISE, **proposal(training_batch_size=64)},
        proposal(serving_batch_size=8),
        {"values": broken},
        {"events": [elsewhere], "values": np.full_like(READINGS, np.nan)},
    ]:
        run.period({**QUIET, **drawn})
        changed |= {key for key, content in contents(part).items() if content != before[key]}
    assert changed == set(part.STATE)


@pytest.mark.clause("D7")
def test_what_the_smaller_parts_remember_stands_in_checkpoints_too():
    run, setting = Run(), SPEC.default_setting
    parts = [run.kernel.recovery, run.kernel.infeasible, run.kernel.budgets]
    before = [contents(part) for part in parts]
    wanted = setting + 1.0
    for now in (0.0, 1.0, 2.0):
        run.kernel.recovery.expect(np.array([0]), wanted)
        run.kernel.recovery.read_back(setting, SPEC.knob_names, seen=True)
        run.kernel.infeasible.read_back(setting, wanted, setting, now)
        run.kernel.budgets.count(now, ["serving"], True)
    run.kernel.recovery.expect(np.array([0]), wanted)
    run.kernel.recovery.read_back(setting, SPEC.knob_names, seen=True)
    for part, old in zip(parts, before, strict=True):
        assert {key for key, content in contents(part).items() if content != old[key]} == set(part.STATE)
    memory = json.loads(json.dumps(checkpoint.checkpoint_record(run.kernel, "")))["memory"]
    assert {"recovery", "infeasible", "budgets"} <= set(memory)


@pytest.mark.clause("D1")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(periods=st.lists(PERIODS, min_size=1, max_size=10))
def test_whatever_comes_in_what_is_to_be_applied_is_allowed_or_what_was_found(periods):
    run, low, high = Run(), *(np.array([getattr(knob, side) for knob in SPEC.knobs]) for side in ("low", "high"))
    for drawn in periods:
        _, plan = run.period(drawn)
        if not plan.act:
            continue
        inside = bool(((plan.setting >= low - 1e-9) & (plan.setting <= high + 1e-9)).all())
        assert inside or np.array_equal(plan.setting, run.kernel.found)
        assert not (drawn["killed"] and not plan.restore), "with the kill switch on nothing else is done"


CALM = st.fixed_dictionaries(
    {
        "proposals": st.fixed_dictionaries({role: settings_near() for role in Role}),
        "modes": st.dictionaries(st.sampled_from([*SPEC.workloads, "nobody"]), st.sampled_from(Mode), max_size=3),
        "config": st.sampled_from([None, None, LITTLE, NARROW]),
        "approvals": st.lists(st.sampled_from(["run-0001", "run-0002"]), max_size=1),
        "rollback": st.sampled_from([None] * 6 + [""]),
    }
)
"""What a system that answers well may be asked for."""


@pytest.mark.clause("L12")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(periods=st.lists(CALM, min_size=1, max_size=8))
def test_whatever_is_wanted_nothing_new_is_set_beyond_the_mode_of_a_workload(periods):
    run, cpu = Run(), [SPEC.knob_index(objective.cpu_knob) for objective in SPEC.workloads.values()]
    for drawn in [{}] * 4 + periods:
        _, plan = run.period({**QUIET, **drawn})
        own = [drawn.get("modes", {}).get(knob.workload, Mode.ACT) for knob in SPEC.knobs]
        assert all(own[knob].changes for knob in np.flatnonzero(plan.setting != plan.undone))
        assert all(own[knob] is not Mode.OFF for knob in np.flatnonzero(plan.undone != plan.inputs.before))
        assert plan.setting[cpu].sum() <= max(SPEC.cores, plan.inputs.before[cpu].sum()) + 1e-6


@pytest.mark.clause("D7")
@pytest.mark.parametrize(
    "module", ["kernel", "period", "shield", "arbiter", "trials", "trial", "ladder", "modes", "budgets"]
)
def test_the_kernel_has_no_clock_no_files_no_chance_and_no_log(module):
    tree = ast.parse((Path("controller") / f"{module}.py").read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    ours = {name for name in imported if name.split(".")[0] in ("controller", "envs", "telemetry")}
    allowed = {
        "__future__",
        "collections",
        "collections.abc",
        "dataclasses",
        "enum",
        "math",
        "numpy",
        "numpy.typing",
        "typing",
    }
    assert imported - ours <= allowed
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    assert not [name for name in called if name in ("open", "print") or name.startswith("np.random")]


def test_a_proposal_of_a_wrong_shape_is_told_and_costs_nothing_else():
    kernel = Kernel(SPEC, ControllerConfig(), SPEC.default_setting, "run")
    inputs = Inputs(
        1.0, Snapshot(1.0, READINGS), SPEC.default_setting, Mode.ACT, proposals={Role.TUNING: np.zeros((2, 2))}
    )
    plan = kernel.decide(inputs)
    assert [refusal.reason for refusal in plan.reasons] == [Reason.MALFORMED]
    assert not plan.act


def test_a_setting_that_cannot_be_read_back_opens_no_trial():
    run = Run()
    for _ in range(3):
        run.kernel.applied(plan := decide(run, {}), Effect(run.now, plan.inputs.before))
    plan = decide(run, {"serving_batch_size": 16.0})
    assert plan.act
    unknown = np.full(len(SPEC.knobs), np.nan)
    aftermath = run.kernel.applied(plan, Effect(run.now, unknown, attempted=True))
    assert aftermath.opened == []
    assert "cannot be read back" in aftermath.reasons[0].detail


def decide(run: Run, wanted: dict[str, float]) -> Plan:
    run.now += 1.0
    proposals = proposal(**wanted) if wanted else {}
    return run.kernel.decide(Inputs(run.now, Snapshot(run.now, READINGS), SPEC.default_setting, Mode.ACT, **proposals))


@pytest.mark.clause("A4")
def test_a_value_that_somebody_else_sets_between_reading_and_writing_is_no_change_of_ours_and_never_taken_back():
    run, knob = Run(), SPEC.knob_index("serving_batch_size")
    for drawn in [*[{}] * 4, proposal(serving_batch_size=16)]:
        other = None
        if drawn:  # compare-and-set leaves his value where it is
            other = SPEC.default_setting
            other[knob] = 60
        run.period({**QUIET, **drawn, "after": other})
    assert run.kernel.trials.running == {}
    told = {"events": [Event(EventKind.CHANGED_ELSEWHERE, "serving", "told", "serving_batch_size")]}
    _, plan = run.period({**QUIET, **told})
    assert plan.setting[knob] == 60


@pytest.mark.clause("A4")
def test_a_trial_ends_when_somebody_else_sets_its_knob_and_takes_nothing_back():
    run, knob, broken = Run(), SPEC.knob_index("serving_batch_size"), READINGS.copy()
    broken[SPEC.catalogue.index("serving_within_slo_ratio")] = 0.1
    for drawn in [*[{}] * 4, proposal(serving_batch_size=16)]:
        run.period({**QUIET, **drawn})
    assert list(run.kernel.trials.running) == ["serving"]
    other = run.setting.copy()
    other[knob] = 60
    elsewhere = Event(EventKind.CHANGED_ELSEWHERE, "serving", "told", "serving_batch_size")
    for drawn in [{"events": [elsewhere]}, {}, {}]:
        _, plan = run.period({**QUIET, **drawn, "values": broken, "before": other})
        assert plan.setting[knob] == 60
    assert run.kernel.trials.running == {}


def test_inputs_and_configurations_of_before_workloads_had_modes_are_understood():
    inputs = Inputs(1.0, Snapshot(1.0, READINGS), SPEC.default_setting, Mode.ACT, config=LITTLE)
    record = inputs.plain()
    del record["config"]["modes"]
    assert "modes" not in record
    again = Inputs.of(record)
    assert (again.modes, again.config) == ({}, LITTLE)
