"""A journal decides again what the controller decided."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controlled import ScriptedPolicy
from controller import chain
from controller.cli import control_app
from controller.config import ControllerConfig
from controller.journal import Journal, JournalError
from controller.loop import Controller
from controller.plant_events import Event, EventKind
from controller.replay import audit, replay
from plants import ToyPlant


@pytest.fixture
def busy(
    make_controller: Callable[..., Controller], plant: ToyPlant, policy: ScriptedPolicy, allocator: ScriptedPolicy
) -> Callable[..., Controller]:
    """Runs a controller through changes, rollbacks, gaps, restarts, commands and failures."""

    def run(periods: int, journal: Journal | None = None) -> Controller:
        controller = make_controller(config=ControllerConfig(rollbacks_per_hour=5))
        controller.journal = journal or controller.journal
        for number in range(periods):
            policy.wanted = {"serving_batch_size": [8, 16, 24][number // 7 % 3], "ingest_chunk_size": 50 + number % 60}
            allocator.wanted = {"serving_cpu_cores": 0.4 + number // 9 % 3 / 10}
            event = [Event(list(EventKind)[number % 3], "serving", "told", "serving_batch_size")]
            plant.take_events = lambda told=event * (number % 17 == 0): told
            if number % 13 in (8, 9):
                plant.next_reading(serving_within_slo_ratio=0.1)
            if number % 43 == 20:
                plant.drop(periods=2)
            plant.fail(*(["serving_batch_size"] if number % 19 == 0 else ["training_batch_size"]))
            controller.pins = {"ingest_chunk_size": 70.0} if number % 40 > 35 else {}
            controller.paused = number % 50 > 47
            if number % 37 == 36:
                controller.rollback()
            if number % 41 == 40:
                controller.revert()
            controller.mode = "act" if number % 30 else "shadow"
            controller.step()
        return controller

    return run


@pytest.mark.clause("D7")
def test_every_decision_follows_bit_for_bit_from_its_inputs(busy: Callable[..., Controller], journal: Journal) -> None:
    controller = busy(200)
    busy(20)  # a second run in the same journal
    assert {"keep", "rolled_back", "inconclusive"} <= set(controller.outcomes)
    found = replay(Journal.records(journal.path))
    assert found.problem == ""
    assert (found.periods, found.segments, found.before, found.unwritten) == (220, 2, 0, 0)


@pytest.mark.clause("D7")
def test_a_journal_whose_beginning_was_rotated_away_replays_from_the_next_checkpoint(
    busy: Callable[..., Controller], tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "state" / "journal.jsonl", max_bytes=150_000)
    busy(200, journal)
    journal.close()
    links, found = audit(tmp_path / "state")
    assert (links.problem, links.first, found.problem) == ("", False, "")
    assert found.segments == 1
    assert found.checkpoints == 1, "where the newer file begins, the kernel remembers what it should"
    assert found.before <= 1
    assert found.periods > 50


class LeakyJournal(Journal):
    """Cannot write while `full`; while `nearly_full`, all but checkpoints, which are the largest."""

    full = nearly_full = False

    def append(self, record, *, durable=False, urgent=False):
        if self.full or (self.nearly_full and record["kind"] == "checkpoint"):
            raise JournalError("No space left on device")
        return super().append(record, durable=durable, urgent=urgent)


@pytest.mark.clause("D7")
def test_periods_that_could_not_be_written_are_counted_and_the_rest_replays(
    busy: Callable[..., Controller], tmp_path: Path
) -> None:
    journal = LeakyJournal(tmp_path / "state" / "journal.jsonl")
    controller = busy(20, journal)
    journal.full = True
    for _ in range(3):
        controller.step()
    journal.full = False
    for _ in range(10):
        controller.step()
    journal.close()
    found = replay(Journal.records(journal.path))
    assert (found.problem, found.periods, found.unwritten, found.segments) == ("", 30, 3, 2)


@pytest.mark.clause("D7")
def test_a_decision_that_was_written_where_its_checkpoint_did_not_fit_is_no_difference(
    busy: Callable[..., Controller], tmp_path: Path
) -> None:
    journal = LeakyJournal(tmp_path / "state" / "journal.jsonl")
    controller = busy(20, journal)
    for journal.full, journal.nearly_full in [(True, True)] * 2 + [(False, True)] * 2 + [(False, False)] * 5:
        controller.step()
    journal.close()
    found = replay(Journal.records(journal.path))
    assert (found.problem, found.periods, found.segments, found.before) == ("", 25, 2, 2)


def changed(records: list[dict], period: int, change: Callable[[dict], object]) -> list[dict]:
    for record in records:
        if record.get("period") == period and record["kind"] == "decision":
            change(record)
    return records


@pytest.mark.clause("D7")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: record["inputs"].update(before=[*record["inputs"]["before"][:-1], 1.0]), "period 15"),
        (lambda record: record.update(reasons=[]), "reasons was []"),
        (lambda record: record.update(allowed={"serving_batch_size": [8.0, 9.0]}), "allowed was"),
        (lambda record: record["inputs"].pop("values"), "KeyError: 'values'"),
        (lambda record: record.update(kind="note"), "after period 14 comes period 16: records are missing"),
    ],
    ids=["input", "reasons", "allowed", "no reading", "left out"],
)
def test_the_first_difference_is_told(
    busy: Callable[..., Controller], journal: Journal, change: Callable[[dict], object], told: str
) -> None:
    busy(30)
    records = Journal.read(journal.path)
    found = replay(changed(records, 15, change))
    assert told in found.problem
    assert "\n" not in found.problem
    assert found.periods == 14


@pytest.mark.clause("D7")
def test_the_command_says_what_was_equal_and_fails_where_something_is_not(
    busy: Callable[..., Controller], journal: Journal, tmp_path: Path
) -> None:
    busy(30)
    journal.close()
    run = CliRunner()
    done = run.invoke(control_app, ["replay", "--state-dir", str(tmp_path)])
    assert (done.exit_code, "equal; 30 periods in 1 segments" in done.output) == (0, True)
    told = json.loads(run.invoke(control_app, ["replay", "--state-dir", str(tmp_path), "--json"]).stdout)
    assert (told["replay"]["periods"], told["chain"]["newest"]) == (30, chain.newest_hash(journal.path))
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:20] + lines[21:]))
    done = run.invoke(control_app, ["replay", "--state-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "line 21 does not follow" in done.output
