from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from telemetry import store_reader
from telemetry.query import Query, QueryError
from telemetry.segments import TierConfig
from telemetry.store import Store, StoreConfig
from telemetry.store_files import StoreError, files_in
from telemetry.store_reader import StoreReader, store_demand
from telemetry.sweep import RowValues, Sweep

START = 1_790_000_040.0
NAMES = ("level", 'serving_requests_total{outcome="ok"}', 'serving_requests_total{outcome="late"}')


def recorded(folder: Path, sweeps: int, config: StoreConfig | None = None) -> StoreReader:
    """A level that is its second, and two counters of 3 and 1 a second."""
    wall = [START]
    with Store(folder, config, wall=lambda: wall[0]) as store:
        for k in range(sweeps):
            store.append(Sweep(9.0 + k, RowValues(NAMES, np.array([k, 3.0 * k, 1.0 * k]))))
            wall[0] += 1.0
    return StoreReader(folder)


def test_the_tier_that_is_fine_enough_answers(tmp_path: Path) -> None:
    reader = recorded(tmp_path, 300)
    for step, tier in ((None, "raw"), (30.0, "raw"), (60.0, "1min"), (120.0, "1min")):
        assert reader.read(Query(step_seconds=step)).source.endswith(f"({tier})")


def test_all_tiers_tell_the_same(tmp_path: Path) -> None:
    reader = recorded(tmp_path, 300)
    coarse = reader.read(Query(("level",), step_seconds=60.0))
    fine = reader.read(Query(("level",)))
    by_hand = fine.values[:, 0].reshape(5, 60).mean(axis=1)
    np.testing.assert_allclose(coarse.values[:, 0], by_hand)


def test_finer_tiers_answer_for_what_coarser_ones_do_not_have_yet(tmp_path: Path) -> None:
    wall = [START]
    store = Store(tmp_path, wall=lambda: wall[0])
    for k in range(3800):
        store.append(Sweep(9.0 + k, RowValues(NAMES, np.array([k, 3.0 * k, 1.0 * k]))))
        wall[0] += 1.0
    found = StoreReader(tmp_path).read(Query(("level",), step_seconds=3600.0))
    store.close()
    begins = int(3600.0 - START % 3600.0)  # second hour; what is written of it are minutes
    assert found.values[:, 0].tolist() == [(begins - 1) / 2.0, (begins + 3779) / 2.0]
    assert found.source.endswith("(1h, 1min)")


def test_coarser_tiers_answer_for_what_finer_ones_have_no_more(tmp_path: Path) -> None:
    tiers = (TierConfig("raw", 0.0, 120.0, 10**9), TierConfig("1min", 60.0, 10**9, 10**9))
    reader = recorded(tmp_path, 600, StoreConfig(files_per_segment=2, tiers=tiers))
    found = reader.read(Query(("level",)))
    assert found.source.endswith("(raw, 1min)")
    assert found.times[0] == pytest.approx(START + 60.0, abs=1e-5)
    assert found.times[-1] == START + 599.0
    assert (np.diff(found.times) > 0).all()


def test_a_range_holds_its_beginning_and_not_its_end(tmp_path: Path) -> None:
    reader = recorded(tmp_path, 300)
    assert reader.read(Query(("level",), START + 70.0, START + 73.0)).values[:, 0].tolist() == [70.0, 71.0, 72.0]
    minutes = reader.read(Query(("level",), START + 60.0, START + 180.0, 60.0))
    assert minutes.times.tolist() == [START + 120.0, START + 180.0]


def test_a_rate_is_that_of_the_seconds_that_were_watched(tmp_path: Path) -> None:
    reader = recorded(tmp_path, 90)  # the second minute is half there
    for step in (1.0, 7.0, 60.0, 3600.0):
        found = reader.read(Query(("serving*ok*",), step_seconds=step, field="rate")).values
        assert found[~np.isnan(found)].tolist() == pytest.approx([3.0] * (~np.isnan(found)).sum())


def test_a_damaged_file_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = recorded(tmp_path, 180, StoreConfig(files_per_segment=1))
    torn = files_in(tmp_path / "raw")[1].path
    torn.write_bytes(torn.read_bytes()[:200])
    assert reader.read(Query(("level",))).values[:, 0].tolist() == [*range(60), *range(120, 180)]
    assert caplog.text.count(torn.name) == 1


def test_names_are_those_of_all_tiers(tmp_path: Path) -> None:
    assert recorded(tmp_path, 130).names() == tuple(sorted(NAMES))


def test_what_was_asked_of_the_system_is_a_demand(tmp_path: Path) -> None:
    recorded(tmp_path, 130)
    demand = store_demand(tmp_path)
    assert demand.requests_per_second.tolist() == [4.0] * 129
    assert demand.step_seconds == 1.0
    assert store_demand(tmp_path, "*ok*").requests_per_second.tolist() == [3.0] * 129


def test_an_answer_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_reader, "MAX_ROWS", 100)
    with pytest.raises(QueryError, match="more than 100 rows match; name fewer --series"):
        recorded(tmp_path, 130).read(Query())


def test_what_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"nothing matches nope .* it reaches from 2026-09-21T14:14:00"):
        recorded(tmp_path / "a", 130).read(Query(("nope",)))
    recorded(tmp_path / "b", 0)
    with pytest.raises(StoreError, match="nothing is kept in it yet"):
        StoreReader(tmp_path / "b").newest()
    with pytest.raises(QueryError, match="the store is empty"):
        StoreReader(tmp_path / "b").read(Query())


def test_a_demand_reaches_as_far_back_as_the_sweeps(tmp_path: Path) -> None:
    tiers = (TierConfig("raw", 0.0, 120.0, 10**9), TierConfig("1min", 60.0, 10**9, 10**9))
    reader = recorded(tmp_path, 600, StoreConfig(files_per_segment=2, tiers=tiers))
    demand = store_demand(tmp_path)
    assert len(demand) == START + 599.0 - reader.tiers[0].files[0].first
    assert set(demand.requests_per_second) == {4.0}
