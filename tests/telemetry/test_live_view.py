from __future__ import annotations

import io

import pytest
from rich.console import Console

from telemetry.collectors.host import HostSource
from telemetry.collectors.source import SourceError
from telemetry.live_view import LiveView, picture
from telemetry.overview import Overview, Watcher
from telemetry.sampler import Sampler


class Broken:
    name = "broken"

    def collect(self) -> dict[str, float]:
        raise SourceError("Connection refused")


class Serving:
    name = "serving"
    served = 0.0

    def collect(self) -> dict[str, float]:
        self.served += 40.0
        return {'serving_requests_total{component="serving"}': self.served}


@pytest.fixture(scope="module")
def overview() -> Overview:
    seconds = iter(range(1000))
    sampler = Sampler([HostSource(), Broken(), Serving()], 1.0, clock=lambda: float(next(seconds)))
    watcher = Watcher()
    for _ in range(3):
        found = watcher.look(sampler.sweep())
    return found


def drawn(overview: Overview, width: int, height: int = 40) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(picture(overview, width, height, 0.0))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 140, 220])
def test_the_picture_fits_the_terminal(overview: Overview, width: int) -> None:
    lines = drawn(overview, width)
    assert max(map(len, lines)) <= width
    assert len(lines) <= 40


@pytest.mark.parametrize("width", [80, 140])
def test_host_workloads_failures_and_own_cost_are_all_there(overview: Overview, width: int) -> None:
    text = "\n".join(drawn(overview, width))
    for part in ("cpu  ", "mem  ", "pressure cpu", "net  ", "serving", "requests/s", "broken fails", "series"):
        assert part in text, part


def test_the_last_look_stays_when_the_view_is_closed() -> None:
    console = Console(file=io.StringIO(), width=100, height=30, force_terminal=True, color_system=None)
    view = LiveView(console, wall_clock=lambda: 0.0)
    sampler = Sampler([HostSource()], 1.0)
    view(sampler.sweep())
    view.close()
    assert isinstance(console.file, io.StringIO)
    left = console.file.getvalue().rpartition("\x1b[?1049l")[2]  # what follows the end of the other screen
    assert "mem  " in left
