"""Policies in a process of their own: stopped, killed, slow, broken, and what the loop makes of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from agents.artifact import load_shipped, shipped_directory
from controlled import ScriptedPolicy
from controller.decision import Decision
from controller.loop import Controller
from controller.policy_host import HostConfig, HostedPolicy, PolicyHost, PolicyHostError
from controller.shield import Reason
from envs.spec import Role, SystemSpec
from envs.task import Task
from plants import FakeClock

DEADLINE = 0.1
"""For an answer that does not come."""
PATIENT = 30.0
"""For one that comes, however slow the machine is."""
GARBAGE = """
import os, socket, struct, sys
connection = socket.socket(fileno=int(sys.argv[-1]))
connection.recv(1 << 18)
while packet := connection.recv(1 << 18):
    number, role, wanted = struct.unpack("!QBB", packet[:10])
    connection.send(packet[:9] + bytes(1) if wanted == 2 else {answer})
"""
Make = Callable[..., PolicyHost]


@pytest.fixture
def make_host(spec: SystemSpec) -> Iterator[Make]:
    made: list[PolicyHost] = []

    def make(program: str | None = None, deadline: float = PATIENT, failures: int = 3, **named: object) -> PolicyHost:
        command = None if program is None else [sys.executable, "-S", "-c", program]
        directories = {role: shipped_directory(role) for role in (Role.ALLOCATION, Role.TUNING)}
        config = HostConfig(deadline_seconds=deadline, failures=failures, ready_seconds=60.0)
        made.append(PolicyHost(spec, directories, config, command=command, **named))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for host in made:
        host.close()


def observation(spec: SystemSpec) -> np.ndarray:
    return np.linspace(-1.0, 1.0, Task(spec, Role.TUNING).n_observation, dtype=np.float32)


@pytest.mark.clause("D6")
def test_a_policy_acts_the_same_in_its_process(make_host: Make, spec: SystemSpec) -> None:
    host = make_host()
    host.wait_ready()
    expected = load_shipped(Role.TUNING, spec).act(observation(spec))
    assert HostedPolicy(host, Role.TUNING, "ppo").act(observation(spec)).tolist() == expected.tolist()


@pytest.mark.clause("D6")
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_policy_process_that_is_stopped_or_killed_is_given_up_by_the_deadline(
    make_host: Make, spec: SystemSpec, number: signal.Signals
) -> None:
    clock = FakeClock()
    host = make_host(deadline=DEADLINE, failures=1000, clock=clock)
    host.wait_ready()
    os.kill(host.pid, number)

    def seconds_to_give_up() -> float:
        clock.advance(1.0)
        begin = time.monotonic()
        with pytest.raises(PolicyHostError, match=r"no answer|has ended|Broken pipe|reset"):
            host.ask(Role.TUNING, observation(spec))
        return time.monotonic() - begin

    # A busy machine may stretch one wait or another, a wait that is too long by itself stays so.
    assert any(seconds_to_give_up() < DEADLINE + 0.1 for _ in range(20))


@pytest.mark.clause("D6")
def test_after_three_failures_it_is_asked_no_more_and_then_again_with_a_new_process(
    make_host: Make, spec: SystemSpec
) -> None:
    clock = FakeClock()
    host = make_host(clock=clock)
    host.wait_ready()
    first = host.pid
    os.kill(first, signal.SIGKILL)
    for _ in range(3):
        clock.advance(2.0 * PATIENT + 1.0)
        with pytest.raises(PolicyHostError):
            host.ask(Role.TUNING, observation(spec))
    clock.advance(1.0)
    with pytest.raises(PolicyHostError, match=r"has failed 3 times; asked again in 4.0 s"):
        host.ask(Role.TUNING, observation(spec))
    assert host.pid != first
    host.wait_ready()
    clock.advance(5.1)
    assert np.isfinite(host.ask(Role.TUNING, observation(spec))).all()


@pytest.mark.clause("D6")
def test_a_period_waits_for_one_deadline_and_not_for_one_of_each_role(make_host: Make, spec: SystemSpec) -> None:
    host = make_host(deadline=DEADLINE, clock=FakeClock())
    host.wait_ready()
    os.kill(host.pid, signal.SIGSTOP)
    for role, told in ((Role.ALLOCATION, "no answer of the policy process within 0.1 s"), (Role.TUNING, "asked again")):
        with pytest.raises(PolicyHostError, match=told):
            host.ask(role, observation(spec))


@pytest.mark.clause("D6")
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("b'x'", "1 bytes that are no numbers"),
        ("os.urandom(100000)", "100000 bytes that are no numbers"),
        ("struct.pack('!QBB', number, role, 1)", "the policy failed"),
        ("struct.pack('!QBB', number - 1, role, 0)", "no answer of the policy process within 0.1 s"),
    ],
)
def test_what_is_no_answer_is_told_in_one_line(make_host: Make, spec: SystemSpec, answer: str, message: str) -> None:
    host = make_host(GARBAGE.format(answer=answer), DEADLINE if "no answer" in message else PATIENT)
    host.wait_ready()
    with pytest.raises(PolicyHostError, match=message):
        host.ask(Role.TUNING, observation(spec))


@pytest.mark.clause("D6")
@pytest.mark.parametrize("numbers", [1, 4000])
def test_the_wrong_number_of_numbers_means_fallback_in_the_same_period(
    make_host: Make, controller: Controller, spec: SystemSpec, fallback: ScriptedPolicy, numbers: int
) -> None:
    host = make_host(GARBAGE.format(answer=f"packet[:9] + bytes(1) + bytes({8 * numbers})"))
    host.wait_ready()
    controller.proposer.policies[Role.TUNING] = HostedPolicy(host, Role.TUNING, "hosted")
    calls = fallback.calls
    decision = controller.step()
    assert fallback_reasons(decision) == [f"tuning: hosted returned shape ({numbers},), not (9,)"]
    assert fallback.calls == calls + 1


@pytest.mark.clause("D6")
def test_a_stopped_policy_means_fallback_in_the_same_period(
    make_host: Make, controller: Controller, fallback: ScriptedPolicy
) -> None:
    host = make_host(deadline=DEADLINE)
    host.wait_ready()
    os.kill(host.pid, signal.SIGSTOP)
    controller.proposer.policies[Role.TUNING] = HostedPolicy(host, Role.TUNING, "hosted")
    calls = fallback.calls
    decision = controller.step()
    assert fallback.calls == calls + 1
    assert "no answer of the policy process within 0.1 s" in fallback_reasons(decision)[0]


def test_the_process_ends_with_the_controller(make_host: Make) -> None:
    host = make_host()
    host.wait_ready()
    process = host._process
    assert process is not None
    assert host._socket is not None
    host._socket.close()  # as the kernel does when the controller is killed
    assert process.wait(60) == 0


def fallback_reasons(decision: Decision) -> list[str]:
    return [refusal.detail for refusal in decision.reasons if refusal.reason is Reason.FALLBACK]
