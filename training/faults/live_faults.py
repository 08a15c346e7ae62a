"""What goes wrong on the testbed, one thing a minute; each fault tells what it breaks by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from controller.lease import read_lease
from envs.spec import SystemSpec
from training.faults.live_controller import LiveController, request, seconds_until_restored
from training.faults.live_proxy import LIES, LyingProxy

WORKLOADS = ("serving", "training", "ingest")


class Components(Protocol):
    """The testbed's processes."""

    def pid(self, name: str) -> int:
        """Of a component."""
        ...

    def url(self, name: str) -> str:
        """Base URL of a component."""
        ...


@dataclass
class Scene:
    """What faults can get at.

    Attributes:
        components: of the testbed.
        controller: its processes.
        proxies: between the controller and the components.
        spec: of the system.
        state_dir: of the controller, a small disk of its own where that is possible.
        small_disk: whether it is.
        rng: what is drawn.
        reverts: (how the controller died, seconds until everything was restored).
    """

    components: Components
    controller: LiveController
    proxies: dict[str, LyingProxy]
    spec: SystemSpec
    state_dir: Path
    small_disk: bool
    rng: np.random.Generator
    reverts: list[tuple[str, float]] = field(default_factory=list)


Undo = Callable[[], None]


@dataclass(frozen=True)
class LiveFault:
    """One fault.

    Attributes:
        name: short.
        hazard: a key of `HAZARDS`.
        inject: breaks something; returns what ends it, or None where nothing has to.
        seconds: how long it lasts.
        breaks: component whose requests fail by the fault itself, not by anything that Trimtab does; empty for none.
    """

    name: str
    hazard: str
    inject: Callable[[Scene], Undo | None]
    seconds: float = 0.0
    breaks: str = ""


def live_faults(small_disk: bool) -> list[LiveFault]:
    """All faults, in the order in which they are injected.

    Args:
        small_disk: whether the state directory is a disk that may be filled.
    """
    faults = [
        LiveFault("controller killed", "H12", _kill_controller),
        LiveFault("training killed", "H3", _kill("training")),
        LiveFault("policy host stopped", "H5", _stop_part("policy host"), 10.0),
        LiveFault("metrics tenfold", "H3", _lie("tenfold"), 10.0),
        LiveFault("warden killed", "H12", _kill_part("warden")),
        LiveFault("serving killed", "H3", _kill("serving"), breaks="serving"),
        LiveFault("second writer, knobs", "H9", _second_writer),
        LiveFault("policy host killed", "H5", _kill_part("policy host")),
        LiveFault("controller stopped", "H9", _stop_controller, 9.0),
        LiveFault("metrics NaN", "H2", _lie("nan"), 10.0),
        LiveFault("ingest stopped", "H3", _stop("ingest"), 5.0),
        LiveFault("controller and warden killed", "H12", _kill_both),
        LiveFault("metrics garbage", "H2", _lie("garbage"), 10.0),
        LiveFault("second writer, CPU quota", "H9", _write_quota),
        LiveFault("serving stopped", "H3", _stop("serving"), 4.0, breaks="serving"),
        LiveFault("metrics missing", "H1", _lie("nothing"), 15.0),
        LiveFault("ingest killed", "H3", _kill("ingest")),
        LiveFault("metrics late", "H1", _lie("late"), 10.0),
        LiveFault("training stopped", "H3", _stop("training"), 5.0),
        LiveFault("wall clock jumps", "H14", _jump_clock, 3.0),
    ]
    if small_disk:
        faults.insert(3, LiveFault("disk full", "H17", _fill_disk, 12.0))
    return faults


def _kill(name: str) -> Callable[[Scene], None]:
    return lambda scene: os.kill(scene.components.pid(name), signal.SIGKILL)


def _stop(name: str) -> Callable[[Scene], Undo]:
    def inject(scene: Scene) -> Undo:
        pid = scene.components.pid(name)
        os.kill(pid, signal.SIGSTOP)

        def go_on() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        return go_on

    return inject


def _kill_part(part: str) -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        scene.controller.signal(part, signal.SIGKILL)

    return inject


def _stop_part(part: str) -> Callable[[Scene], Undo]:
    def inject(scene: Scene) -> Undo:
        pid = scene.controller.parts().get(part, 0)
        if pid:
            os.kill(pid, signal.SIGSTOP)

        def go_on() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        return go_on if pid else lambda: None

    return inject


def _kill_controller(scene: Scene) -> None:
    begin = time.monotonic()
    lease = scene.controller.kill()
    if lease is not None:
        scene.reverts.append(("killed", seconds_until_restored(lease, begin)))


def _stop_controller(scene: Scene) -> Undo:
    """For longer than its lease; the figure says from when on everything was restored."""
    lease, begin = read_lease(str(scene.state_dir)), time.monotonic()
    pid = scene.controller.pid
    os.kill(pid, signal.SIGSTOP)
    if lease is not None:
        scene.reverts.append(("stopped", seconds_until_restored(lease, begin)))

    def go_on() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    return go_on


def _kill_both(scene: Scene) -> None:
    """Nobody is left to restore anything before the next controller begins."""
    scene.controller.signal("controller", signal.SIGSTOP)  # or it would start another warden
    scene.controller.signal("warden", signal.SIGKILL)
    scene.controller.kill()


def _jump_clock(scene: Scene) -> Undo:
    """The wall clock of the controller's process is set, and set right again soon.

    The components keep the host's: a model that arrives in between would have an age that no host could tell.
    """
    scene.controller.jump(float(scene.rng.choice([-3600.0, 3600.0, 86400.0])))
    return lambda: scene.controller.jump(0.0)


def _lie(lie: str) -> Callable[[Scene], Undo]:
    if lie not in LIES:
        raise ValueError(f"no lie {lie!r}; known are {', '.join(LIES)}")

    def inject(scene: Scene) -> Undo:
        proxies = list(scene.proxies.values())
        chosen = proxies if lie in ("nothing", "garbage") else [proxies[int(scene.rng.integers(len(proxies)))]]
        for proxy in chosen:
            proxy.lie = lie

        def end() -> None:
            for proxy in chosen:
                proxy.lie = "truth"

        return end

    return inject


def _second_writer(scene: Scene) -> None:
    """Another program moves a harmless knob of ingest by PATCH."""
    request(
        "PATCH", f"{scene.components.url('ingest')}/knobs", {"ingest_cache_entries": int(scene.rng.integers(256, 4096))}
    )


def _write_quota(scene: Scene) -> None:
    """Another program gives serving more CPU in the controller's own control group."""
    lease = read_lease(str(scene.state_dir))
    groups = [Path(str(step["path"])) for step in (lease or {"steps": []})["steps"] if step["kind"] == "group"]
    for group in groups:
        quota = group / "cpu.cfs_quota_us"
        if group.name == "serving" and quota.exists():
            quota.write_text(str(int(quota.read_text()) * 5 // 4))
        elif group.name == "serving" and (group / "cpu.max").exists():
            value, period = (group / "cpu.max").read_text().split()
            (group / "cpu.max").write_text(f"{int(value) * 5 // 4} {period}")


def _fill_disk(scene: Scene) -> Undo:
    filling = scene.state_dir / "filling"
    with open(filling, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return lambda: filling.unlink(missing_ok=True)
