"""What may be taken from a workload, and when the fallback takes over."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import checkpoint
from controller.config import ControllerConfig
from controller.decision import Mode, decision_record
from controller.explanation import explain
from controller.journal import plain
from controller.kernel import Kernel
from controller.period import Effect, Inputs, decision_of
from controller.recoverability import STEP, Recoverability, RecoverabilityConfig
from controller.replay import replay
from controller.shield import Reason, Shield
from controller.takeover import Takeover
from envs.scaling import KnobScaling
from envs.spec import Role, SystemSpec
from plants import HEALTHY
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
CPU = SPEC.knob_index("serving_cpu_cores")
SCALING = KnobScaling(SPEC.knobs)
NAMES = SPEC.catalogue.names
NOWHERE = np.zeros(len(SPEC.knobs), dtype=bool)
USED = {"serving_cpu_used_cores": 0.4, "ingest_cpu_used_cores": 0.05, "training_cpu_used_cores": 0.3}
REACTION = 3


def snapshot(time: float, **values: float) -> Snapshot:
    known = HEALTHY | USED | values
    return Snapshot(time, np.array([known.get(name, 0.0) for name in NAMES]))


def learned(config: RecoverabilityConfig | None = None, loads: list[float] | None = None) -> Recoverability:
    """After periods in which serving had these loads, and needed 4 ms of CPU for each request."""
    found = Recoverability(SPEC, config or RecoverabilityConfig(), REACTION)
    for period, load in enumerate([100.0] * 8 if loads is None else loads):
        rates = dict.fromkeys(("serving_arrivals_per_second", "serving_goodput_per_second"), load)
        found.observe(snapshot(float(period), **rates, serving_cpu_used_cores=0.004 * load))
    return found


def setting(**knobs: float) -> np.ndarray:
    found = SPEC.default_setting
    for name, value in knobs.items():
        found[SPEC.knob_index(name)] = value
    return found


def kernel_after(config: ControllerConfig, wanted: float, start: np.ndarray) -> tuple[Kernel, list[dict]]:
    """A kernel after some periods in which serving's grant was to become another one, and its journal."""
    kernel, records = Kernel(SPEC, config, start, "run"), []
    records.append(json.loads(json.dumps(plain(checkpoint.checkpoint_record(kernel, "")))))
    less, before = start.copy(), start
    less[CPU] = wanted
    for period in range(9):
        inputs = Inputs(
            float(period), snapshot(float(period)), before, Mode.ACT,
            {Role.ALLOCATION: less if period > 4 else start}, {Role.ALLOCATION: "greedy"},
        )  # fmt: skip
        inputs = Inputs.of(json.loads(json.dumps(inputs.plain())))
        plan = kernel.decide(inputs)
        effect = Effect(float(period), plan.setting, attempted=plan.act)
        decision = decision_of(plan, effect, kernel.applied(plan, effect), "", kernel.period)
        decision.inputs, decision.effect = inputs.plain(), effect.plain()
        records.append(json.loads(json.dumps(plain(decision_record(SPEC, decision)))))
        before = plan.setting
    return kernel, records


@pytest.mark.clause("D5")
def test_what_could_not_be_made_good_is_not_taken():
    """By hand: a need of 0.4 cores may become 0.72; 0.5 are given back, and no more are free."""
    full = setting(serving_cpu_cores=0.5, training_cpu_cores=0.95, ingest_cpu_cores=0.05)
    found = learned(RecoverabilityConfig(quantile=0.999999))
    taken = full.copy()
    taken[CPU] = 0.2
    allowed, lines = found.held(taken, full, SCALING.high, NOWHERE)
    assert allowed[CPU] == full[CPU]
    assert [line.partition(" held")[0] for line in lines] == ["serving_cpu_cores: 0.5 -> 0.2"]


@pytest.mark.clause("D5")
def test_what_free_cores_make_good_in_time_may_be_taken():
    free = setting(serving_cpu_cores=0.5, training_cpu_cores=0.1, ingest_cpu_cores=0.05)
    taken = free.copy()
    taken[CPU] = 0.2
    assert learned().held(taken, free, SCALING.high, NOWHERE) == (pytest.approx(taken), [])
    hasty = learned(RecoverabilityConfig(seconds=1.0))  # of 1.35 cores, none in time
    assert hasty.held(taken, free, SCALING.high, NOWHERE)[0][CPU] > 0.2


@pytest.mark.clause("D5")
def test_of_two_who_are_short_the_policy_says_which_gets_it():
    """By hand: serving may need 0.72 of its 0.5 cores, and is to get them; ingest gives what
    is missing, which it would keep if nobody were short."""
    now = setting(serving_cpu_cores=0.5, training_cpu_cores=0.92, ingest_cpu_cores=0.08)
    wanted = setting(serving_cpu_cores=1.2, training_cpu_cores=0.92, ingest_cpu_cores=0.03)
    found, ingest = learned(RecoverabilityConfig(quantile=0.999999)), SPEC.knob_index("ingest_cpu_cores")
    alone = wanted.copy()
    alone[CPU] = now[CPU]
    assert found.held(alone, now, SCALING.high, NOWHERE)[0][ingest] == now[ingest]
    assert found.held(wanted, now, SCALING.high, NOWHERE)[0][ingest] == wanted[ingest]


@pytest.mark.clause("D5")
def test_the_floor_is_that_of_the_calculation_by_hand():
    """A need of 0.54 at worst; 0.6 given back, at most 0.65 are left: 0.06 and three times 0.11 are made good."""
    current = setting(serving_cpu_cores=0.6, training_cpu_cores=0.8, ingest_cpu_cores=0.05)
    found = learned(RecoverabilityConfig(seconds=4.0))
    found._margin[:] = math.log(0.54 / 0.4)
    floor = found.floors(current, current, SCALING.high)[0]
    assert floor == pytest.approx(0.54 - (0.06 + 3 * 0.11) / REACTION)


@pytest.mark.clause("D5")
@given(
    st.lists(st.floats(1.0, 900.0), min_size=0, max_size=12),
    st.lists(st.floats(-1.0, 1.0), min_size=len(SPEC.knobs), max_size=len(SPEC.knobs)),
    st.lists(st.floats(-1.0, 1.0), min_size=len(SPEC.knobs), max_size=len(SPEC.knobs)),
    st.floats(1.0, 60.0),
)
@settings(max_examples=60)
def test_whatever_is_allowed_comes_back_under_the_model_and_raising_is_never_held(loads, now, wanted, seconds):
    """Played period by period, not by the formula: shortage for a reaction time, then rollback and raises."""
    current, asked = SCALING.unscale(np.array(now)), SCALING.unscale(np.array(wanted))
    found = learned(RecoverabilityConfig(seconds=seconds), loads)
    allowed, lines = found.held(asked, current, SCALING.high, NOWHERE)
    cores = [SPEC.knob_index(o.cpu_knob) for o in SPEC.workloads.values()]
    if current[cores].sum() > SPEC.cores:
        return
    assert (allowed >= np.minimum(asked, current) - 1e-12).all()
    assert (allowed[asked >= current] == asked[asked >= current]).all()
    assert (allowed != asked).sum() == len(lines)
    owned = [SPEC.knob_index(name) for name in ("serving_cpu_cores", "ingest_cpu_cores")]
    needed = {i: min(asked[i], current[i]) for i in cores}  # of each, what it needs at worst and is to get
    for knob, worst in zip(owned, found.worst, strict=True):
        needed[knob] = np.clip(worst, current[knob], asked[knob]) if asked[knob] > current[knob] else allowed[knob]
    for knob, worst in zip(owned, found.worst, strict=True):
        if allowed[knob] >= current[knob]:
            continue
        others = sum(max(allowed[i], current[i]) for i in cores if i != knob)
        backlog, grant = REACTION * max(worst - allowed[knob], 0.0), current.copy()
        for _ in range(max(1, int(seconds))):
            backlog = max(0.0, backlog + worst - grant[knob])
            grant = SCALING.unscale(SCALING.scale(grant) + [k.max_step for k in SPEC.knobs])
            grant[knob] = max(current[knob], min(grant[knob], SPEC.cores - others))
        another_is_short = sum(needed.values()) >= SPEC.cores - 1e-9
        assert backlog <= 1e-6 or another_is_short


@pytest.mark.clause("D5")
@settings(max_examples=20)
@given(st.lists(st.floats(1.0, 900.0), min_size=30, max_size=100), st.sampled_from([0.8, 0.95, 0.99]))
def test_needs_exceed_what_was_reckoned_with_no_more_often_than_promised_whatever_the_load_does(loads, quantile):
    found, missed, foretold = Recoverability(SPEC, RecoverabilityConfig(quantile=quantile), REACTION), 0, []
    for period, load in enumerate(loads):
        margin = found._margin[0]
        rates = dict.fromkeys(("serving_arrivals_per_second", "serving_goodput_per_second"), load)
        found.observe(snapshot(float(period), **rates, serving_cpu_used_cores=0.004 * load))
        foretold.append(found._needs[-1][0])
        missed += period >= REACTION and math.log(foretold[-1] / foretold[-1 - REACTION]) > margin
    largest = math.log(SCALING.high[CPU] / SCALING.low[CPU])
    assert missed <= (1.0 - quantile) * (len(loads) - REACTION) + (largest + STEP) / STEP


@pytest.mark.clause("D5")
def test_below_its_memory_nothing_is_taken_since_who_was_killed_is_not_back_in_time():
    spec = SystemSpec.load("host")
    found = Recoverability(spec, RecoverabilityConfig(), REACTION)
    values = np.array([(HEALTHY | USED).get(name, 0.0) for name in spec.catalogue.names])
    for period in range(8):
        found.observe(Snapshot(float(period), values))
    knob, current = spec.knob_index("training_memory_limit_bytes"), spec.default_setting
    taken = current.copy()
    taken[knob] = 4e8
    allowed, lines = found.held(taken, current, KnobScaling(spec.knobs).high, np.zeros(len(current), dtype=bool))
    assert allowed[knob] == pytest.approx(HEALTHY["training_memory_bytes"] * np.exp(found._margin[-2]))
    assert "training_memory_limit_bytes" in lines[0]


@pytest.mark.clause("D5")
def test_a_grant_that_can_only_be_given_back_at_an_idle_moment_is_not_taken_below_the_need():
    knobs = [k.model_copy(update={"cost": "drain"}) if k.name == "serving_cpu_cores" else k for k in SPEC.knobs]
    serving = SPEC.workloads["serving"].model_copy(update={"in_flight": "serving_queue_requests"})
    spec = SPEC.model_copy(update={"knobs": knobs, "workloads": {**SPEC.workloads, "serving": serving}})
    free = setting(serving_cpu_cores=1.0, training_cpu_cores=0.1, ingest_cpu_cores=0.05)
    found = Recoverability(spec, RecoverabilityConfig(), REACTION)
    for period in range(3):
        found.observe(snapshot(float(period)))
    assert found.floors(free, free, SCALING.high)[0] == pytest.approx(found.worst[0]) == pytest.approx(0.72)


@pytest.mark.clause("D5")
@pytest.mark.parametrize("readings", [{}, {"serving_arrivals_per_second": float("nan")}], ids=["none", "missing"])
def test_nothing_is_taken_from_whom_nothing_is_known(readings):
    found = Recoverability(SPEC, RecoverabilityConfig(), REACTION)
    if readings:
        found.observe(snapshot(0.0, **readings))
    free = setting(serving_cpu_cores=1.0, training_cpu_cores=0.1, ingest_cpu_cores=0.05)
    less = free.copy()
    less[CPU] = 0.9
    assert found.held(less, free, SCALING.high, NOWHERE)[0][CPU] == 1.0


def test_a_workload_without_an_slo_of_its_own_may_be_taken_from():
    less = setting(training_cpu_cores=0.05)
    assert learned().held(less, SPEC.default_setting, SCALING.high, NOWHERE) == (pytest.approx(less), [])


@pytest.mark.clause("D4")
def test_an_overbooked_host_is_still_brought_into_its_limits():
    over = setting(serving_cpu_cores=1.3, training_cpu_cores=1.0, ingest_cpu_cores=0.6)
    within = setting(serving_cpu_cores=0.5, training_cpu_cores=0.5, ingest_cpu_cores=0.5)
    shield = Shield(SPEC, recoverability=learned())
    allowed, reasons = shield.check(within, over, snapshot(100.0), 100.0)
    assert allowed[[CPU, CPU + 1, CPU + 2]].sum() <= SPEC.cores + 1e-9
    assert Reason.UNRECOVERABLE not in [reason.reason for reason in reasons]


@pytest.mark.clause("D5")
def test_the_kernel_holds_a_move_with_a_reason_of_its_own_and_tells_it_in_explain():
    full = setting(serving_cpu_cores=0.5, training_cpu_cores=0.95, ingest_cpu_cores=0.05)
    kernel, records = kernel_after(ControllerConfig(), 0.2, full)
    told = [reason for record in records for reason in record.get("reasons", [])]
    assert [reason["detail"] for reason in told if reason["reason"] == "unrecoverable"]
    assert kernel.settled[CPU] == 0.5
    free = setting(serving_cpu_cores=1.2, training_cpu_cores=0.2, ingest_cpu_cores=0.05)
    _, records = kernel_after(ControllerConfig(recoverability=RecoverabilityConfig(seconds=1.0)), 0.2, free)
    opened = [change["id"] for record in records for change in record.get("opened", [])]
    assert "unrecoverable: serving_cpu_cores" in explain(records, opened[0])


@pytest.mark.clause("D7")
def test_what_was_learned_is_in_the_checkpoint_and_replays_bit_for_bit():
    start = setting(serving_cpu_cores=1.2, training_cpu_cores=0.2, ingest_cpu_cores=0.05)
    kernel, records = kernel_after(ControllerConfig(), 0.2, start)
    assert replay(records).problem == ""
    again = checkpoint.kernel_of(json.loads(json.dumps(plain(checkpoint.checkpoint_record(kernel, "")))))
    assert again.recoverability.worst.tobytes() == kernel.recoverability.worst.tobytes()
    assert checkpoint.memory(again) == checkpoint.memory(kernel)


@pytest.mark.clause("D7")
def test_the_journal_of_a_controller_that_knew_no_floors_still_replays():
    start = setting(serving_cpu_cores=0.5, training_cpu_cores=0.95, ingest_cpu_cores=0.05)
    off = ControllerConfig(recoverability=RecoverabilityConfig(enabled=False))
    kernel, records = kernel_after(off, 0.2, start)
    records.append(json.loads(json.dumps(plain(checkpoint.checkpoint_record(kernel, "")))))
    for record in (records[0], records[-1]):
        del record["config"]["recoverability"], record["memory"]["recoverability"]
    found = replay(records)
    assert (found.problem, found.periods, found.checkpoints) == ("", 9, 1)


def test_a_workload_is_starved_when_its_slo_is_broken_and_it_needs_all_its_cpu():
    tight = setting(serving_cpu_cores=0.42)
    assert learned().starved({"serving"}, tight) == ["serving"]
    assert learned().starved({"ingest"}, tight) == []
    assert learned().starved({"serving"}, setting(serving_cpu_cores=0.8)) == []


CONFIG = RecoverabilityConfig(takeover_seconds=5.0, longest_takeover_seconds=20.0)


@pytest.mark.clause("D5")
def test_the_fallback_takes_over_after_the_reaction_time_and_longer_each_time():
    takeover = Takeover(CONFIG, REACTION)
    taken = [bool(takeover.reason(["serving"], float(now))) for now in range(60)]
    assert taken[:2] == [False, False]
    assert all(taken[2:])
    quiet = Takeover(CONFIG, REACTION)
    lengths = []
    for begin in (0, 10, 30, 200):  # the third begins soon after the second, the last long after all
        asked = [quiet.reason(["serving"] if second < REACTION else [], float(begin + second)) for second in range(25)]
        lengths.append(sum(bool(reason) for reason in asked))
    assert lengths[0] == 5
    assert lengths[-1] == 5
    assert max(lengths[1:3]) > 5


@pytest.mark.parametrize("config", [replace(CONFIG, takeover_seconds=0.0), replace(CONFIG, enabled=False)])
def test_turned_off_the_fallback_never_takes_over(config):
    takeover = Takeover(config, REACTION)
    assert not any(takeover.reason(["serving"], float(now)) for now in range(9))
