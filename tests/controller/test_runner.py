import itertools
import json
import os
import signal
import threading
import time

import pytest

from controller import commands
from controller.commands import CommandError
from controller.config_file import ConfigFile
from controller.journal import Journal
from controller.loop import ControllerConfig
from controller.operation import Operation
from controller.own_cost import Limits
from controller.replay import audit
from controller.runner import load_policies, run_controller
from controller.shield import Reason, ShieldConfig
from controller.trial import TrialConfig
from envs.spec import Role, SystemSpec
from refusing import make_refusing

__all__ = ["make_refusing"]

PERIOD_SECONDS = 0.02


class Asks:
    """Asks for a batch size in every period."""

    name = "asks"

    def __init__(self, task, size):
        self.task, self.size = task, size

    def act(self, observation):
        setting = self.task.setting(observation)
        setting[self.task.spec.knob_index("serving_batch_size")] = self.size
        return self.task.encode(setting)

    def reset(self):
        pass


@pytest.fixture
def fast_spec(spec):
    """The reference with a period that a test can wait for."""
    return SystemSpec.model_validate({**spec.model_dump(mode="json"), "control_period_seconds": PERIOD_SECONDS})


@pytest.fixture
def healthy(system):
    """Every metric that a verdict needs; counters that stand still are an idle system, which is a healthy one."""
    counters = {
        "serving": [
            "serving_requests_total", "serving_batches_total", "serving_batched_requests_total",
            "serving_received_bytes_total", "serving_sent_bytes_total", 'serving_latency_seconds_bucket{le="0.15"}',
            'serving_latency_seconds_bucket{le="+Inf"}', "serving_queue_requests",
            *(f'serving_responses_total{{outcome="{outcome}"}}' for outcome in ("ok", "rejected", "timeout", "error")),
        ],
        "training": [
            f"training_{name}" for name in (
                "samples_total", "goodput_samples_total", "demand_samples_total", "backlog_samples",
                "checkpoint_bytes_total",
            )
        ],
        "ingest": [
            f"ingest_{name}" for name in (
                "events_received_total", "events_written_total", "backlog_events", "lag_seconds",
                "written_bytes_total", "received_bytes_total",
            )
        ],
        "load": ["load_correct_total", "load_answered_total"],
    }  # fmt: skip
    for name, component in system.items():
        component.metrics |= dict.fromkeys(counters[name], 0.0) | {"process_resident_memory_bytes": 1e8}
    system["serving"].metrics["serving_model_trained_timestamp_seconds"] = time.time() - 5.0
    system["load"].metrics |= {"load_correct_total": 5.0, "load_answered_total": 5.0}
    answer = system["load"].answer

    def growing(method, path, body):
        for name in ("load_correct_total", "load_answered_total"):
            system["load"].metrics[name] += 1.0
        return answer(method, path, body)

    system["load"].answer = growing
    return system


def run(fast_spec, system, state_dir, after_step, mode="act", periods=200, limits=None, operation=None, shield=None):
    """Run until `after_step(controller, decision)` returns something true."""
    from envs.task import Task

    stop, seen = threading.Event(), []
    deadline = threading.Timer(60.0, stop.set)  # a loop that fails in every period never gets to `after_step`
    deadline.daemon = True
    deadline.start()

    def step(controller, decision):
        seen.append(decision)
        if after_step(controller, decision) or len(seen) >= periods:
            stop.set()

    run_controller(
        fast_spec,
        {name: component.entry for name, component in system.items()},
        {Role.TUNING: Asks(Task(fast_spec, Role.TUNING), 16)},
        state_dir,
        mode=mode,
        stop=stop,
        after_step=step,
        config=ControllerConfig(shield=shield or ShieldConfig(), trial=TrialConfig(margin=10.0)),
        operation=operation,
        limits=limits,
    )
    deadline.cancel()
    return seen


def test_controller_changes_a_live_system_and_puts_everything_back(fast_spec, healthy, tmp_path):
    found = []

    def after_step(controller, decision):
        found.append(healthy["serving"].knobs["serving_batch_size"])
        return any(verdict.outcome == "keep" for verdict in decision.verdicts)

    decisions = run(fast_spec, healthy, tmp_path, after_step)
    assert found[-1] == 16
    assert healthy["serving"].knobs["serving_batch_size"] == 8
    opened = [trial.id for decision in decisions for trial in decision.opened]
    assert "serving_batch_size: 8 -> 16" in commands.explain(tmp_path, opened[0])
    kinds = [record["kind"] for record in Journal.read(tmp_path / "journal.jsonl")]
    assert kinds.count("decision") == len(decisions)
    assert kinds.count("intent") == sum(decision.changed for decision in decisions)


@pytest.mark.clause("A5")
def test_a_controller_outranks_those_that_its_components_have_seen(fast_spec, healthy, tmp_path, make_refusing):
    own = {k.name: k.default for k in fast_spec.knobs if k.workload == "ingest" and k.actuator == "component"}
    ingest = healthy["ingest"] = make_refusing("ingest", **own)
    knob, value = next(iter(own.items()))
    ingest.ask("PATCH", {}, Trimtab_Fence="40")  # by a controller with another state directory
    commands.set_pins(tmp_path, {knob: value + 1})
    seen = []

    def after_step(controller, decision):
        seen.append(ingest.knobs[knob])
        return decision.changed

    run(fast_spec, healthy, tmp_path, after_step)
    assert seen[-1] == value + 1
    assert ingest.knobs[knob] == value, "the end took it back, by a right that is newer still"
    assert ingest.knobs.fence > 41
    assert int((tmp_path / "fence").read_text()) == ingest.knobs.fence


def test_status_tells_mode_setting_and_whether_the_process_lives(fast_spec, healthy, tmp_path):
    run(fast_spec, healthy, tmp_path, lambda controller, decision: True, mode="shadow")
    status = commands.status(tmp_path)
    assert (status["mode"], status["pid"], status["running"]) == ("shadow", os.getpid(), True)
    assert status["setting"]["serving_batch_size"] == 8


def test_figures_and_own_cost_stand_in_the_state_directory(fast_spec, healthy, tmp_path):
    run(fast_spec, healthy, tmp_path, lambda controller, decision: decision.changed)
    figures = (tmp_path / "metrics.prom").read_text()
    assert 'trimtab_controller_process_resident_memory_bytes{process="warden"}' in figures
    assert "trimtab_controller_opportunity_to_applied_seconds_count 1.0" in figures
    assert commands.status(tmp_path)["resident_bytes"]["controller"] > 1e6
    assert commands.status(tmp_path)["cpu_used_cores"] >= 0


@pytest.mark.clause("L9")
def test_a_controller_that_costs_too_much_says_so(fast_spec, healthy, tmp_path):
    seen = []

    def after_step(controller, decision):
        seen.append("own cost" in controller.conditions.active)
        return True

    run(fast_spec, healthy, tmp_path, after_step, limits=Limits(resident_bytes=1))
    assert seen == [True]
    assert "MiB resident, at most 0" in commands.status(tmp_path)["conditions"]["own cost"]


def test_pause_file_stops_changes_and_resume_ends_it(fast_spec, healthy, tmp_path):
    commands.pause(tmp_path)

    steps = itertools.count(1)

    def after_step(controller, decision):
        if next(steps) == 5 and controller.paused and decision.time:
            commands.resume(tmp_path)
        return decision.changed

    decisions = run(fast_spec, healthy, tmp_path, after_step)
    assert decisions[-1].changed
    assert not any(decision.changed for decision in decisions[:-1])


def test_mode_pins_and_rollback_are_obeyed_while_running(fast_spec, healthy, tmp_path):
    seen = []

    def after_step(controller, decision):
        seen.append(controller.mode)
        if len(seen) == 1:
            commands.set_mode(tmp_path, "act")
            commands.set_pins(tmp_path, {"serving_batch_size": 5})
        if len(seen) == 5:
            seen.append(healthy["serving"].knobs["serving_batch_size"])
            commands.request_rollback(tmp_path)
        return any(reason.reason == "override" for reason in decision.reasons)

    decisions = run(fast_spec, healthy, tmp_path, after_step, mode="shadow")
    assert 5 in seen
    assert len(decisions) < 20


@pytest.mark.clause("L12")
def test_a_change_that_waits_is_listed_and_made_when_it_is_approved(fast_spec, healthy, tmp_path):
    approved = []

    def after_step(controller, decision):
        listed = commands.status(tmp_path)["advice"]
        if listed and not approved:
            assert listed[0]["knobs"] == {"serving_batch_size": [8.0, 16.0]}
            approved.append(listed[0]["id"])
            with pytest.raises(CommandError, match=f"no change 'x' waits for approval; waiting are: {approved[0]}"):
                commands.approve(tmp_path, "x")
            commands.approve(tmp_path, approved[0])
        return decision.changed

    decisions = run(fast_spec, healthy, tmp_path, after_step, mode="advise")
    assert [trial.id for trial in decisions[-1].opened] == approved
    assert not any(decision.changed for decision in decisions[:-1])
    assert not list(tmp_path.glob("approve.*"))


@pytest.mark.clause("L5")
def test_a_hangup_signal_reads_the_configuration_again(fast_spec, healthy, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("rollbacks_per_hour = 3")
    stamp = path.stat()
    found = []

    def after_step(controller, decision):
        found.append(controller.kernel.config.rollbacks_per_hour)
        if len(found) == 2:
            path.write_text("rollbacks_per_hour = 4")
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        if len(found) == 4:
            os.kill(os.getpid(), signal.SIGHUP)
        return len(found) == 6

    run(fast_spec, healthy, tmp_path, after_step, operation=Operation(ConfigFile(path, fast_spec)))
    assert found == [3, 3, 3, 3, 4, 4]


@pytest.mark.clause("D2")
def test_a_restart_does_not_refill_the_flap_budget(fast_spec, healthy, tmp_path):
    def flapping(decision):
        return any(reason.reason is Reason.FLAPPING for reason in decision.reasons)

    changed = []
    for _ in range(3):
        decisions = run(
            fast_spec,
            healthy,
            tmp_path,
            lambda controller, decision: decision.changed or flapping(decision),
            shield=ShieldConfig(reversals_per_hour=0.0, reversal_burst=2.0, cooldown_seconds=0.0),
        )
        assert healthy["serving"].knobs["serving_batch_size"] == 8
        changed.append(decisions[-1].changed)
    assert changed == [True, True, False], "raised, restored at the end, raised, restored: two reversals"
    assert flapping(decisions[-1])
    links, replayed = audit(tmp_path)
    assert (links.problem, replayed.problem, replayed.segments) == ("", "", 3)


def test_mode_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match="autopilot"):
        commands.set_mode(tmp_path, "autopilot")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"serving_batch_size": "many"}'])
def test_broken_pins_leave_the_former_ones_in_force(fast_spec, healthy, tmp_path, content):
    (tmp_path / "pins.json").write_text(content)
    run(fast_spec, healthy, tmp_path, lambda controller, decision: True)
    assert commands.status(tmp_path)["pins"] == {}


def test_command_without_a_state_directory_says_what_to_do(tmp_path):
    with pytest.raises(CommandError, match="made when the controller is started"):
        commands.pause(tmp_path / "none")
    with pytest.raises(CommandError, match="no controller has run"):
        commands.status(tmp_path)
    with pytest.raises(CommandError, match="no optimization 'x'"):
        commands.explain(tmp_path, "x")


def test_status_of_a_controller_that_was_killed_is_not_running(tmp_path):
    (tmp_path / "status.json").write_text(json.dumps({"pid": os.getpid(), "process_start": 1}))
    assert commands.status(tmp_path)["running"] is False


def test_role_without_an_artifact_is_driven_by_its_fallback(spec, tmp_path):
    names = {role: policy.name for role, policy in load_policies(tmp_path, spec).items()}
    assert all(name.startswith("fallback") for name in names.values())
