"""Who may change something, and what becomes of it when nobody answers for it any more."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlled import FakeComponent
from controller.guard import Guard, GuardConfig, GuardError
from controller.lease import Fence, Lease, read_lease, take_back, write_in_place
from controller.warden import Warden
from killing import wait_until
from plants import FakeClock
from refusing import RefusingComponent, make_refusing
from telemetry.processes import boot_seconds, process_start

__all__ = ["make_refusing"]

OWNER = (os.getpid(), process_start(os.getpid()))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(boot_seconds())


@pytest.fixture
def knob(tmp_path: Path) -> Path:
    path = tmp_path / "knob"
    path.write_text("found")
    return path


@pytest.fixture
def make_guard(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Guard]]:
    made: list[Guard] = []

    def make(name: str = "state", **named: object) -> Guard:
        made.append(Guard(tmp_path / name, GuardConfig(lock_seconds=0.05), clock=clock, **named))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for guard in made:
        guard.close()


def step(knob: Path) -> dict[str, object]:
    return {"kind": "file", "path": str(knob), "text": "found", "replace": True}


def beat(guard: Guard, clock: FakeClock) -> None:
    """As the warden's sign of life."""
    write_in_place(str(guard.directory / "warden.beat"), clock())


@pytest.mark.clause("A5")
@pytest.mark.parametrize("name", ["state", "elsewhere"])
def test_a_second_controller_of_the_same_system_is_refused(
    make_guard: Callable[..., Guard], tmp_path: Path, name: str
) -> None:
    (tmp_path / "testbed.json").touch()
    make_guard(targets=[tmp_path / "testbed.json"])
    with pytest.raises(GuardError, match=rf"controller {os.getpid()} since .* holds .*; stop it first"):
        make_guard(name, targets=[tmp_path / "testbed.json"])


@pytest.mark.clause("A5")
def test_a_controller_that_was_fenced_off_cannot_change_anything(make_guard: Callable[..., Guard], knob: Path) -> None:
    guard = make_guard()
    with guard.acting([step(knob)]):
        knob.write_text("risky")
    lease = read_lease(str(guard.directory))
    assert lease is not None
    take_back(str(guard.directory), lease, "the lease ran out")
    assert knob.read_text() == "found"
    with pytest.raises(GuardError, match="lease ran out"), guard.acting([step(knob)]):
        knob.write_text("too late")
    assert knob.read_text() == "found"


@pytest.mark.clause("A5")
def test_a_write_that_outlived_its_lease_is_undone(make_guard: Callable[..., Guard], knob: Path) -> None:
    guard = make_guard()

    def stopped_for_long() -> None:
        lease = read_lease(str(guard.directory))
        assert lease is not None
        take_back(str(guard.directory), lease, "the lease ran out", patience=0.0)
        knob.write_text("too late")

    with pytest.raises(GuardError, match="lease ran out"), guard.acting([step(knob)]):
        stopped_for_long()
    assert knob.read_text() == "found"


def test_a_controller_begins_anew_after_it_lost_its_right(make_guard: Callable[..., Guard], knob: Path) -> None:
    guard = make_guard()
    with guard.acting([step(knob)]):
        pass
    Fence(str(guard.directory)).advance()
    assert "lease ran out" in guard.retake()
    assert guard.retake() == ""
    with guard.acting([step(knob)]):
        knob.write_text("again")
    assert knob.read_text() == "again"


@pytest.mark.clause("A3")
def test_without_a_living_warden_nothing_new_may_be_changed(make_guard: Callable[..., Guard], clock: FakeClock) -> None:
    guard = make_guard()
    os.kill(guard.warden_pid, signal.SIGKILL)  # the real one would show signs of life by the real clock
    wait_until(lambda: not process_start(guard.warden_pid))
    beat(guard, clock)
    assert guard.problem() is None
    clock.advance(2.5)
    assert guard.problem() == "the warden is not alive (silent for 2.5 s)"


@pytest.mark.clause("A1")
def test_how_to_undo_a_change_is_on_the_disk_before_it_is_made(make_guard: Callable[..., Guard], knob: Path) -> None:
    guard = make_guard()
    assert read_lease(str(guard.directory)) is None
    with guard.acting([step(knob)]):
        lease = read_lease(str(guard.directory))
    assert lease is not None
    assert lease["steps"] == [step(knob)]


@pytest.mark.clause("L1")
def test_what_an_earlier_controller_left_must_be_taken_back_first(make_guard: Callable[..., Guard], knob: Path) -> None:
    directory = knob.parent / "state"
    directory.mkdir()
    Lease(str(directory), (1, 2), 5.0).hold([step(knob)], token=1)
    knob.write_text("risky")
    guard = make_guard()
    assert knob.read_text() == "found"
    assert guard.reconciled == ["1 steps of controller [1, 2] were taken back"]
    assert read_lease(str(directory)) is None


@pytest.mark.clause("L1")
def test_without_what_is_to_be_controlled_no_controller_starts_but_what_was_left_is_taken_back(
    make_guard: Callable[..., Guard], knob: Path
) -> None:
    directory = knob.parent / "state"
    directory.mkdir()
    Lease(str(directory), (1, 2), 5.0).hold([step(knob)], token=1)
    knob.write_text("risky")
    with pytest.raises(GuardError, match=r"no '.*nowhere.json'; give the testbed.json"):
        make_guard(targets=[knob.parent / "nowhere.json"])
    assert knob.read_text() == "found"
    assert sorted(path.name for path in knob.parent.iterdir()) == ["knob", "state"], "and no lock is left behind"


@pytest.mark.clause("L1")
def test_no_controller_starts_over_what_it_cannot_take_back(make_guard: Callable[..., Guard], knob: Path) -> None:
    directory = knob.parent / "state"
    directory.mkdir()
    gone = {"kind": "http", "url": "http://127.0.0.1:1/knobs", "values": {"threads": 1}}
    Lease(str(directory), (1, 2), 5.0).hold([gone, step(knob)], token=1)
    knob.write_text("risky")
    with pytest.raises(GuardError, match=r"cannot be taken back: http: .*; put it right, or delete"):
        make_guard()
    assert knob.read_text() == "found", "the other steps are carried out all the same"
    left = read_lease(str(directory))
    assert left is not None
    assert left["steps"] == [gone]


def test_closing_takes_back_what_is_still_leased(make_guard: Callable[..., Guard], knob: Path) -> None:
    guard = make_guard()
    with guard.acting([step(knob)]):
        knob.write_text("risky")
    guard.close()
    guard.close()
    assert knob.read_text() == "found"


@pytest.fixture
def leased(tmp_path: Path, knob: Path, clock: FakeClock) -> Lease:
    """A risky setting of ours, leased for five seconds."""
    lease = Lease(str(tmp_path), OWNER, 5.0, clock)
    lease.hold([step(knob)], token=1)
    knob.write_text("risky")
    return lease


@pytest.mark.clause("A3")
def test_a_lease_that_is_not_renewed_runs_out(leased: Lease, tmp_path: Path, knob: Path, clock: FakeClock) -> None:
    warden = Warden(str(tmp_path), OWNER, clock)
    for seconds, expected in ((4.9, "risky"), (0.2, "found")):
        clock.advance(seconds)
        assert warden.look()
        assert knob.read_text() == expected


@pytest.mark.clause("A3")
def test_a_renewed_lease_stays(leased: Lease, tmp_path: Path, knob: Path, clock: FakeClock) -> None:
    warden = Warden(str(tmp_path), OWNER, clock)
    for _ in range(10):
        clock.advance(4.0)
        leased.renew()
        warden.look()
    assert knob.read_text() == "risky"


@pytest.mark.clause("L2")
def test_after_a_restart_of_the_host_every_lease_has_run_out(
    leased: Lease, tmp_path: Path, knob: Path, clock: FakeClock
) -> None:
    content = json.loads((tmp_path / "lease.json").read_text())
    (tmp_path / "lease.json").write_text(json.dumps({**content, "boot": "another start"}))
    Warden(str(tmp_path), OWNER, clock).look()
    assert knob.read_text() == "found"


@pytest.mark.clause("L3")
@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_jump_of_the_wall_clock_moves_no_lease(
    leased: Lease, tmp_path: Path, knob: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    monkeypatch.setattr(time, "monotonic", lambda: now + jump)
    Warden(str(tmp_path), OWNER).look()
    assert knob.read_text() == "risky"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"steps": 1}'])
def test_a_damaged_lease_does_not_end_the_warden(tmp_path: Path, clock: FakeClock, content: str) -> None:
    (tmp_path / "lease.json").write_text(content)
    assert Warden(str(tmp_path), OWNER, clock).look()


def test_the_lease_of_another_owner_is_left_alone(tmp_path: Path, knob: Path, clock: FakeClock) -> None:
    Lease(str(tmp_path), (1, 2), -1.0, clock).hold([step(knob)], token=1)
    knob.write_text("theirs")
    Warden(str(tmp_path), OWNER, clock).look()
    assert knob.read_text() == "theirs"


def test_the_warden_ends_with_its_owner(tmp_path: Path, clock: FakeClock) -> None:
    assert not Warden(str(tmp_path), (os.getpid(), 1), clock).look()


@pytest.mark.clause("A6")
def test_a_step_that_fails_is_tried_again_after_growing_pauses(tmp_path: Path, clock: FakeClock) -> None:
    gone = {"kind": "http", "url": "http://127.0.0.1:1/knobs", "values": {"threads": 1}}
    Lease(str(tmp_path), OWNER, -1.0, clock).hold([gone], token=1)
    warden, attempts = Warden(str(tmp_path), OWNER, clock), []
    for tick in range(100):
        warden.look()
        lines = (tmp_path / "reverted.jsonl").read_text().splitlines()
        if not attempts or len(lines) > len(attempts):
            attempts.append(tick)
        clock.advance(0.25)
    pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 20  # quarters of a second


def http_step(serving: RefusingComponent) -> dict[str, object]:
    component = serving.component
    return {
        "kind": "http", "url": f"{component.url}/knobs", "values": {"size": 8},
        "pid": component.pid, "start": component.start,
    }  # fmt: skip


def send(serving: RefusingComponent, size: int, token: int) -> int:
    return serving.ask("PATCH", {"size": size}, Trimtab_Fence=str(token))[0]


@pytest.mark.clause("A5")
def test_a_controller_that_wakes_after_the_warden_is_refused_by_the_component(
    make_guard: Callable[..., Guard], make_refusing: Callable[..., RefusingComponent]
) -> None:
    guard, serving = make_guard(), make_refusing("serving", size=8)
    with contextlib.suppress(GuardError), guard.acting([http_step(serving)]):
        assert send(serving, 16, guard.token) == 200
        lease = read_lease(str(guard.directory))
        assert lease is not None
        assert take_back(str(guard.directory), lease, "the lease ran out", patience=0.0) == []
        assert serving.knobs["size"] == 8
        assert send(serving, 32, guard.token) == 409, "no window is left between looking at the token and writing"
    assert "lease ran out" in guard.retake()
    assert send(serving, 32, guard.token) == 200


@pytest.mark.clause("A5")
def test_a_warden_takes_nothing_back_from_a_controller_that_took_over(
    tmp_path: Path, clock: FakeClock, make_refusing: Callable[..., RefusingComponent]
) -> None:
    serving = make_refusing("serving", size=8)
    Lease(str(tmp_path), OWNER, -1.0, clock).hold([http_step(serving)], token=3)
    assert send(serving, 32, 9) == 200
    Warden(str(tmp_path), OWNER, clock).look()
    assert serving.knobs["size"] == 32
    assert read_lease(str(tmp_path)) is None, "and it does not try for ever"


def test_a_conflict_of_another_kind_is_told(tmp_path: Path, make_component: Callable[..., FakeComponent]) -> None:
    busy = make_component("serving", size=16)
    busy.behaviour = "conflict"
    lease = {"steps": [{"kind": "http", "url": f"{busy.url}/knobs", "values": {"size": 8}}], "token": 1}
    assert "answered 409" in take_back(str(tmp_path), lease, "test")[0]


@pytest.mark.clause("A5")
def test_a_token_exceeds_those_that_components_have_seen_from_elsewhere(make_guard: Callable[..., Guard]) -> None:
    guard = make_guard()
    own = guard.token
    guard.outrank(0)
    assert guard.token == own
    guard.outrank(57)
    assert guard.token == 58 == Fence(str(guard.directory)).token()
    with guard.acting([]):
        pass


@pytest.mark.clause("A3")
@pytest.mark.parametrize("token", [None, "x", 4])
def test_what_is_taken_back_outranks_the_lease_even_where_the_fence_file_was_lost(
    tmp_path: Path, make_refusing: Callable[..., RefusingComponent], token: object
) -> None:
    serving = make_refusing("serving", size=8)
    send(serving, 16, token if isinstance(token, int) else 0)
    assert take_back(str(tmp_path), {"steps": [http_step(serving)], "token": token}, "test") == []
    assert serving.knobs["size"] == 8
