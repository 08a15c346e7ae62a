"""What `trimtab monitor` is asked to watch, and the sources that watch it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from controller.component_source import ComponentSource
from controller.components import Components, apart
from telemetry.collectors.accelerator import AcceleratorSource
from telemetry.collectors.cgroup import CgroupSource
from telemetry.collectors.host import HostSource
from telemetry.collectors.process import ProcessSource
from telemetry.collectors.scrape import ScrapeSource
from telemetry.collectors.source import ArraySource, Source
from telemetry.collectors.targets import ControlGroup, Named, Target
from telemetry.push import PushSource
from telemetry.series_catalogue import Family

SCRAPE_SHARE = 0.5
"""Of the period, for the scrapes, which run side by side."""


class MonitorError(Exception):
    """What was asked for cannot be watched."""


@dataclass(frozen=True)
class MonitorOptions:
    """What to watch, how often, and where it goes."""

    period: float = 1.0
    """Seconds between sweeps."""
    components: Path | None = None
    """`testbed.json` of a running learning system; None watches none."""
    pids: tuple[int, ...] = ()
    """Processes to watch, each with its descendants."""
    names: tuple[str, ...] = ()
    """Regular expressions; processes whose name or command line matches are a workload each."""
    cgroups: tuple[str, ...] = ()
    """Control groups, below the hierarchy's root."""
    scrapes: tuple[str, ...] = ()
    """`NAME=URL` of programs that show Prometheus text."""
    token_file: Path | None = None
    """Bearer token for the scrapes, and for what is pushed to us."""
    serve: int | None = None
    """Port of 127.0.0.1 for GET /metrics."""
    push: int | None = None
    """Port of 127.0.0.1 for POST /push; may be the same."""
    store: Path | None = None
    """Folder to keep all sweeps in."""
    otlp: str | None = None
    """Base URL of an OpenTelemetry collector to send all sweeps to."""
    sweeps: int | None = None
    """End after so many; None: never."""
    json: bool = False
    """Print one JSON object a sweep."""

    def to_json(self) -> str:
        """As one line, for `from_json`."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> MonitorOptions:
        """What `to_json` wrote."""
        found = json.loads(text)
        for field in fields(cls):
            if isinstance(found[field.name], list):
                found[field.name] = tuple(found[field.name])
            elif found[field.name] is not None and "Path" in str(field.type):
                found[field.name] = Path(found[field.name])
        return cls(**found)


def components_of(options: MonitorOptions) -> Components | None:
    """The components of the running system, if one was named.

    Raises:
        MonitorError: there is none at this place.
    """
    if options.components is None:
        return None
    found = Components(options.components)
    if not found.read():
        raise MonitorError(f"no components in {options.components}; give the testbed.json of a running system")
    return found


def sources_of(
    options: MonitorOptions, components: Components | None, push: PushSource | None
) -> list[Source | ArraySource]:
    """Everything that is to be read in a sweep.

    Raises:
        MonitorError: a process or URL cannot be watched, or a name is used twice.
    """
    accelerator = AcceleratorSource()
    sources: list[Source | ArraySource] = [HostSource(), *([accelerator] if accelerator.present else [])]
    groups: dict[str, int | Target] = {f"pid-{pid}": _alive(pid) for pid in options.pids}
    groups |= {name: Named(name) for name in options.names}
    groups |= {path: ControlGroup(path) for path in options.cgroups}
    if components is not None:
        directory = components

        def url_of(name: str) -> str | None:
            component = apart(directory.read()).get(name)
            return component.url if component else None

        def everything() -> Mapping[str, int | Target]:
            return groups | {name: one.pid for name, one in apart(directory.read()).items() if one.pid}

        sources += [ComponentSource(name, url_of, time.monotonic) for name in apart(directory.read())]
        sources.append(ProcessSource(everything))
    elif groups:
        sources.append(ProcessSource(groups))
    if options.cgroups:
        sources.append(CgroupSource({path: path for path in options.cgroups}))
    sources += [_scrape(written, options) for written in options.scrapes]
    sources += [push] if push is not None else []
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise MonitorError(f"two sources are called {name!r}; give --scrape {name}=... another name")
    return sources


def _alive(pid: int) -> int:
    if not os.path.exists(f"/proc/{pid}") and os.path.exists("/proc/self"):
        raise MonitorError(f"there is no process {pid}; give the id of one that runs")
    return pid


def _scrape(written: str, options: MonitorOptions) -> ScrapeSource:
    name, equals, url = written.partition("=")
    if not (name and equals):
        raise MonitorError(f"--scrape {written!r} must be NAME=URL, e.g. serving=http://127.0.0.1:9100/metrics")
    try:
        deadline = SCRAPE_SHARE * options.period
        return ScrapeSource(name, url, deadline=deadline, labels={"component": name}, token_file=options.token_file)
    except ValueError as error:
        raise MonitorError(str(error)) from None


def told(name: str, sources: list[Source | ArraySource]) -> Family | None:
    """What a scraped or pushing program says of its own metric."""
    told = (getattr(source, "families", {}).get(name) for source in sources)
    return next((family for family in told if family is not None), None)


def token_of(path: Path | None) -> str | None:
    """The bearer token in a file; None without a file.

    Raises:
        MonitorError: it cannot be read, or is empty.
    """
    if path is None:
        return None
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MonitorError(f"no token in {path}: {error}") from None
    if not token:
        raise MonitorError(f"{path} is empty; it must hold the token")
    return token
