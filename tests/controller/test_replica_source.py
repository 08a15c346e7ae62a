"""The readings of replicas are those of an average ready one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.components import Component
from controller.replica_source import ReplicaSource, growth
from controller.replicas import Members
from telemetry.collectors.source import SourceError


class Pages:
    """A replica's pages, as they are set."""

    def __init__(self) -> None:
        self.page: dict[str, float] | None = {}

    def begin(self, pool: object) -> None:
        pass

    def collect(self) -> dict[str, float]:
        if self.page is None:
            raise SourceError("it does not answer")
        return dict(self.page)


def made(count: int, ready_share: float = 0.5) -> tuple[ReplicaSource, list[Pages]]:
    each = tuple(Component(f"serving-{i}", "") for i in range(count))
    members = Members(Component("serving", "", replicas=each, ready_share=ready_share))
    pages = [Pages() for _ in range(count)]
    return ReplicaSource(dict(zip(members.names, pages, strict=True)), members), pages


def show(pages: list[Pages], *values: dict[str, float] | None) -> None:
    for one, page in zip(pages, values, strict=True):
        one.page = page


def test_levels_are_means_and_counters_grow_by_the_mean_growth():
    source, pages = made(2)
    show(pages, {"queue": 2.0, "done_total": 100.0}, {"queue": 4.0, "done_total": 5000.0})
    first = source.collect()
    show(pages, {"queue": 1.0, "done_total": 110.0}, {"queue": 0.0, "done_total": 5030.0})
    second = source.collect()
    assert (first["queue"], second["queue"]) == (3.0, 0.5)
    assert second["done_total"] - first["done_total"] == 20.0


def test_a_replica_that_is_missing_once_costs_its_own_part_only():
    source, pages = made(2)
    totals = []
    for one, other in [(100.0, 100.0), (110.0, 130.0), (120.0, None), (130.0, 190.0), (140.0, 220.0)]:
        show(pages, {"done_total": one}, None if other is None else {"done_total": other})
        totals.append(source.collect()["done_total"])
    assert [after - before for before, after in itertools.pairwise(totals)] == [20.0, 10.0, 10.0, 20.0]


def test_a_replica_that_began_anew_does_not_count_in_that_sweep():
    source, pages = made(2)
    show(pages, {"done_total": 100.0}, {"done_total": 100.0})
    before = source.collect()["done_total"]
    show(pages, {"done_total": 104.0}, {"done_total": 3.0})
    after = source.collect()["done_total"]
    assert after - before == 4.0


def test_where_all_began_anew_there_is_no_reading():
    source, pages = made(2)
    show(pages, {"done_total": 100.0}, {"done_total": 100.0})
    source.collect()
    show(pages, {"done_total": 1.0}, {"done_total": 2.0})
    with pytest.raises(SourceError, match="0 of 2 replicas can be read, at least 1 must"):
        source.collect()


@pytest.mark.parametrize(("share", "least"), [(0.5, 2), (1.0, 3), (0.1, 1)])
def test_below_the_least_share_the_workload_counts_as_missing(share, least):
    source, pages = made(3, share)
    for answering in range(3, -1, -1):
        show(pages, *({"queue": 1.0} if i < answering else None for i in range(3)))
        if answering >= least:
            assert source.collect()["queue"] == 1.0
        else:
            with pytest.raises(SourceError, match=f"{answering} of 3 replicas can be read, at least {least} must"):
                source.collect()


def test_a_replica_that_is_not_ready_is_watched_and_not_counted():
    source, pages = made(2)
    source._members.leave("serving-1", "old knobs")
    show(pages, {"queue": 2.0}, {"queue": 100.0})
    assert source.collect()["queue"] == 2.0
    assert source.silent == {"serving-0": 0, "serving-1": 0}


def test_the_oldest_moment_stands_for_all():
    source, pages = made(2)
    show(pages, {"model_trained_timestamp_seconds": 1.7e9}, {"model_trained_timestamp_seconds": 0.0})
    assert source.collect()["model_trained_timestamp_seconds"] == 0.0


def test_what_is_no_number_on_one_replica_is_told_by_the_others():
    source, pages = made(2)
    show(pages, {"queue": float("nan")}, {"queue": 3.0})
    assert source.collect()["queue"] == 3.0


@given(st.lists(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=3, max_size=3), min_size=1, max_size=12))
def test_counters_never_fall_whoever_comes_and_goes(sweeps):
    source, pages = made(3)
    last = 0.0
    for values in sweeps:
        show(pages, *(None if value is None else {"done_total": value} for value in values))
        try:
            total = source.collect().get("done_total", last)
        except SourceError:
            continue
        assert total >= last
        last = total


def test_growth_is_of_counters_that_are_in_both_pages():
    assert growth({"a_total": 1.0, "level": 5.0}, {"a_total": 3.0, "level": 1.0, "b_total": 9.0}) == {"a_total": 2.0}
    assert growth({"a_total": 3.0}, {"a_total": 1.0}) is None
