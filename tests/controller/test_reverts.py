from __future__ import annotations

from pathlib import Path

import pytest

from controller.chain import check
from controller.journal import Journal
from controller.lease import take_back
from controller.reverts import Reverts


def lease(path: Path) -> dict:
    path.write_text("risky")
    return {"owner": [1, 2], "token": 1, "steps": [{"kind": "file", "path": str(path), "text": "x", "replace": True}]}


def told(journal: Journal) -> list[str]:
    return [record["reason"] for record in Journal.read(journal.path) if record["kind"] == "reverted"]


@pytest.mark.clause("L10")
def test_what_the_warden_took_back_stands_in_the_journal_once(tmp_path: Path, journal: Journal) -> None:
    take_back(str(tmp_path), lease(tmp_path / "knob"), "the lease ran out")
    for _ in range(2):  # the controller is started again
        reverts = Reverts(tmp_path)
        reverts.tell(journal)
        reverts.tell(journal)
    assert told(journal) == ["the lease ran out"]
    take_back(str(tmp_path), lease(tmp_path / "knob"), "the host was restarted")
    reverts.tell(journal)
    assert told(journal) == ["the lease ran out", "the host was restarted"]
    assert check(journal.path).problem == ""


def test_a_note_that_is_just_being_written_waits_and_a_broken_one_is_told_as_it_is(
    tmp_path: Path, journal: Journal
) -> None:
    path, reverts = tmp_path / "reverted.jsonl", Reverts(tmp_path)
    path.write_bytes(b'{"reason": "on')
    reverts.tell(journal)
    assert Journal.read(journal.path) == []
    path.write_bytes(b'{"reason": "one"}\nbroken\n')
    reverts.tell(journal)
    one, broken = Journal.read(journal.path)
    assert (one["reason"], broken["unreadable"]) == ("one", "broken")


def test_a_file_that_was_deleted_and_written_anew_is_told_from_its_beginning(tmp_path: Path, journal: Journal) -> None:
    path, reverts = tmp_path / "reverted.jsonl", Reverts(tmp_path)
    path.write_text('{"reason": "the first, which is longer"}\n')
    reverts.tell(journal)
    path.write_text('{"reason": "second"}\n')
    reverts.tell(journal)
    assert told(journal) == ["the first, which is longer", "second"]
