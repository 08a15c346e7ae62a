"""A controller on a toy plant, with scripted policies and a clock that moves with the plant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from plants import ToyPlant

from controller.journal import Journal
from controller.loop import Controller, ControllerConfig
from envs.spec import Role, SystemSpec
from envs.task import Task


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
