from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from controller.monitor import Surviving, run_monitor
from controller.monitor_sources import MonitorError, MonitorOptions
from killing import wait_until
from telemetry.client import Pusher, Registry
from telemetry.http_server import Answer, HttpServer, PortTaken, Request
from telemetry.sampler import Sweep
from telemetry.store import Store

PATIENT = 60.0
"""Period of one sweep, which comes at once: half of it is the deadline of the scrapes."""


def lines_of(capsys: pytest.CaptureFixture[str], period: float = 0.1, **options: object) -> list[str]:
    run_monitor(MonitorOptions(period=period, **options))  # type: ignore[arg-type]
    return capsys.readouterr().out.splitlines()


def test_json_is_one_object_a_sweep_with_nothing_but_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, sweeps=2, json=True)
    assert len(lines) == 2
    for line in lines:
        found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert found["series"] == len(found["values"]) > 300
        assert found["errors"] == {}


def test_without_a_terminal_a_sweep_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, sweeps=2)
    assert len(lines) == 2
    assert "cpu " in lines[1]
    assert "pressure " in lines[1]


def test_processes_are_watched_by_id_and_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "input()", "an-unmistakable-name"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as watched:
        (line,) = lines_of(capsys, sweeps=1, json=True, pids=(watched.pid,), names=("mistakable-n[a]me",))
        watched.communicate(b"\n")
    values = json.loads(line)["values"]
    for group in (f"pid-{watched.pid}", "mistakable-n[a]me"):
        assert values[f'process_resident_memory_bytes{{group="{group}"}}'] > 1e6
        assert values[f'process_count{{group="{group}"}}'] == 1


@pytest.fixture
def program() -> Iterator[HttpServer]:
    def answer(request: Request) -> Answer:
        return Answer(200, b"# HELP odd_things Odd ones.\n# TYPE odd_things gauge\nodd_things 3\n")

    server = HttpServer(0, answer)
    yield server
    server.close()


def test_a_scraped_program_is_a_component(program: HttpServer, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of(capsys, PATIENT, sweeps=1, json=True, scrapes=(f"x=http://127.0.0.1:{program.port}/metrics",))
    assert json.loads(line)["values"]['odd_things{component="x"}'] == 3.0


def test_a_program_that_does_not_answer_is_told_and_costs_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of(capsys, PATIENT, sweeps=1, json=True, scrapes=("x=http://127.0.0.1:9/metrics",))
    found = json.loads(line)
    assert "Connection refused" in found["errors"]["x"]
    assert found["series"] > 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pids": (2**22 + 1,)}, "there is no process 4194305"),
        ({"components": Path("nowhere.json")}, "no components in nowhere.json"),
        ({"scrapes": ("http://a/metrics",)}, "must be NAME=URL"),
        ({"scrapes": ("a=https://a/metrics",)}, "allowed is http://host:port/path"),
        ({"scrapes": ("host=http://127.0.0.1:9/metrics",)}, "two sources are called 'host'"),
        ({"push": 0, "token_file": Path("nowhere")}, "no token in nowhere"),
        ({"push": 0, "token_file": Path(os.devnull)}, "is empty"),
    ],
)
def test_what_cannot_be_watched_is_told_before_the_first_sweep(options: dict[str, object], message: str) -> None:
    with pytest.raises(MonitorError, match=message):
        run_monitor(MonitorOptions(sweeps=1, **options))  # type: ignore[arg-type]


def test_a_port_in_use_is_told(program: HttpServer) -> None:
    with pytest.raises(PortTaken, match=str(program.port)):
        run_monitor(MonitorOptions(sweeps=1, serve=program.port))


def test_options_reach_the_service_unchanged() -> None:
    options = MonitorOptions(components=Path("a b.json"), pids=(1, 2), names=("x.*",), store=Path("s"), serve=0)
    assert MonitorOptions.from_json(options.to_json()) == options


def test_a_full_disk_costs_two_lines_of_log_and_no_sweep(caplog: pytest.LogCaptureFixture) -> None:
    full = [True, True, False, False]

    def append(_: Sweep) -> None:
        if full.pop(0):
            raise OSError("No space left on device")

    output = Surviving(append, "storing in s")
    for _ in range(4):
        output(Sweep(0.0, {}))
    assert caplog.messages == ["storing in s fails: No space left on device", "storing in s works again"]
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.system
def test_the_service_serves_takes_pushes_and_stores_until_it_is_told_to_stop(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    options = MonitorOptions(period=0.1, serve=0, push=0, store=tmp_path / "store", token_file=token)
    command = [sys.executable, "-m", "controller.monitor", options.to_json()]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert service.stderr is not None
    url = service.stderr.readline().strip().removesuffix("/metrics")
    registry = Registry()
    registry.gauge("training_loss").set(0.5)
    assert Pusher(registry, url, "nightly", "i", token="s3cret").push()
    assert not Pusher(registry, url, "nightly", "i").push()
    request, pages = urllib.request.Request(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"}), []

    def pushed() -> bool:
        with urllib.request.urlopen(request, timeout=30) as response:
            pages.append(response.read().decode())
        return "training_loss" in pages[-1]

    wait_until(pushed)  # the sweep after the push shows it
    service.send_signal(signal.SIGTERM)
    assert service.wait(60) == 0
    service.stderr.close()
    families = {family.name: family for family in text_string_to_metric_families(pages[-1])}
    assert families["training_loss"].samples[0].labels == {"job": "nightly", "instance": "i"}
    assert families["node_cpu_seconds"].type == "counter"
    assert list((tmp_path / "store").rglob("*.parquet"))


def test_a_folder_that_another_monitor_writes_is_one_line(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path)):
        options = MonitorOptions(serve=0, store=tmp_path, sweeps=1)
        command = [sys.executable, "-m", "controller.monitor", options.to_json()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.stderr


def test_the_service_loads_neither_the_command_line_nor_what_is_heavy() -> None:
    script = (
        "import sys, controller.monitor, telemetry.store\n"
        "print({'typer', 'rich', 'pydantic', 'pyarrow', 'ssl', 'psutil', 'gymnasium', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
