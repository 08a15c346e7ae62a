"""Faults of what decides: H5, H6, H8, H18, H22."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agents.artifact import ArtifactError, load, shipped_directory
from controller.config import ControllerConfig
from controller.policy_host import HEAD, MAX_BYTES, HostConfig, HostedPolicy, PolicyHost
from controller.shield import ShieldConfig
from envs.spec import Role, SystemSpec
from training.faults.faults_readings import bend_values, changed
from training.faults.hazards import fault
from training.faults.world import World

FEW_REVERSALS = ControllerConfig(shield=ShieldConfig(reversal_burst=2.0))
"""So that an episode is long enough to use the budget up."""
Answer = Callable[[np.ndarray, np.ndarray], Any]


def spoil(world: World, answer: Answer, shortest: int = 3, longest: int = 20) -> None:
    """Let both policies answer something else for a spell."""

    def begin() -> None:
        for policy in world.policies.values():
            policy.fault = answer

    def end() -> None:
        for policy in world.policies.values():
            policy.fault = None

    world.during(world.spell(shortest, longest), begin, end)


@fault("H5")
def policy_raises(world: World) -> None:
    """The policy fails in each period."""

    def answer(observation: np.ndarray, action: np.ndarray) -> Any:
        raise RuntimeError("out of memory")

    spoil(world, answer)


@fault("H5")
def policy_answers_nan(world: World) -> None:
    """The policy answers NaN or infinity, in some entries or in all."""
    rng = world.rng

    def answer(observation: np.ndarray, action: np.ndarray) -> Any:
        return np.where(
            rng.random(action.shape) < rng.choice([0.2, 1.0]), rng.choice([np.nan, np.inf, -np.inf]), action
        )

    spoil(world, answer)


@fault("H5")
def policy_answers_garbage(world: World) -> None:
    """The policy answers things that are no action: text, nothing, huge arrays, other shapes."""
    rng = world.rng
    things: list[Any] = ["rm -rf", None, np.zeros(10_000), np.zeros((3, 3)), [], {}, b"\xff\x00", 1e400, [[1], [2, 3]]]
    spoil(world, lambda observation, action: things[int(rng.integers(len(things)))])


@fault("H5")
def policy_answers_random_bits(world: World) -> None:
    """Each number that the policy answers is a random bit pattern."""
    rng = world.rng
    spoil(
        world,
        lambda observation, action: rng.integers(0, 2**64, size=len(action), dtype=np.uint64).view(np.float64),
    )


class BadHost(PolicyHost):
    """The real policy host in front of a process that does not answer as it should.

    Args:
        spec: of the system.
        answer: packet -> packets that come back; None ends the process.
        clock: virtual.
    """

    def __init__(
        self, spec: SystemSpec, answer: Callable[[bytes], list[bytes] | None], clock: Callable[[], float]
    ) -> None:
        self._answer = answer
        self._theirs: socket.socket | None = None
        config = HostConfig(deadline_seconds=0.002)
        super().__init__(spec, {role: shipped_directory(role) for role in Role}, config, clock=clock)

    def _start(self) -> None:
        self._socket, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def _send(self, role: int, wanted: int, body: bytes) -> None:
        super()._send(role, wanted, body)
        if self._theirs is None:
            return
        packets = self._answer(self._theirs.recv(MAX_BYTES))
        for packet in packets or []:
            self._theirs.send(packet)
        if packets is None:
            self._theirs.close()
            self._theirs = None

    def close(self) -> None:
        """Close both ends."""
        for end in (self._socket, self._theirs):
            if end is not None:
                end.close()
        self._socket = self._theirs = None


def _hosted(world: World, answer: Callable[[bytes], list[bytes] | None]) -> None:
    """Let both roles be answered by a bad process from some period on."""
    host = BadHost(world.spec, answer, world.clock)
    world.on_close.append(host.close)

    def begin() -> None:
        for role, policy in world.policies.items():
            policy.inner = HostedPolicy(host, role, policy.name)

    world.at(world.spell().start, begin)


@fault("H5")
def policy_process_hangs(world: World) -> None:
    """The policy's process says nothing: the deadline passes, and the breaker opens."""
    _hosted(world, lambda packet: [])


@fault("H5")
def policy_process_dies(world: World) -> None:
    """The policy's process ends in the middle of a question."""
    _hosted(world, lambda packet: None)


@fault("H5")
def policy_process_sends_random_bytes(world: World) -> None:
    """The policy's process answers random bytes, wrong numbers, answers to other questions."""
    rng = world.rng

    def answer(packet: bytes) -> list[bytes]:
        number, role, _ = HEAD.unpack_from(packet)
        kinds = [
            rng.bytes(int(rng.integers(0, 200))) or b"\0",
            HEAD.pack(number, role, 0) + rng.bytes(24),
            HEAD.pack(number, role, 0) + np.full(3, np.nan).tobytes(),
            HEAD.pack(number, role, 0),
            HEAD.pack(number - 1, role, 0) + np.ones(3).tobytes(),
            HEAD.pack(number, role, 1),
        ]
        return [kinds[int(rng.integers(len(kinds)))]]

    _hosted(world, answer)


@fault("H6")
def policy_takes_everything(world: World) -> None:
    """The policy always gives the least of everything."""
    spoil(world, lambda observation, action: -np.ones_like(action), 20, 40)


@fault("H6")
def policy_does_the_opposite(world: World) -> None:
    """The policy does the opposite of what it was trained to do."""
    spoil(world, lambda observation, action: -action, 20, 40)


@fault("H6")
def policy_is_adversarial(world: World) -> None:
    """The policy takes from whoever has least room."""

    def answer(observation: np.ndarray, action: np.ndarray) -> Any:
        worst = np.ones_like(action)
        worst[int(np.argmax(np.abs(action)))] = -1.0
        return -worst

    spoil(world, answer, 20, 40)


@fault("H6")
def policy_is_random(world: World) -> None:
    """The policy answers anything in its range."""
    rng = world.rng
    spoil(world, lambda observation, action: rng.uniform(-1.0, 1.0, size=action.shape), 20, 40)


@fault("H8", FEW_REVERSALS)
def policy_oscillates(world: World) -> None:
    """The policy wants all and nothing in turn, on a system that follows late."""
    world.rig.delay_periods = int(world.rng.integers(0, 4))
    every, calls = int(world.rng.integers(1, 6)), [0]

    def answer(observation: np.ndarray, action: np.ndarray) -> Any:
        calls[0] += 1
        return np.full_like(action, 1.0 if (calls[0] // every) % 2 else -1.0)

    spoil(world, answer, 30, 60)


@fault("H8", FEW_REVERSALS)
def load_at_the_loops_period(world: World) -> None:
    """The load swings with the period of a trial, and the system follows late."""
    world.rig.delay_periods = 2
    names = world.catalogue.names
    loads = np.array([i for i, name in enumerate(names) if "arrivals" in name or "demand" in name])
    turn, phase = float(world.rng.uniform(2.0, 8.0)), float(world.rng.uniform(0.0, 6.0))

    def swing(values: np.ndarray) -> np.ndarray:
        factor = 1.0 + 0.9 * np.sin(2.0 * np.pi * world.clock() / turn + phase)
        return changed(values, loads, lambda v: v * factor)

    bend_values(world, range(world.periods), swing)


@fault("H18")
def poisoned_artifact(world: World) -> None:
    """A policy's files are damaged, or made by somebody else: loading refuses them, or what loads is shielded."""
    folder = world.directory / "model"
    role = Role(str(world.rng.choice(list(Role))))
    shutil.copytree(shipped_directory(role), folder)
    _poison(folder, world.rng)

    def swap() -> None:
        try:
            inner = load(folder, world.spec, role)
        except ArtifactError:
            return  # the policy in use stays in use
        world.policies[role].inner = inner

    world.at(world.spell().start, swap)


def _poison(folder: Path, rng: np.random.Generator) -> None:
    weights, card = folder / "policy.npz", folder / "policy.json"
    kind = int(rng.integers(6))
    content = bytearray(weights.read_bytes())
    if kind == 0:  # bits turned
        for position in rng.integers(0, len(content), size=8):
            content[position] ^= 1 << int(rng.integers(8))
        weights.write_bytes(bytes(content))
    elif kind == 1:  # cut off
        weights.write_bytes(bytes(content[: int(rng.integers(0, len(content)))]))
    elif kind == 2:  # a pickle that would run code
        weights.write_bytes(f"cos\nsystem\n(S'touch {folder.parent}/poisoned'\ntR.".encode())
    elif kind == 3:  # NaN for weights, in an otherwise sound file
        with np.load(weights, allow_pickle=False) as arrays:
            np.savez(weights, **{name: np.full_like(array, np.nan) for name, array in arrays.items()})
    elif kind == 4:  # other shapes
        with np.load(weights, allow_pickle=False) as arrays:
            cut: dict[str, Any] = {name: np.atleast_1d(array)[..., :1] for name, array in arrays.items()}
        np.savez(weights, **cut)
    if 2 <= kind <= 4:  # and whoever did it knows how to make the card fit
        found = json.loads(card.read_text())
        card.write_text(json.dumps({**found, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}))
    if kind == 5:  # another spec's card
        found = json.loads(card.read_text())
        card.write_text(json.dumps({**found, "spec_fingerprint": "0" * 16, "fingerprint": "0" * 16, "layers": 1e9}))


@fault("H22")
def forecast_is_anti_correlated(world: World) -> None:
    """What the policies see of the future is turned around: a rise where demand will fall."""
    labels = _labels(world)
    ahead = np.array([i for i, label in enumerate(labels) if label.startswith("forecast")], dtype=int)

    def turned(observation: np.ndarray) -> np.ndarray:
        return changed(observation, ahead, lambda v: -v)

    for policy in world.policies.values():
        policy.sees = turned


@fault("H22")
def forecast_swings(world: World) -> None:
    """The expected demand jumps between nothing and everything."""
    labels, rng = _labels(world), world.rng
    ahead = np.array([i for i, label in enumerate(labels) if label.startswith("forecast")], dtype=int)
    for policy in world.policies.values():
        policy.sees = lambda observation: changed(observation, ahead, lambda v: rng.choice([-1.0, 1.0], size=v.shape))


def _labels(world: World) -> tuple[str, ...]:
    controller = world.controller
    return () if controller is None else tuple(next(iter(controller.proposer.tasks.values())).labels)
