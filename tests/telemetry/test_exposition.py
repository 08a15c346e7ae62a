from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from telemetry.collectors.scrape import parse_text
from telemetry.collectors.source import series_key
from telemetry.exposition import Family, families_of, render

label_text = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), max_size=12)


@given(st.dictionaries(label_text, st.floats(), min_size=1, max_size=5), label_text)
def test_whatever_is_rendered_is_read_back_by_prometheus(samples: dict[str, float], text: str) -> None:
    family = Family("x_seconds", text, "gauge", {(("role", role),): value for role, value in samples.items()})
    (read,) = text_string_to_metric_families(render([family]).decode())
    back = {sample.labels["role"]: sample.value for sample in read.samples}
    assert back.keys() == samples.keys()
    for role, value in samples.items():
        assert back[role] == value or (math.isnan(back[role]) and math.isnan(value))


@given(st.dictionaries(label_text, st.floats(allow_nan=False), min_size=1, max_size=5))
def test_our_own_scraper_reads_what_we_render(samples: dict[str, float]) -> None:
    family = Family("x_seconds", "x", "gauge", {(("role", role),): value for role, value in samples.items()})
    expected = {series_key("x_seconds", role=role): value for role, value in samples.items()}
    assert parse_text(render([family]).decode()) == expected


def test_the_values_of_a_sweep_become_families() -> None:
    values = {'a_total{m="x, \\"y\\""}': 1.0, 'a_total{m="z"}': 2.0, "b_bytes": 3.0, 'h_bucket{le="+Inf"}': 4.0}
    text = render(families_of(values, {"b_bytes": "Bytes of b."})).decode()
    assert "# HELP b_bytes Bytes of b.\n# TYPE b_bytes gauge\nb_bytes 3.0\n" in text
    assert "# TYPE a_total counter" in text
    assert parse_text(text) == values


@pytest.mark.parametrize(
    ("families", "message"),
    [
        ([Family("a b", "x")], "metric name 'a b'"),
        ([Family("a", "x", "counter")], "must end in _total"),
        ([Family("a", "x", "level")], "allowed are gauge, counter, untyped"),
        ([Family("a", "x"), Family("a", "x")], "given twice"),
        ([Family("a", "x", samples={(("le-le", "1"),): 1.0})], "label name 'le-le'"),
    ],
)
def test_what_the_format_does_not_allow_is_refused(families: list[Family], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render(families)


def test_nothing_renders_as_nothing() -> None:
    assert render([]) == b""
