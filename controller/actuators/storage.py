"""Storage bandwidth and operations of a workload by control group."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from controller.actuators.actuator import ActuatorError, Capability
from controller.actuators.group import WorkloadGroup
from controller.actuators.hierarchy import Hierarchy
from controller.actuators.limits import CgroupLimit

SYS = Path("/sys/dev/block")


class Storage(CgroupLimit):
    """Bytes per second, of reads and of writes each, on one device.

    Args:
        workload: whose.
        knob: its name.
        hierarchy: of the controller.
        group: of the workload.
        unlimited: what the knob is while there is no limit, bytes per second.
        target: a block device, or any path on the file system that is meant; empty takes where the process works.
    """

    NAMES, FILE = ("blkio", "io"), ("blkio.throttle.read_bps_device", "io.max")
    WHAT = "storage bandwidth"
    KEYS: ClassVar[tuple[str, str]] = ("rbps", "wbps")
    V1_FILES: ClassVar[tuple[str, str]] = ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device")

    def __init__(
        self,
        workload: str,
        knob: str,
        hierarchy: Hierarchy,
        group: WorkloadGroup,
        *,
        unlimited: float,
        target: str = "",
    ) -> None:
        super().__init__(workload, knob, hierarchy, group, unlimited=unlimited)
        self._target, self._known = target, ""

    def probe(self) -> Capability:
        """Tells too where there is no block device that could be limited."""
        try:
            self._device()
        except ActuatorError as error:
            return Capability(False, True, str(error))
        return super().probe()

    def describe(self) -> tuple[bool, str]:
        """Version 1 charges what the page cache writes back later to nobody."""
        if self.v2:
            return True, f"{self._group.kind}: {self.WHAT} of device {self._device()}"
        return False, f"{self._group.kind}: {self.WHAT} of device {self._device()}, but not of writes without fsync"

    def put(self, value: float) -> None:
        """Reads and writes alike."""
        amount = self.amount(value)
        device = self._device()
        if self.v2:
            self._group.write("io.max", self._line(amount), self._found_line())
            return
        for name in self.V1_FILES:
            self._group.write(name, f"{device} {amount or 0}", self._found_v1(name))

    def restores(self) -> dict[str, str]:
        """What stood there for this device; 0 and `max` mean none."""
        if self.v2:
            return {"io.max": self._found_line()}
        return {name: self._found_v1(name) for name in self.V1_FILES}

    def _value(self) -> float:
        if self.v2:
            limits = self._limits(self._content("io.max"))
            found = [float(limits[key]) for key in self.KEYS if limits.get(key, "max") != "max"]
        else:
            texts = [self._limit_v1(self._content(name)) for name in self.V1_FILES]
            found = [float(text) for text in texts if text != "0"]
        return min([*found, self._unlimited])

    def found_amount(self) -> int | None:
        """The larger of both directions' limits that were there before us; None if one of them had none."""
        lines = self.restores().values() if self._group.in_place else []
        texts = [text.rpartition("=")[2] for line in lines for text in line.split()[1:]]
        return None if not texts or {"max", "0"} & set(texts) else max(map(int, texts))

    def _content(self, name: str) -> str:
        return self._group.read(name) if (self._group.folder / name).exists() else ""

    def _line(self, amount: int | None) -> str:
        return " ".join([self._device(), *(f"{key}={'max' if amount is None else amount}" for key in self.KEYS)])

    def _found_line(self) -> str:
        limits = self._limits(self._content("io.max"))
        return " ".join([self._device(), *(f"{key}={limits.get(key, 'max')}" for key in self.KEYS)])

    def _limits(self, content: str) -> Mapping[str, str]:
        for line in content.splitlines():
            device, *pairs = line.split()
            if device == self._device():
                return dict(pair.split("=") for pair in pairs)
        return {}

    def _found_v1(self, name: str) -> str:
        return f"{self._device()} {self._limit_v1(self._content(name))}"

    def _limit_v1(self, content: str) -> str:
        lines = (line.split() for line in content.splitlines())
        return next((amount for device, amount in lines if device == self._device()), "0")

    def _device(self) -> str:
        """The whole device as `MAJOR:MINOR`.

        Raises:
            ActuatorError: there is none behind the path.
        """
        if not self._known:
            path = self._target or f"/proc/{self._group.component.pid}/cwd"
            self._known = device_of(path)
        return self._known


class StorageOperations(Storage):
    """Operations per second, of reads and of writes each."""

    NAMES, FILE = ("blkio", "io"), ("blkio.throttle.read_iops_device", "io.max")
    WHAT = "storage operations"
    KEYS = ("riops", "wiops")
    V1_FILES = ("blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device")


def device_of(path: str) -> str:
    """The whole block device of a device file, or of the file system that a path is on; `MAJOR:MINOR`.

    Raises:
        ActuatorError: there is none, as for an overlay, network or memory file system.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise ActuatorError(f"cannot tell the block device of {path}: {error.strerror}") from None
    number = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    folder = SYS / name
    if not folder.exists():
        raise ActuatorError(f"{path} is on no block device; name one in the knob's target")
    if (folder / "partition").exists():  # limits are those of whole devices
        name = (folder.resolve().parent / "dev").read_text().strip()
    return name
