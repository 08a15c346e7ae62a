"""Faults of what people and their tools do: H15, H16, H19."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from controller import commands
from controller.access import Tokens
from controller.decision import Mode
from controller.face import COMMANDS, application
from envs.spec import SpecError, SystemSpec
from training.faults.hazards import fault
from training.faults.world import World


@fault("H15")
def operator_edits(world: World) -> None:
    """An operator sets a knob by hand while the controller runs."""
    knob = world.spec.knobs[int(world.rng.integers(len(world.spec.knobs)))]
    drawn = float(world.rng.uniform(knob.low, knob.high))
    world.at(world.spell().start, lambda: world.edit(knob.name, float(round(drawn)) if knob.integer else drawn))


@fault("H15")
def operator_pins(world: World) -> None:
    """An operator pins knobs to values within their bounds, and lets them go."""
    pins = {
        knob.name: float(world.rng.uniform(knob.low, knob.high))
        for knob in world.spec.knobs
        if world.rng.random() < 0.2 and knob.name.partition("_cpu_")[1] == ""
    }
    spell = world.spell()
    world.during(spell, lambda: world.command("pins", json.dumps(pins)), lambda: world.command("pins", "{}"))


@fault("H15")
def operator_pauses(world: World) -> None:
    """An operator pauses, and resumes."""
    world.during(world.spell(), lambda: world.command("pause", ""), lambda: world.withdraw("pause"))


@fault("H15")
def operator_kills(world: World) -> None:
    """The kill switch is turned on, and off again."""
    world.during(world.spell(), lambda: world.command("kill", ""), lambda: world.withdraw("kill"))


@fault("H15")
def operator_switches_modes(world: World) -> None:
    """An operator goes through all modes in turn."""
    for period in world.spell(5, 20):
        mode = str(world.rng.choice(["off", "shadow", "act"]))
        world.at(period, lambda mode=mode: world.command("mode", mode))  # type: ignore[misc]


@fault("H15")
def operator_switches_modes_of_workloads(world: World) -> None:
    """An operator gives workloads modes of their own, from one rung to another, and approves some of what waits."""
    rungs, workloads = [str(mode) for mode in Mode], list(world.spec.workloads)

    def approve() -> None:
        waiting = [] if world.controller is None else list(world.controller.kernel.adviser.waiting.values())
        for advice in waiting:
            commands.write_atomically(world.directory / f"{commands.APPROVE}{advice.move.id}", "")
            world.notes.approved.add(advice.move.id)

    for period in world.spell(15, 30):
        name, mode = f"mode.{world.rng.choice(workloads)}", str(world.rng.choice(rungs))
        if world.rng.random() < 0.4:
            world.at(period, lambda name=name, mode=mode: world.command(name, mode))  # type: ignore[misc]
        if world.rng.random() < 0.4:
            world.at(period, approve)


@fault("H15")
def operator_reverts(world: World) -> None:
    """An operator asks for what was found at start, several times."""
    for _ in range(3):
        world.at(world.spell().start, lambda: world.command("revert", ""))


@fault("H16")
def spec_file_damaged(world: World) -> None:
    """A spec of random or altered bytes is loaded: refused in one line, and the one in use stays."""
    text = bytearray((Path(__file__).parents[2] / "envs/specs/reference.toml").read_bytes())
    for position in world.rng.integers(0, len(text), size=int(world.rng.integers(1, 40))):
        text[position] = int(world.rng.integers(256))

    def load() -> None:
        with tempfile.NamedTemporaryFile(suffix=".toml", dir=world.directory) as file:
            file.write(bytes(text))
            file.flush()
            try:
                SystemSpec.load(file.name)
            except SpecError:
                return

    world.at(world.spell().start, load)


@fault("H16")
def bounds_narrowed(world: World) -> None:
    """The controller is started anew with narrower bounds than what is in force."""
    plain = world.spec.model_dump(mode="json")
    for knob in plain["knobs"]:
        if not knob["integer"] and world.rng.random() < 0.5:
            _narrow(knob, float(world.rng.uniform(0.1, 0.4)))
    narrowed = SystemSpec.model_validate(plain)

    def again() -> None:
        world.kill()
        world.use(narrowed)
        world.start()

    world.at(world.spell().start, again)


def _narrow(knob: dict[str, Any], share: float) -> None:
    low, high = knob["low"], knob["high"]
    knob["high"] = high - share * (high - low)
    knob["low"] = low + share * 0.2 * (high - low)
    knob["default"] = min(max(knob["default"], knob["low"]), knob["high"])


@fault("H19")
def hostile_command_files(world: World) -> None:
    """Somebody writes random bytes, absurd values, folders and links where operators' commands are read."""
    rng = world.rng
    names = ["mode", "mode.serving", "pins", "pause", "rollback", "revert", "kill"]

    def attack() -> None:
        name = str(rng.choice(names))
        path = world.directory / world.command_file(name)
        contents = [
            rng.bytes(64), b"act\n" * 1000, b'{"serving_cpu_cores": NaN}', b'{"serving_cpu_cores": 1e308}', b"[" * 500,
            b'{"no_such_knob": 1}', b'{"serving_batch_size": "rm -rf"}', b"inf", b"nan", b"", b"-1e999", b"\xff\xfe",
        ]  # fmt: skip
        if path.is_dir():
            path.rmdir()
        if rng.random() < 0.1 and name in ("mode", "mode.serving", "pins", "pause"):
            path.unlink(missing_ok=True)
            path.mkdir()
            return
        path.write_bytes(contents[int(rng.integers(len(contents)))])

    def end() -> None:
        for name in names:
            path = world.directory / world.command_file(name)
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)

    spell = world.spell(5, 20)
    for period in spell:
        world.at(period, attack)
    world.at(spell.stop, end)


@fault("H19")
def attack_over_http(world: World) -> None:
    """Commands over HTTP without a token, with a viewer's, from a strange origin or host, by GET, with odd bodies."""
    rng, path = world.rng, world.directory / "tokens.json"
    tokens = Tokens.made(path)
    known = json.loads(path.read_text())
    app = application(world.directory, tokens)
    viewer = next(str(token) for role, token in known.items() if "viewer" in role.lower())

    def attack() -> None:
        command = str(rng.choice([*COMMANDS, "/kill/../arm", "//mode", "/mode/"]))
        headers = {"host": str(rng.choice(["127.0.0.1", "evil.example", "127.0.0.1.evil.example"]))}
        token = str(rng.choice(["", viewer, "x" * 40, f"{viewer} "]))
        if token:
            headers["authorization"] = f"Bearer {token}"
        if rng.random() < 0.5:
            headers["origin"] = "http://evil.example"
        body = bytes(rng.choice([b"{}", b'{"mode": "act"}', b"[]", b"", b'{"seconds": -1e308}', b"\xff" * 99]))
        status = asyncio.run(answer(app, str(rng.choice(["POST", "GET", "PUT", "DELETE"])), command, headers, body))
        if status < 400:
            world.notes.intruder = f"{command} was answered with {status}"

    for period in world.spell(8, 20):
        world.at(period, attack)


async def answer(app: ASGIApp, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
    """The status that an ASGI application answers one request with."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "scheme": "http", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(int(message["status"]))

    await app(scope, receive, send)
    return statuses[0]
