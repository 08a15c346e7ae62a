import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from controller.journal import Journal, JournalError, optimizations


def written(tmp_path, *records):
    journal = Journal(tmp_path / "j.jsonl")
    for record in records:
        journal.append(record, durable=True)
    journal.close()
    return journal.path


def opened(id, delay=0.5):
    change = {
        "id": id, "workload": "serving", "role": "tuning", "policy": "ppo",
        "knobs": {"serving_batch_size": (8.0, 16.0)}, "seen_at": 10.0, "applied_at": 10.0 + delay,
    }  # fmt: skip
    return {"at": "2026-01-01", "snapshot": {"ingest_lag_seconds": 0.5}, "opened": [change]}


def verdict(id, outcome):
    return {"at": "2026-01-02", "verdicts": [{"id": id, "outcome": outcome, "reason": "why", "gain": 0.1}]}


def test_records_come_back_as_they_were_and_nan_as_null(tmp_path):
    path = written(tmp_path, {"a": np.float64(1.5), "b": [1, np.nan], "c": np.arange(2), "d": {"e": None, "f": True}})
    record = Journal.read(path)[0]
    record.pop("crc", None)
    assert record == {"a": 1.5, "b": [1, None], "c": [0, 1], "d": {"e": None, "f": True}}


def test_every_line_is_json_on_its_own(tmp_path):
    path = written(tmp_path, {"a": 1}, {"a": 2})
    assert [json.loads(line)["a"] for line in path.read_text().splitlines()] == [1, 2]


@pytest.mark.clause("L10")
def test_torn_last_line_costs_that_line_and_no_other(tmp_path, caplog):
    path = written(tmp_path, {"a": 1}, {"a": 2})
    os.truncate(path, path.stat().st_size - 5)
    assert [record["a"] for record in Journal.read(path)] == [1]
    assert "torn" in caplog.text


def test_journal_goes_on_after_a_torn_line(tmp_path):
    path = written(tmp_path, {"a": 1}, {"a": 2})
    os.truncate(path, path.stat().st_size - 5)
    written(tmp_path, {"a": 3})
    assert [record["a"] for record in Journal.read(path)] == [1, 3]


@pytest.mark.clause("L10")
def test_flipped_bit_is_found(tmp_path, caplog):
    path = written(tmp_path, {"a": 1}, {"a": 2})
    path.write_bytes(path.read_bytes().replace(b'"a":1', b'"a":7'))
    assert [record["a"] for record in Journal.read(path)] == [2]
    assert "line 1 is damaged" in caplog.text


@pytest.mark.parametrize("garbage", [b"\xff\xfe\n", b'{"crc":"zzzzzzzz","a":1}\n', b"[]\n", b'{"crc":"\n'])
def test_garbage_is_left_out(tmp_path, garbage):
    path = written(tmp_path, {"a": 1})
    path.write_bytes(garbage + path.read_bytes())
    assert [record["a"] for record in Journal.read(path)] == [1]


def test_missing_journal_is_empty(tmp_path):
    assert Journal.read(tmp_path / "none.jsonl") == []


def test_large_journal_is_rotated_once(tmp_path):
    journal = Journal(tmp_path / "j.jsonl", max_bytes=300)
    for number in range(20):
        journal.append({"number": number})
    journal.close()
    numbers = [record["number"] for record in Journal.read(journal.path)]
    assert numbers == list(range(numbers[0], 20))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 600


def test_full_disk_is_an_error_in_one_line_and_passes_when_there_is_room(tmp_path):
    script = """
import resource, sys
from controller.journal import Journal, JournalError
journal = Journal(sys.argv[1])
journal.append({"a": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (60, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        journal.append({"a": 2, "long": "x" * 100})
    except JournalError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
journal.append({"a": 3})
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] in (resource.RLIM_INFINITY, -1)
    path = tmp_path / "j.jsonl"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert [record["a"] for record in Journal.read(path)] == [1, 3]


def test_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot open"):
        Journal(tmp_path / "file" / "j.jsonl")


def test_optimizations_are_counted_by_outcome():
    records = [opened("a"), opened("b", 2.0), opened("c"), verdict("a", "keep"), verdict("b", "rolled_back")]
    summary = optimizations(records)
    assert (summary.count, summary.kept, summary.rolled_back, summary.running) == (3, 1, 1, 1)
    assert summary.opportunity_to_applied_p99_seconds == 2.0
