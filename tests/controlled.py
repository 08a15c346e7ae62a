"""Fixtures of controller and safety tests: a controller on a toy plant, and components that answer over real HTTP."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from controller.journal import Journal
from controller.loop import Controller, ControllerConfig
from envs.spec import Role, SystemSpec
from envs.task import Task
from plants import ToyPlant


class ScriptedPolicy:
    """Asks for knob values by name; what is not named stays."""

    def __init__(self, task: Task, name: str = "scripted", **wanted: float) -> None:
        self.name, self.task, self.wanted = name, task, wanted
        self.error: Exception | None = None
        self.answer: np.ndarray | None = None
        self.calls = 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer
        setting = self.task.setting(observation)
        for knob, value in self.wanted.items():
            setting[self.task.spec.knob_index(knob)] = value
        return self.task.encode(setting)

    def reset(self) -> None:
        pass


@pytest.fixture(scope="session")
def spec() -> SystemSpec:
    return SystemSpec.load("reference")


@pytest.fixture
def plant(spec: SystemSpec) -> ToyPlant:
    return ToyPlant(spec)


@pytest.fixture
def policy(spec: SystemSpec) -> ScriptedPolicy:
    return ScriptedPolicy(Task(spec, Role.TUNING))


@pytest.fixture
def fallback(spec: SystemSpec) -> ScriptedPolicy:
    return ScriptedPolicy(Task(spec, Role.TUNING), "fallback")


@pytest.fixture
def allocator(spec: SystemSpec) -> ScriptedPolicy:
    return ScriptedPolicy(Task(spec, Role.ALLOCATION), "allocator")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.jsonl")
    yield journal
    journal.close()


@pytest.fixture
def make_controller(
    plant: ToyPlant,
    policy: ScriptedPolicy,
    fallback: ScriptedPolicy,
    allocator: ScriptedPolicy,
    journal: Journal,
) -> Callable[..., Controller]:
    def make(mode: str = "act", config: ControllerConfig | None = None) -> Controller:
        return Controller(
            plant,
            {Role.ALLOCATION: allocator, Role.TUNING: policy},
            {Role.TUNING: fallback},
            journal,
            mode=mode,
            config=config,
            clock=plant.clock,
            wall_clock=lambda: 1.7e9,
        )

    return make


@pytest.fixture
def controller(make_controller: Callable[..., Controller]) -> Controller:
    """In mode act, with enough history that a change can be judged."""
    controller = make_controller()
    for _ in range(7):
        controller.step()
    return controller


class FakeComponent:
    """A component as it shows itself: metrics, knobs, health over real HTTP, and a real process.

    Attributes:
        metrics: series -> value, as `/metrics` shows them.
        knobs: name -> value.
        behaviour: "good", "error" (500), "garbage", "slow" (never answers), "refuses" (422 to changes), "conflict"
            (409 to changes), "dies" (when it has taken a change) or "gone" (closes every connection).
        least_step: what it rounds a change up to; 0 takes it as it is.
        requests: method and path of each request, and the body of changes.
    """

    def __init__(self, name: str, knobs: dict[str, float]) -> None:
        self.name, self.knobs, self.metrics = name, dict(knobs), {"process_cpu_seconds_total": 1.0}
        self.behaviour, self.requests = "good", []
        self.least_step = 0
        self.released = threading.Event()
        self.process = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def entry(self) -> dict[str, object]:
        return {"url": self.url, "pid": self.process.pid}

    def restart(self, knobs: dict[str, float]) -> None:
        """A new process with other knob values."""
        self.process.kill()
        self.process.wait()
        self.process, self.knobs = subprocess.Popen(["sleep", "600"], start_new_session=True), dict(knobs)

    def die(self) -> None:
        """Its process ends, and nothing answers any more."""
        self.behaviour = "gone"
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.process.kill()
        self.process.wait()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        self.requests.append((method, path, json.loads(body) if body else None))
        if self.behaviour == "slow":
            self.released.wait(30)
        if self.behaviour == "error":
            return 500, b"Internal Server Error"
        if self.behaviour == "garbage":
            return 200, b"\xff<html>[[["
        if path == "/metrics":
            return 200, "".join(f"{series} {value}\n" for series, value in self.metrics.items()).encode()
        if method == "PATCH":
            if self.behaviour == "refuses":
                return 422, b'{"error": "allowed is an integer from 1 to 64"}'
            if self.behaviour == "conflict":
                return 409, b'{"error": "busy"}'
            changes = json.loads(body)
            if self.least_step:
                changes = {name: -(-value // self.least_step) * self.least_step for name, value in changes.items()}
            self.knobs |= changes
            if self.behaviour == "dies":
                self.die()
            return 200, json.dumps({"applied": changes}).encode()
        described = {
            name: {"value": value, "low": 0, "high": 1e4, "integer": False} for name, value in self.knobs.items()
        }
        return 200, json.dumps({"knobs": described}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if fake.behaviour == "gone":
                    return
                status, content = fake.answer(self.command, self.path, body)
                try:
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the client gave up waiting, as it should

            do_PATCH = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def make_component() -> Iterator[Callable[..., FakeComponent]]:
    made: list[FakeComponent] = []

    def make(name: str, **knobs: float) -> FakeComponent:
        made.append(FakeComponent(name, knobs))
        return made[-1]

    yield make
    for component in made:
        component.close()


@pytest.fixture
def system(make_component: Callable[..., FakeComponent], spec: SystemSpec) -> dict[str, FakeComponent]:
    """Serving, training, ingest and load with the spec's default knobs."""
    components = {}
    for name in ("serving", "training", "ingest", "load"):
        own = {k.name: k.default for k in spec.knobs if k.workload == name and k.actuator == "component"}
        components[name] = make_component(name, **own)
    return components
