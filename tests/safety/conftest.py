"""The fixtures of the controller tests, and a controller in a process of its own, to be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlled import (
    allocator,
    controller,
    fallback,
    journal,
    make_component,
    make_controller,
    plant,
    policy,
    spec,
    system,
)
from killing import LONG_LEASE_SECONDS, KilledController

__all__ = [
    "allocator",
    "controller",
    "fallback",
    "journal",
    "make_component",
    "make_controller",
    "plant",
    "policy",
    "spec",
    "start_controller",
    "system",
]


@pytest.fixture
def start_controller(tmp_path: Path) -> Iterator[Callable[..., KilledController]]:
    started: list[KilledController] = []

    def start(entries: dict[str, Any], point: str = "", lease: float = LONG_LEASE_SECONDS) -> KilledController:
        started.append(KilledController(tmp_path, entries, point, lease))
        return started[-1]

    yield start
    for one in started:
        one.close()
