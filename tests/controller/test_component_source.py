"""A component's pages: new ones are readings, old ones are none."""

from __future__ import annotations

import pytest

from controller.component_source import PAGES, STALE_SECONDS, WRITTEN_AT, ComponentSource, Freshness
from plants import FakeClock
from telemetry.collectors.source import SourceError


def page(number: float, written: float) -> dict[str, float]:
    return {PAGES: number, WRITTEN_AT: written}


@pytest.mark.clause("O1")
def test_a_page_that_comes_twice_is_no_reading(make_component):
    component = make_component("serving")
    component.metrics |= page(1.0, 0.0)
    source = ComponentSource("serving", lambda _: component.url, FakeClock())
    assert source.collect()
    with pytest.raises(SourceError, match="page 1 came again"):
        source.collect()
    component.metrics |= page(2.0, 1.0)
    assert source.collect()


@pytest.mark.clause("O1")
def test_a_page_that_is_delivered_late_is_no_reading_whatever_the_other_clock_shows():
    freshness, ahead = Freshness(), 5000.0
    assert freshness.fault(page(1, ahead), 0.0) == ""
    assert freshness.fault(page(2, ahead + 1.0), 1.0) == ""
    assert freshness.fault(page(3, ahead + 2.0), 2.0 + STALE_SECONDS) == ""
    assert "old" in freshness.fault(page(4, ahead + 3.0), 3.1 + STALE_SECONDS)


@pytest.mark.clause("O1")
def test_pages_that_catch_up_are_readings_again():
    freshness = Freshness()
    freshness.fault(page(1, 0.0), 0.0)
    assert freshness.fault(page(2, 1.0), 10.0) != ""
    assert freshness.fault(page(3, 10.9), 11.0) == ""


def test_a_new_process_counts_its_pages_from_the_beginning():
    freshness = Freshness()
    freshness.fault(page(50, 100.0), 100.0)
    assert freshness.fault(page(1, 0.0), 101.0) == ""
    assert freshness.fault(page(1, 0.0), 102.0) != ""


def test_a_component_that_numbers_nothing_is_believed(make_component):
    component = make_component("serving")
    source = ComponentSource("serving", lambda _: component.url, FakeClock())
    assert source.collect() == source.collect()
