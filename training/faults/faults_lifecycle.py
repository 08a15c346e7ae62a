"""Faults of the controller's own life: H12 to H14, H17."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from training.faults.hazards import fault
from training.faults.process import Killed
from training.faults.world import World


def die(*_: object) -> None:
    """The process ends here."""
    raise Killed


def once(world: World, kind: str) -> Callable[[Mapping[str, Any]], None]:
    """Die at the next record of a kind."""

    def hook(record: Mapping[str, Any]) -> None:
        if record.get("kind") == kind:
            disarm(world)
            die()

    return hook


def disarm(world: World) -> None:
    """No deadly point is left."""
    world.journal.before = world.journal.after = lambda record: None
    world.die_at_write = None


def restart_later(world: World) -> None:
    """A new controller begins some periods after the death, if there was one."""

    def again() -> None:
        if world.controller is None:
            world.start()

    for period in range(0, world.periods, 12):
        world.at(period, again)


def killed_at(world: World, arm: Callable[[], None]) -> None:
    """Arm a deadly point in some period, and let a new controller begin later."""
    world.at(world.spell().start, arm)
    restart_later(world)


@fault("H12")
def killed_before_the_intent(world: World) -> None:
    """Killed just before the intent is written."""
    killed_at(world, lambda: setattr(world.journal, "before", once(world, "intent")))


@fault("H12")
def killed_after_the_intent(world: World) -> None:
    """Killed when the intent is on the disk and nothing is set."""
    killed_at(world, lambda: setattr(world.journal, "after", once(world, "intent")))


@fault("H12")
def killed_before_a_write(world: World) -> None:
    """Killed when the lease is on the disk, before the first actuator writes."""
    killed_at(world, lambda: setattr(world, "die_at_write", 1))


@fault("H12")
def killed_between_two_writes(world: World) -> None:
    """Killed when one actuator has written and the next has not."""
    killed_at(world, lambda: setattr(world, "die_at_write", 2))


@fault("H12")
def killed_before_the_record(world: World) -> None:
    """Killed when everything is set, before the decision is recorded."""
    killed_at(world, lambda: setattr(world.journal, "before", once(world, "decision")))


@fault("H12")
def killed_after_the_record(world: World) -> None:
    """Killed when the decision is recorded, before the lease is renewed."""
    killed_at(world, lambda: setattr(world.journal, "after", once(world, "decision")))


@fault("H12")
def killed_between_periods(world: World) -> None:
    """Killed while it waits for the next period."""
    killed_at(world, world.kill)


@fault("H12")
def warden_killed(world: World) -> None:
    """The warden is killed, again and again."""
    for period in world.spell(5, 20):
        world.at(period, world.kill_warden)


@fault("H12")
def warden_killed_for_good(world: World) -> None:
    """The warden is killed, and none can be started."""
    world.at(world.spell().start, lambda: world.kill_warden(for_good=True))


@fault("H12")
def both_killed(world: World) -> None:
    """Controller and warden are killed; the next controller restores before it begins."""

    def kill() -> None:
        world.kill_warden(for_good=True)
        world.kill()

    killed_at(world, kill)


@fault("H13")
def host_restarted(world: World) -> None:
    """The host is started anew: another boot id, no process of before, settings still in files."""

    def reboot() -> None:
        world.kill_warden(for_good=True)
        world.kill()
        path = world.directory / "lease.json"
        if path.exists():
            path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))

    killed_at(world, reboot)


@fault("H13")
def boot_id_changed_in_the_lease(world: World) -> None:
    """A living controller's lease is of another boot, as on a snapshot of a virtual machine: the warden restores."""

    def forge() -> None:
        path = world.directory / "lease.json"
        if path.exists():
            path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))

    world.at(world.spell().start, forge)


@fault("H13")
def component_restarted(world: World) -> None:
    """A component is started anew between two periods, with the knobs of a fresh process."""
    workload = str(world.rng.choice(list(world.spec.workloads)))
    world.at(world.spell().start, lambda: world.host.restarted(workload))


@fault("H14")
def wall_clock_jumps(world: World) -> None:
    """The wall clock jumps by an hour, forth or back, several times."""
    for _ in range(4):
        jump = float(world.rng.choice([-3600.0, 3600.0, 86400.0, -0.5]))
        world.at(world.spell().start, lambda jump=jump: world.jump(jump))  # type: ignore[misc]


@fault("H14")
def clock_jumps_in_a_timed_pause(world: World) -> None:
    """An operator pauses for some seconds, and the wall clock jumps meanwhile: the pause is as long as it was meant."""
    spell = world.spell(5, 15)
    # Half a period more: the last period of the spell is decided at its end.
    seconds = (len(spell) + 0.5) * world.spec.control_period_seconds
    jump = float(world.rng.choice([-3600.0, 3600.0, 86400.0]))
    world.at(spell.start, lambda: world.command("pause", repr(world.wall_clock() + seconds)))
    world.at(spell.start + int(world.rng.integers(1, len(spell))), lambda: world.jump(jump))
    world.at(spell.stop, lambda: world.ends_by_itself("pause"))


@fault("H14")
def host_suspended(world: World) -> None:
    """The host sleeps for an hour; when it wakes, leases have run out and readings are old."""
    world.at(world.spell().start, lambda: world.suspend(3600.0))


@fault("H14")
def controller_stopped(world: World) -> None:
    """The controller is stopped for some periods, shorter or longer than its lease."""
    world.at(world.spell().start, lambda: world.stop(int(world.rng.integers(2, 15))))


@fault("H17")
def disk_full(world: World) -> None:
    """Neither journal nor lease can be written, beyond what is reserved for taking back."""

    def fill(full: bool) -> None:
        world.journal.full = full
        if world.guard is not None:
            world.guard.lease.full = full

    world.during(world.spell(5, 20), lambda: fill(True), lambda: fill(False))


@fault("H17")
def journal_full(world: World) -> None:
    """The journal cannot be written."""
    world.during(
        world.spell(5, 20),
        lambda: setattr(world.journal, "full", True),
        lambda: setattr(world.journal, "full", False),
    )


@fault("H17")
def torn_journal(world: World) -> None:
    """The controller dies and leaves half a line at the end of the journal."""

    def tear() -> None:
        world.kill()
        with open(world.directory / "journal.jsonl", "ab") as file:
            file.write(b'{"crc":"0badc0de","kind":"deci')

    killed_at(world, tear)
