from __future__ import annotations

import json
import math
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from telemetry.collectors.host import HostSource
from telemetry.collectors.scrape import parse_text
from telemetry.collectors.source import series_key
from telemetry.exposition import Exposition, ExpositionError, Format, negotiate
from telemetry.http_server import Answer, HttpServer, Request
from telemetry.sampler import Sampler
from telemetry.series_catalogue import Family
from telemetry.sweep import RowValues, Sweep

label_text = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), max_size=12)
NODE_EXPORTERS = ("node_memory_", "node_netstat_", "node_vmstat_", "node_sockstat_", "node_entropy_available_bits")
"""Its names that promtool objects to, there as here: node_memory_MemFree_bytes is no snake case."""
READERS = {Format.PROMETHEUS: read_prometheus, Format.OPENMETRICS: read_openmetrics}


def sweep(values: dict[str, float]) -> Sweep:
    """As the sampler makes it: NaN is in the row and not in the mapping."""
    return Sweep(0.0, RowValues(tuple(values), np.array(list(values.values()), dtype=float)))


def text(values: dict[str, float], form: Format = Format.PROMETHEUS) -> str:
    exposition = Exposition()
    exposition.show(sweep(values))
    return exposition.text(form).decode()


@pytest.mark.parametrize("form", Format)
@given(st.dictionaries(label_text, st.floats(), min_size=1, max_size=5))
def test_whatever_is_shown_is_read_back_and_nan_is_absent(form: Format, samples: dict[str, float]) -> None:
    shown = text({series_key("x_seconds", role=role): value for role, value in samples.items()}, form)
    read = {s.labels["role"]: s.value for family in READERS[form](shown) for s in family.samples}
    assert read == {role: value for role, value in samples.items() if not math.isnan(value)}


@given(st.dictionaries(label_text, st.floats(allow_nan=False), min_size=1, max_size=5))
def test_our_own_scraper_reads_what_we_show(samples: dict[str, float]) -> None:
    values = {series_key("x_seconds", role=role): value for role, value in samples.items()}
    assert parse_text(text(values)) == values


@given(label_text)
def test_any_help_is_read_back(words: str) -> None:
    for form, reader in READERS.items():
        exposition = Exposition(lambda name: Family(name, "gauge", words))
        exposition.show(sweep({"a": 1.0}))
        (family,) = reader(exposition.text(form).decode())
        assert family.documentation == (words.strip() or "a")


def test_values_of_a_host_are_read_by_both_parsers() -> None:
    sampler = Sampler([HostSource()], 1.0)
    sampler.sweep()
    last = sampler.sweep()
    exposition = Exposition()
    exposition.show(last)
    for form, reader in READERS.items():
        families = list(reader(exposition.text(form).decode()))
        assert sum(len(family.samples) for family in families) == len(last.values)
        assert all(family.documentation != family.name for family in families if "trimtab" in family.name)


def test_kind_unit_and_help_come_from_the_catalogue() -> None:
    shown = text({'node_cpu_seconds_total{cpu="0",mode="user"}': 1.5}, Format.OPENMETRICS)
    assert shown == (
        "# HELP node_cpu_seconds Time that a processor spent in a mode.\n# TYPE node_cpu_seconds counter\n"
        '# UNIT node_cpu_seconds seconds\nnode_cpu_seconds_total{cpu="0",mode="user"} 1.5\n# EOF\n'
    )


def test_a_scraped_histogram_stays_a_histogram() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("wait_seconds", "Wait.", ["route"], registry=registry, buckets=(0.5, 1, 2.5))
    for route in "ab":
        histogram.labels(route).observe(0.7)
    values = parse_text(generate_latest(registry).decode())
    shuffled = dict(sorted(values.items(), reverse=True))
    for form, reader in READERS.items():
        families = {family.name: family for family in reader(text(shuffled, form))}
        assert families["wait_seconds"].type == "histogram"
        found = families["wait_seconds"].samples
        samples = [(s.name, s.labels.get("le"), s.value) for s in found if not s.name.endswith("_created")]
        bounds = [("wait_seconds_bucket", le, float(float(le) >= 1)) for le in ("0.5", "1.0", "2.5", "+Inf")]
        child = [*bounds, ("wait_seconds_sum", None, 0.7), ("wait_seconds_count", None, 1.0)]
        assert samples == child * 2


def test_a_histogram_with_a_missing_bucket_is_left_out_as_a_whole() -> None:
    values = {'h_bucket{r="a",le="1"}': math.nan, 'h_bucket{r="a",le="+Inf"}': 2.0, 'h_count{r="a"}': 2.0}
    values |= {'h_bucket{r="b",le="1"}': 1.0, 'h_bucket{r="b",le="+Inf"}': 1.0, 'h_count{r="b"}': 1.0}
    assert {s.labels["r"] for family in read_prometheus(text(values)) for s in family.samples} == {"b"}


@pytest.mark.parametrize(
    "values",
    [
        {'h_bucket{le="1"}': 1.0, "h_count": 2.0},  # no bucket to +Inf
        {"node_vmstat_pgfault": 1.0, "process_count": 2.0},  # counted, by names that no counter may have
        {"a": 1.0, "a_total": 2.0},  # OpenMetrics calls both families a
        {'x{le="odd"}': 1.0, 'h_bucket{le="odd"}': 2.0, "h_bucket": 3.0},  # labels that are no bounds
        {'a_total{r="x"}': 1.0, 'a_total{r="y"}': 2.0, 'a_created{r="x"}': 3.0, 'a_created{r="y"}': 4.0},
        {'s{quantile="0.5"}': 1.0, "s_sum": 2.0, "s_count": 3.0},
        {'h_bucket{le="0.1"}': 1.0, 'h_bucket{le="+Inf"}': 1.0, "h_count": 1.0, "h_sum": 0.0, "h_total": 3.0},
    ],
)
def test_awkward_families_are_valid_in_both_formats(values: dict[str, float]) -> None:
    for form, reader in READERS.items():
        read = [sample for family in reader(text(values, form)) for sample in family.samples]
        assert sorted(sample.value for sample in read) == sorted(values.values())


def test_the_text_follows_what_goes_missing_and_comes_back() -> None:
    exposition = Exposition()
    names = ("a", "b")
    for row, expected in (([1, 2], {"a": 1, "b": 2}), ([math.nan, 3], {"b": 3}), ([4, 5], {"a": 4, "b": 5})):
        exposition.show(Sweep(0.0, RowValues(names, np.array(row, dtype=float))))
        assert parse_text(exposition.text().decode()) == expected


def test_before_the_first_sweep_there_is_nothing_to_show() -> None:
    assert Exposition().text() == b""
    assert list(read_openmetrics(Exposition().text(Format.OPENMETRICS).decode())) == []


def test_a_name_that_prometheus_does_not_allow_is_told() -> None:
    with pytest.raises(ExpositionError, match="'a b' must match"):
        text({"a b": 1.0})


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.PROMETHEUS),
        ("*/*", Format.PROMETHEUS),
        ("text/plain;version=0.0.4", Format.PROMETHEUS),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", Format.OPENMETRICS),
    ],
)
def test_the_reader_chooses_the_format(accept: str, form: Format) -> None:
    assert negotiate(accept) is form


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_objects_to_nothing_but_names_that_are_node_exporters() -> None:
    exposition = Exposition()
    exposition.show(Sampler([HostSource()], 1.0).sweep())
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition.text(), capture_output=True, timeout=20)
    found = (done.stdout + done.stderr).decode().splitlines()
    assert [line for line in found if not line.startswith(NODE_EXPORTERS)] == []


@pytest.mark.system
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no Prometheus server (apt-get install prometheus)")
def test_a_real_prometheus_server_scrapes_and_answers_queries(tmp_path: Path) -> None:
    sampler, exposition, scraped = Sampler([HostSource()], 1.0), Exposition(), threading.Semaphore(0)

    def answer(request: Request) -> Answer:
        form = negotiate(request.headers["accept"])
        exposition.show(sampler.sweep())
        scraped.release()
        return Answer(200, exposition.text(form), form.value)

    server, other = HttpServer(0, answer), HttpServer(0, answer)
    other.close()  # its port is free for the Prometheus server
    target: dict[str, Any] = {"job_name": "trimtab", "scrape_interval": "250ms", "scrape_timeout": "250ms"}
    target["static_configs"] = [{"targets": [f"127.0.0.1:{server.port}"]}]
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [target]}))
    places = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    command = ["prometheus", *places, f"--web.listen-address=127.0.0.1:{other.port}"]
    prometheus = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        assert all(scraped.acquire(timeout=30) for _ in range(4))  # with the fourth, the first is stored
        query = urllib.parse.urlencode({"query": "scrape_samples_scraped and up == 1"})
        with urllib.request.urlopen(f"http://127.0.0.1:{other.port}/api/v1/query?{query}", timeout=5) as response:
            (found,) = json.load(response)["data"]["result"]
    finally:
        prometheus.terminate()
        prometheus.wait(10)
        server.close()
    assert float(found["value"][1]) > 500
