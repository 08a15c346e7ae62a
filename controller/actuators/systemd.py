"""Limits of a systemd unit as its properties, `systemctl set-property --runtime`: who writes its files is undone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from controller.actuators.actuator import ActuatorError

SYSTEMD = Path("/run/systemd/system")
"""There where systemd is the init process (sd_booted(3))."""
SECONDS = 5.0
"""For one call; 0.1 to 0.15 s is usual."""
LAG_SECONDS = 0.5
"""The file of the kernel may follow after the call has returned (measured)."""


def unit_of(group: Path) -> str | None:
    """The unit whose group this is; None where systemd does not run, or the group is nobody's or below a unit's."""
    name = group.name
    return name if name.endswith((".service", ".scope")) and SYSTEMD.is_dir() else None


def assignments(file: str, text: str) -> list[str] | None:
    """What to tell systemd instead of writing a cgroup v2 file.

    Returns:
        `PROPERTY=VALUE`, empty values for `max`; None for a file that is no property.

    >>> assignments("cpu.max", "10000 20000")
    ['CPUQuota=50%', 'CPUQuotaPeriodSec=20000us']
    >>> assignments("memory.high", "max")
    ['MemoryHigh=infinity']
    >>> assignments("io.max", "254:0 rbps=max wbps=2000000")
    ['IOReadBandwidthMax=/dev/block/254:0 infinity', 'IOWriteBandwidthMax=/dev/block/254:0 2000000']
    """
    named: dict[str, str] = {
        "cpu.weight": "CPUWeight", "cpuset.cpus": "AllowedCPUs", "memory.high": "MemoryHigh",
        "memory.max": "MemoryMax", "pids.max": "TasksMax",
    }  # fmt: skip
    if file == "cpu.max":
        return _quota(text)
    if file == "io.max":
        return _bandwidth(text)
    return [f"{named[file]}={_infinite(text.strip())}"] if file in named else None


def set_properties(unit: str, given: Sequence[str]) -> None:
    """Set properties until the next start of the host.

    Raises:
        ActuatorError: systemd refused, is not there or does not answer.
    """
    command = ["systemctl", "--no-ask-password", "set-property", "--runtime", unit, *given]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ActuatorError(f"systemctl set-property {unit}: {type(error).__name__}") from None
    if done.returncode:
        raise ActuatorError(f"systemctl set-property {unit} {' '.join(given)}: {' '.join(done.stderr.split())[:200]}")


def wait_for(
    path: Path,
    text: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Until the kernel's file says so, at most `LAG_SECONDS`; what is in force is told by reading it afterwards."""
    end = clock() + LAG_SECONDS
    while clock() < end:
        try:
            if set(text.split()) <= set(path.read_text().split()):
                return
        except OSError:
            pass  # it appears when systemd turns its controller on
        sleep(0.01)


def _quota(text: str) -> list[str]:
    quota, period = text.split()
    if quota == "max":
        return ["CPUQuota=", "CPUQuotaPeriodSec="]
    return [f"CPUQuota={max(1, round(100 * int(quota) / int(period)))}%", f"CPUQuotaPeriodSec={period}us"]


def _bandwidth(text: str) -> list[str]:
    names = {
        "rbps": "IOReadBandwidthMax", "wbps": "IOWriteBandwidthMax",
        "riops": "IOReadIOPSMax", "wiops": "IOWriteIOPSMax",
    }  # fmt: skip
    device, *limits = text.split()
    pairs = (limit.split("=") for limit in limits)
    return [f"{names[name]}=/dev/block/{device} {_infinite(value)}" for name, value in pairs]


def _infinite(text: str) -> str:
    return "infinity" if text == "max" else text
