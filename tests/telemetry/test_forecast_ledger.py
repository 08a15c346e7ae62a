"""What was foretold, on disk."""

import numpy as np
import pytest

from telemetry.forecast_ledger import OPINIONS, PART_SECONDS, Acted, Ledger, LedgerError, LedgerHour
from telemetry.issues import HOUR, TARGETS

SHAPE = (2, len(TARGETS), len(OPINIONS))


def hour(end, said=0.25):
    levels, limits = np.array([1.0, np.nan]), np.array([2.0, -0.95])
    opinions = np.full(SHAPE, said)
    opinions[1] = np.nan
    return LedgerHour(end, ("load", 'queue{host="a"}'), levels, limits, opinions, ("ab12", ""))


def test_what_is_written_is_read_again(tmp_path):
    ledger = Ledger(tmp_path / "said.jsonl")
    ledger.append(hour(HOUR))
    ledger.append(Acted(HOUR, ("load",)))
    ledger.close()
    read, acted = Ledger(tmp_path / "said.jsonl").lines()
    assert read.to_json() == hour(HOUR).to_json()
    assert np.isnan(read.said[1]).all()
    assert acted == Acted(HOUR, ("load",))


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_line_that_a_crash_has_torn_costs_no_other(tmp_path, kept):
    path = tmp_path / "said.jsonl"
    ledger = Ledger(path)
    ledger.append(hour(HOUR))
    whole = path.read_bytes()
    ledger.close()
    path.write_bytes(whole + whole[:kept])
    ledger = Ledger(path)
    ledger.append(hour(3 * HOUR))
    ends = [line.end for line in ledger.lines()]
    assert (ends[0], ends[-1]) == (HOUR, 3 * HOUR)


def test_a_second_service_is_told_that_there_is_one(tmp_path):
    first = Ledger(tmp_path / "said.jsonl")
    with pytest.raises(LedgerError, match="another `trimtab forecast --out`"):
        Ledger(tmp_path / "said.jsonl")
    first.close()
    Ledger(tmp_path / "said.jsonl").close()


def test_after_a_fortnight_a_new_part_begins_and_the_one_before_is_read_first(tmp_path):
    ledger = Ledger(tmp_path / "said.jsonl")
    for end in (HOUR, 2 * HOUR + PART_SECONDS, 3 * HOUR + PART_SECONDS):
        ledger.append(hour(end))
    assert [line.end for line in ledger.lines()] == [HOUR, 2 * HOUR + PART_SECONDS, 3 * HOUR + PART_SECONDS]
    assert len((tmp_path / "said.jsonl").read_text().splitlines()) == 2


def test_levels_are_found_by_name_where_series_came_and_went():
    found = hour(HOUR).levels_of(("new", "load"))
    assert np.isnan(found[0])
    assert found[1] == 1.0
