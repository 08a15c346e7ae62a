from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from telemetry.collectors.cgroup import CgroupSource
from telemetry.collectors.host import HostSource
from telemetry.collectors.process import ProcessSource
from telemetry.collectors.scrape import ScrapeSource
from telemetry.collectors.source import parse_key
from telemetry.exposition import Exposition
from telemetry.metrics_page import page
from telemetry.push import PushSource
from telemetry.sampler import Sampler, Sweep
from telemetry.series_catalogue import GROUPS, describe

KINDS = {"gauge", "counter", "histogram", "summary", "untyped"}


def test_all_that_our_sources_give_is_described() -> None:
    clock = iter(range(0, 10_000, 10))  # processes are old enough for series of their own
    group = next((line.split(":")[2].strip()[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()), "")
    sources = [
        HostSource(),
        ProcessSource({"tests": os.getpid()}, clock=lambda: float(next(clock))),
        CgroupSource({"tests": group}),
        PushSource(),
    ]
    sampler = Sampler(sources, 1.0)
    for _ in range(3):
        sweep = sampler.sweep()
    assert sweep.errors == {}
    assert any(name.startswith("workload_thread_") for name in sweep.names)
    assert {parse_key(name)[0] for name in sweep.names if describe(parse_key(name)[0]) is None} == set()


def test_all_that_the_components_of_the_testbed_count_is_described() -> None:
    from testbed.ingest import IngestMetrics
    from testbed.load import LoadMetrics
    from testbed.serving import ServingMetrics
    from testbed.trainer import TrainingMetrics

    registry = CollectorRegistry()
    for metrics in (IngestMetrics, LoadMetrics, ServingMetrics, TrainingMetrics):
        metrics(registry)
    for family in registry.collect():
        described = describe(f"{family.name}_total" if family.type == "counter" else family.name)
        assert described is not None, family.name
        assert described.kind == family.type, family.name


@pytest.mark.parametrize("title", GROUPS)
def test_every_entry_has_a_kind_a_source_and_a_sentence(title: str) -> None:
    for family in GROUPS[title]:
        assert family.kind in KINDS, family.name
        assert family.source, family.name
        assert family.help[0].isupper() or family.help[0].isdigit() or family.help.startswith(("NVML", "KiB"))
        assert family.help.endswith((".", "*")), family.name
        assert family.kind != "counter" or family.name.endswith("_total") or family.name in UNTOTALLED


UNTOTALLED = {"container_memory_failcnt", "node_network_*"}
"""cAdvisor's name, and a pattern whose series all end in `_total`."""


def test_no_entry_is_given_twice() -> None:
    names = [family.name for families in GROUPS.values() for family in families]
    assert sorted(set(names)) == sorted(names)


NODE_EXPORTER = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")


@pytest.mark.system
@pytest.mark.skipif(NODE_EXPORTER is None, reason="no node_exporter (apt-get install prometheus-node-exporter)")
def test_what_node_exporter_has_too_has_its_name_and_kind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(NODE_EXPORTER), f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as exporter:
        assert exporter.stderr is not None
        assert any("Listening on" in line for line in exporter.stderr)
        source = ScrapeSource("node_exporter", f"http://127.0.0.1:{port}/metrics", deadline=10.0)
        source.collect()
        exporter.terminate()
    ours = {parse_key(name)[0] for name in Sampler([HostSource()], 1.0).sweep().names}
    shared = {name: family.kind for name, family in source.families.items() if name in ours}
    assert len(shared) > 80
    assert shared == {name: describe(name).kind for name in shared}  # type: ignore[union-attr]


def test_a_pattern_tells_what_it_stands_for() -> None:
    found = describe("node_netstat_Tcp_InSegs")
    assert found is not None
    assert (found.name, found.kind, found.help) == (
        "node_netstat_Tcp_InSegs",
        "untyped",
        "The kernel's protocol figure Tcp_InSegs.",
    )
    assert describe("somebody_elses_total") is None


@pytest.mark.parametrize(
    ("name", "unit"),
    [("node_cpu_seconds_total", "seconds"), ("node_load1", ""), ("container_memory_usage_bytes", "bytes")],
)
def test_the_unit_is_the_end_of_the_name(name: str, unit: str) -> None:
    found = describe(name)
    assert found is not None
    assert found.unit == unit


def test_help_reaches_the_exposition() -> None:
    exposition = Exposition()
    exposition.show(Sweep(0.0, {"node_load1": 1.0}))
    assert b"# HELP node_load1 Mean number of tasks that run or wait, over a minute.\n" in exposition.text()


def test_the_page_in_docs_is_that_of_the_tables() -> None:
    written = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert written == page(), "run `trimtab docs`"
