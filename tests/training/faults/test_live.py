"""Parts of the live campaign that need no testbed."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.processes import boot_seconds
from training.faults.hazards import HAZARDS
from training.faults.live_controller import LiveController, request, restored
from training.faults.live_faults import live_faults
from training.faults.live_measures import Requests, rollbacks_near_faults, wilson
from training.faults.live_proxy import LyingProxy

PAGE = b'# HELP x\nload_requests_sent_total 100.0\nload_responses_total{outcome="ok"} 90.0\n'


@pytest.fixture
def component() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PAGE if self.path == "/metrics" else b'{"knobs": {"a": {"value": 3}}}')

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("lie", "page"),
    [("truth", PAGE), ("tenfold", PAGE.replace(b"100.0", b"1000.0").replace(b"90.0", b"900.0")),
     ("nan", PAGE.replace(b"100.0", b"NaN").replace(b"90.0", b"NaN")), ("nothing", b"")],
)  # fmt: skip
def test_the_proxy_lies_about_metrics_alone(component: str, lie: str, page: bytes) -> None:
    proxy = LyingProxy(component)
    try:
        proxy.lie = lie
        assert request("GET", f"{proxy.url}/metrics") == page
        assert b"knobs" in request("GET", f"{proxy.url}/knobs")
    finally:
        proxy.close()


def test_a_step_of_a_lease_is_restored_when_its_values_are_in_force(component: str) -> None:
    step = {"kind": "http", "url": f"{component}/knobs", "values": {"a": 3.0}}
    assert restored(step)
    assert not restored({**step, "values": {"a": 4.0}})
    assert restored({**step, "values": {"a": 4.0}, "pid": 2**22 + 1, "start": 1}), "its process took its settings along"


def test_a_group_is_restored_when_it_is_gone(tmp_path: Path) -> None:
    assert not restored({"kind": "group", "path": str(tmp_path)})
    assert restored({"kind": "group", "path": str(tmp_path / "gone")})


def test_failures_count_against_trimtab_unless_the_component_itself_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    requests, page = Requests(), {"sent": 0, "ok": 0, "error": 0}

    def answer(*_: object) -> bytes:
        outcomes = "\n".join(f'load_responses_total{{outcome="{name}"}} {page[name]}' for name in ("ok", "error"))
        return f"load_requests_sent_total {page['sent']}\n{outcomes}\n".encode()

    monkeypatch.setattr("training.faults.live_measures.request", answer)
    requests.look("http://load", excused=False, fault="none")
    page |= {"sent": 100, "ok": 99, "error": 1}
    requests.look("http://load", excused=False, fault="disk full")
    page |= {"sent": 150, "ok": 109, "error": 41}
    requests.look("http://load", excused=True, fault="serving killed")
    assert requests.availability == 0.99
    assert (requests.own_sent, requests.own_failed) == (50, 40)
    assert requests.by_fault == {"disk full": 1}


def test_rollbacks_during_a_fault_or_soon_after_it_are_told_apart() -> None:
    def decision(time: float, *outcomes: str) -> dict[str, object]:
        return {"kind": "decision", "time": time, "verdicts": [{"outcome": outcome} for outcome in outcomes]}

    records = [
        {"kind": "start"}, decision(99.0, "rolled_back"), decision(100.0, "keep"), decision(125.0, "rolled_back"),
        decision(125.5, "rolled_back", "rolled_back"),
    ]  # fmt: skip
    found = rollbacks_near_faults(records, [(100.0, 115.0)])
    assert found == {"rolled_back_near_faults": 1, "time_near_faults_ratio": 0.5}


def test_the_wall_clock_of_a_controller_jumps_and_the_clock_since_boot_does_not(tmp_path: Path) -> None:
    controller = LiveController([], tmp_path, tmp_path / "log")
    controller.jump(-3600.0)
    program = (
        "import time; from telemetry.processes import boot_seconds; print(time.time(), time.time_ns(), boot_seconds())"
    )
    told = subprocess.run([sys.executable, "-c", program], env=controller.environment, capture_output=True, check=True)
    wall, nanoseconds, boot = map(float, told.stdout.split())
    assert abs(time.time() - 3600.0 - wall) < 60.0
    assert abs(nanoseconds / 1e9 - wall) < 60.0
    assert abs(boot_seconds() - boot) < 60.0


def test_wilsons_interval_is_that_of_the_book() -> None:
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 0) == [0.0, 1.0]


def test_live_faults_stand_for_hazards_of_the_contract() -> None:
    faults = live_faults(small_disk=True)
    assert {fault.hazard for fault in faults} <= set(HAZARDS)
    assert len({fault.name for fault in faults}) == len(faults)
    assert "disk full" not in {fault.name for fault in live_faults(small_disk=False)}
