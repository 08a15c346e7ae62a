"""The host: processors, load, memory, disks, network, pressure; with node_exporter's names for the same quantities."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np

from telemetry.collectors.files import NumberFile
from telemetry.collectors.source import SourceError, named
from telemetry.collectors.system import FILES


class Part(Protocol):
    """Some of the host's series, as `NumberFile` reads them."""

    names: tuple[str, ...]

    def read(self, out: np.ndarray) -> bool:
        """Write the values; False if `names` are new."""
        ...


class HostSource:
    """Some 900 series of a Linux host for about a thousandth of a core at one sweep a second.

    Where there is no procfs (macOS, Windows, some containers), psutil tells what it can, under the same names.

    Args:
        proc: where procfs is mounted.
        wall_clock: seconds since 1970.
        files: of procfs, as in `telemetry.collectors.system.FILES`; default: all of them.
    """

    name = "host"

    def __init__(
        self,
        proc: str = "/proc",
        wall_clock: Callable[[], float] = time.time,
        files: Collection[str] = tuple(FILES),
    ) -> None:
        self.missing: Counter[str] = Counter()
        self._wall_clock = wall_clock
        self._parts: list[Part] = [
            NumberFile(os.path.join(proc, name), layout, self.missing)
            for name, layout in FILES.items()
            if name in files and os.path.exists(os.path.join(proc, name))
        ]
        if not self._parts:
            from telemetry.collectors.portable import PortableHost

            self._parts = [PortableHost()]
        self._part_names: list[tuple[str, ...]] = []
        self._names: tuple[str, ...] = ()
        self._slices: list[slice] = []

    def series(self) -> tuple[str, ...]:
        """Full series names; the same tuple object as long as devices and files stay the same."""
        part_names = [part.names for part in self._parts]
        if any(a is not b for a, b in zip(part_names, self._part_names, strict=False)) or not self._names:
            self._part_names = part_names
            ends = np.cumsum([1, *map(len, part_names)]).tolist()
            self._slices = [slice(a, b) for a, b in itertools.pairwise(ends)]
            self._names = ("node_time_seconds", *(name for names in part_names for name in names))
        return self._names

    def read(self, out: np.ndarray) -> bool:
        """Write the current values; NaN for a part of the host that cannot be read.

        Raises:
            SourceError: if no part could be read.
        """
        out[0] = self._wall_clock()
        # Not a generator: every part must learn its new shape in one go.
        same = all([part.read(out[where]) for part, where in zip(self._parts, self._slices, strict=True)])
        if same and np.isnan(out[1:]).all():
            reasons = ", ".join(self.missing) or "no file that is known"
            raise SourceError(f"nothing of the host could be read ({reasons})")
        return same

    def collect(self) -> dict[str, float]:
        """Current values by name; what cannot be read is absent.

        Raises:
            SourceError: if no part could be read.
        """
        return named(self)
