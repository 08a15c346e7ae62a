"""The same hazards for the documented rules of comparable systems, and for Trimtab: pass or fail, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.faults.campaign import Campaign, quiet, run_campaign
from training.faults.host import Misbehaviour
from training.faults.rivals import (
    SYNC_SECONDS,
    Argo,
    Captain,
    Flagger,
    Hpa,
    Judge,
    Kayenta,
    Keda,
    Reading,
    Scaler,
    SelfTune,
    Vpa,
)
from training.faults.world import World, reference_setup

LOAD = 100.0
"""Of the steady system, and 10 units of capacity for it."""
CALM = [0.1, 0.11, 0.09, 0.1]
"""Latencies before a change, seconds."""
REVERSALS_PER_HOUR = 66
"""What Trimtab's own flap budget allows a knob in the first hour."""


@dataclass(frozen=True)
class Cell:
    """How a system fared.

    Attributes:
        passed: whether it did what the contract wants.
        why: one line.
    """

    passed: bool
    why: str


@dataclass(frozen=True)
class Case:
    """One hazard, as systems are put to it.

    Attributes:
        hazard: a key of `HAZARDS`.
        clause: of the contract.
        title: what happens, and what is wanted.
        rivals: system -> its test; those left out document no rule for it.
        trimtab: faults of the campaign that are the same for Trimtab, or a test of its own.
    """

    hazard: str
    clause: str
    title: str
    rivals: dict[str, Callable[[], Cell]]
    trimtab: tuple[str, ...] | Callable[[], Cell]


def fed(make: type[Scaler], readings: Sequence[Reading]) -> Cell:
    """Whether a scaler keeps its capacity through readings that say nothing."""
    scaler = make()
    for _ in range(30):
        steady = scaler.step(LOAD)
    least = math.inf
    for reading in readings:
        capacity = scaler.step(reading)
        least = capacity if math.isnan(capacity) else min(least, capacity)
        if math.isnan(least):
            return Cell(False, "its setting becomes NaN, and stays so")
    if least < 0.99 * steady:
        return Cell(False, f"takes capacity away: {steady:g} -> {least:g}")
    return Cell(True, "holds")


def judged(make: type[Judge], after: Sequence[Reading]) -> Cell:
    """Whether a judge lets a change stay that nothing speaks for, or that something speaks against."""
    verdict = make().verdict(CALM, after)
    return Cell(verdict != "pass", {"pass": "lets it stay", "fail": "takes it back", "hold": "halts"}[verdict])


def oscillating(make: type[Scaler]) -> Cell:
    """How often a scaler turns within an hour, whatever the period of the load."""
    most = 0
    for period in (30.0, 60.0, 120.0, 600.0, 700.0):
        scaler, direction, turns, last = make(), 0, 0, math.nan
        for tick in range(int(3600 / SYNC_SECONDS)):
            load = LOAD * (1.0 + 0.9 * math.sin(2.0 * math.pi * tick * SYNC_SECONDS / period + 0.3))
            capacity = scaler.step(load)
            sign = int(np.sign(capacity - last)) if math.isfinite(last) else 0
            turns += bool(sign and direction and sign != direction)
            direction, last = sign or direction, capacity
        most = max(most, turns)
    return Cell(most <= REVERSALS_PER_HOUR, f"at most {most} turns an hour")


def captain_dies() -> Cell:
    """Its daemon loses its client or dies while a tight limit is in force."""
    captain = Captain()
    for _ in range(10):
        captain.step(5.0)
    left = captain.after_death()
    return Cell(left >= 10.0, f"leaves its limit of {left:g} behind, found were 10")


def vpa_restarts() -> Cell:
    """A value was refused as infeasible; the updater is started anew."""
    updater = Vpa()
    updater.refused(64.0)
    again = updater.restarted().asks(64.0)
    return Cell(not again, "asks for the same again: the list was in memory" if again else "does not ask again")


def trimtab_restarts() -> Cell:
    """The same for Trimtab: an actuator ignores what is asked; the controller is started anew."""
    world = World(reference_setup(), 7, 60)
    world.rig.misbehaviour["serving"] = Misbehaviour(ignores=True)
    for actuator in world.host.actuators.used:
        actuator.misbehaviour = world.rig.misbehaviour[actuator.workload]  # type: ignore[attr-defined]
    try:
        with quiet():
            first = _asked(world, 30)
            world.kill()
            world.start()
            second = _asked(world, 30)
    finally:
        world.close()
    again = first & second
    return Cell(
        not again, f"asks again for {len(again)} values that could not be set" if again else "does not ask again"
    )


def _asked(world: World, periods: int) -> set[tuple[str, float]]:
    asked: set[tuple[str, float]] = set()
    for _ in range(periods):
        seen = world.step()
        asked |= {
            (name, float(f"{value:.2g}"))
            for w in seen.writes
            for name, value in w.write.values.items()
            if "serving" in name
        }
    return asked


def in_campaign(faults: Sequence[str], hazard: str, episodes: int, seed: int) -> Cell:
    """Whether Trimtab's invariants hold in episodes of the same hazard."""
    found = [run_campaign(Campaign(episodes, seed, (hazard,), fault=fault)) for fault in faults]
    count, broken = sum(sum(one.episodes.values()) for one in found), [v for one in found for v in one.violations]
    if broken:
        return Cell(False, f"{broken[0].invariant}: {broken[0].detail}")
    return Cell(True, f"no invariant broken in {count} episodes")


NOTHING: list[Reading] = [None] * 40
"""Ten minutes without a value."""
NAN: list[Reading] = [math.nan] * 40
SCALERS: tuple[type[Scaler], ...] = (Hpa, Keda, SelfTune)
JUDGES: tuple[type[Judge], ...] = (Kayenta, Argo, Flagger)


def _scalers(test: Callable[[type[Scaler]], Cell], some: Sequence[type[Scaler]]) -> dict[str, Callable[[], Cell]]:
    return {make.name: lambda make=make: test(make) for make in some}  # type: ignore[misc]


def _judges(after: Sequence[Reading]) -> dict[str, Callable[[], Cell]]:
    return {make.name: lambda make=make: judged(make, after) for make in JUDGES}  # type: ignore[misc]


CASES = (
    Case("H1", "O1", "ten minutes without the metric: nothing may be taken away",
         _scalers(lambda make: fed(make, NOTHING), SCALERS), ("all_readings_missing", "one_reading_missing")),
    Case("H1", "E5", "no data after a change: it must not count as good",
         _judges([None] * 4), ("one_reading_missing", "plant_cannot_be_read")),
    Case("H2", "O2", "the metric is NaN for ten minutes: nothing may be taken away",
         _scalers(lambda make: fed(make, NAN), SCALERS), ("not_a_number", "garbage_everywhere")),
    Case("H2", "E5", "NaN after a change: it must not count as good",
         _judges([math.nan] * 4), ("not_a_number",)),
    Case("H2", "O2", "infinity after a change: it must not count as good",
         _judges([math.inf] * 4), ("not_a_number", "garbage_everywhere")),
    Case("H7", "A6", "a value cannot be set; after a restart it is not asked for again",
         {Vpa.name: vpa_restarts}, trimtab_restarts),
    Case("H8", "D2", "a load that swings: the turns of a setting are bounded",
         _scalers(oscillating, (Hpa, Keda)), ("load_at_the_loops_period", "policy_oscillates")),
    Case("H10", "E2", "latency is four times as long after a change: it is taken back",
         _judges([0.4, 0.41, 0.39, 0.4]), ("tuning_breaks_an_slo",)),
    Case("H12", "A3", "the controller dies with a tight limit in force: what was found is restored",
         {Captain.name: captain_dies},
         ("killed_between_periods", "killed_between_two_writes", "killed_before_the_record")),
)  # fmt: skip
SYSTEMS = (Hpa.name, Keda.name, Vpa.name, SelfTune.name, Captain.name, Kayenta.name, Argo.name, Flagger.name)


def scoreboard(
    *, episodes: int = 5, seed: int = 0, on_progress: Callable[[int, int, str], None] = lambda done, total, line: None
) -> list[dict[str, Any]]:
    """Every case for every system.

    Args:
        episodes: of each fault, for Trimtab.
        seed: of the first.
        on_progress: called with cases done, cases in all, and a line.

    Returns:
        One mapping for each case: `hazard`, `clause`, `title`, `results` {system: {`passed`, `why`}}.
    """
    rows = []
    for number, case in enumerate(CASES):
        on_progress(number, len(CASES), f"scoreboard: {case.title}")
        cells = {name: test() for name, test in case.rivals.items()}
        if isinstance(case.trimtab, tuple):
            cells["Trimtab"] = in_campaign(case.trimtab, case.hazard, episodes, seed)
        else:
            cells["Trimtab"] = case.trimtab()
        results = {name: {"passed": cell.passed, "why": cell.why} for name, cell in cells.items()}
        rows.append({"hazard": case.hazard, "clause": case.clause, "title": case.title, "results": results})
    return rows


def sources() -> dict[str, str]:
    """Where each system's rule is documented."""
    rules: tuple[type[Scaler] | type[Judge] | type[Vpa], ...] = (*SCALERS, Captain, *JUDGES, Vpa)
    return {rule.name: rule.source for rule in rules}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The scoreboard in Markdown: a line for each case and system."""
    lines = ["| hazard | what happens | system | | why |", "|---|---|---|---|---|"]
    for row in rows:
        place = f"{row['hazard']}, {row['clause']}"
        title = row["title"]
        for name in ("Trimtab", *SYSTEMS):
            cell = row["results"].get(name)
            if cell is not None:
                lines.append(
                    f"| {place} | {title} | {name} | {'pass' if cell['passed'] else '**fail**'} | {cell['why']} |"
                )
                place = title = ""
    return "\n".join(lines)
