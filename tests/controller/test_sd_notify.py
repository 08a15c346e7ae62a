"""What systemd hears: ready, alive, stopping. With a real socket."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlled import FakeComponent
from controller.journal import Journal
from controller.loop import Controller
from controller.runner import notify, run_controller
from controller.sd_notify import Notifier
from envs.spec import SystemSpec
from plants import ToyPlant
from telemetry.metrics import Snapshot


class Systemd:
    """The socket that systemd would listen on."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """All messages so far."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    systemd = Systemd(address)
    yield systemd
    systemd.close()


def fed(messages: list[str]) -> int:
    return sum("WATCHDOG=1" in message for message in messages)


def test_the_first_healthy_period_tells_ready_and_each_one_feeds_the_watchdog(systemd: Systemd, address: str) -> None:
    notifier = Notifier(address)
    for _ in range(3):
        notifier.healthy("mode act")
    notifier.stopping()
    assert [message.splitlines()[0] for message in systemd.heard()] == [
        "READY=1",
        "WATCHDOG=1",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


@pytest.mark.parametrize("address", [None, "", "/nowhere/at/all"])
def test_nobody_who_listens_costs_nothing(address: str | None) -> None:
    Notifier(address).healthy("mode act")


def test_a_status_of_several_lines_cannot_forge_a_message(systemd: Systemd, address: str) -> None:
    Notifier(address).unhealthy("journal: full\nWATCHDOG=1")
    assert systemd.heard() == ["STATUS=journal: full WATCHDOG=1"]


def test_an_abstract_socket_is_understood(tmp_path: Path) -> None:
    name = f"trimtab-test-{os.getpid()}"
    systemd = Systemd(f"\0{name}")
    Notifier(f"@{name}").healthy("mode act")
    assert fed(systemd.heard()) == 1
    systemd.close()


@pytest.mark.clause("L9")
def test_a_period_that_failed_feeds_no_watchdog(
    controller: Controller, plant: ToyPlant, systemd: Systemd, address: str
) -> None:
    notifier, stop, periods = Notifier(address), threading.Event(), iter(range(6))
    advance = plant.advance

    def failing(seconds: float) -> Snapshot:
        number = next(periods)
        if number == 5:
            stop.set()
        if number in (1, 2):
            raise RuntimeError("broken")
        return advance(seconds)

    plant.advance = failing  # type: ignore[method-assign]
    controller.run(stop, lambda _: notify(notifier, controller))
    assert fed(systemd.heard()) == 4


@pytest.mark.clause("L9")
def test_a_period_that_cannot_be_written_down_feeds_no_watchdog(
    make_controller: Callable[..., Controller], tmp_path: Path, systemd: Systemd, address: str
) -> None:
    folder = tmp_path / "state"
    controller, notifier = make_controller(), Notifier(address)
    controller.journal = Journal(folder / "journal.jsonl")
    controller.step()
    notify(notifier, controller)
    assert fed(systemd.heard()) == 1
    controller.journal.close()
    shutil.rmtree(folder)
    folder.write_text("no folder any more")
    controller.step()
    notify(notifier, controller)
    messages = systemd.heard()
    assert fed(messages) == 0
    assert "journal" in messages[0]


def test_a_controller_that_runs_tells_systemd_and_hides_the_socket_from_its_children(
    system: dict[str, FakeComponent],
    spec: SystemSpec,
    tmp_path: Path,
    systemd: Systemd,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    fast = SystemSpec.model_validate({**spec.model_dump(mode="json"), "control_period_seconds": 0.02})
    entries, stop, inherited = {name: one.entry for name, one in system.items()}, threading.Event(), []

    def after_step(*_: object) -> None:
        inherited.append("NOTIFY_SOCKET" in os.environ)
        if len(inherited) == 3:
            stop.set()

    run_controller(fast, entries, {}, tmp_path / "state", mode="shadow", stop=stop, after_step=after_step)
    heard = systemd.heard()
    assert [message.splitlines()[0] for message in heard] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
    assert inherited == [False] * 3
