"""What procfs tells beyond psutil, at a microsecond a series: memory, protocols, soft interrupts, pressure.

Files stay open and are read again from their start: opening them each time costs 1.3 times as much.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

READ_SIZE = 1 << 16  # bytes; the largest of the files has some 10 KiB, more with many processors

Parser = Callable[[str], dict[str, float]]

_unit_suffix = re.compile(r"\W+")


def parse_meminfo(text: str) -> dict[str, float]:
    """`node_memory_MemAvailable_bytes`; rows without a unit are counts."""
    values = {}
    for line in text.splitlines():
        label, _, rest = line.partition(":")
        fields = rest.split()
        name = _unit_suffix.sub("_", label.replace("(", "_").replace(")", ""))
        if len(fields) == 2:
            values[f"node_memory_{name}_bytes"] = float(fields[0]) * 1024
        elif fields:
            values[f"node_memory_{name}"] = float(fields[0])
    return values


def parse_vmstat(text: str) -> dict[str, float]:
    """`node_vmstat_pgmajfault`."""
    pairs = (line.split() for line in text.splitlines())
    return {f"node_vmstat_{pair[0]}": float(pair[1]) for pair in pairs if len(pair) == 2}


def parse_protocols(text: str) -> dict[str, float]:
    """`node_netstat_Tcp_RetransSegs` from the pairs of lines (names, then numbers) of net/snmp and net/netstat."""
    values = {}
    lines = text.splitlines()
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        protocol, _, fields = names.partition(":")
        for field, number in zip(fields.split(), numbers.split()[1:], strict=False):
            values[f"node_netstat_{protocol}_{field}"] = float(number)
    return values


def parse_sockstat(text: str) -> dict[str, float]:
    """`node_sockstat_TCP_inuse`."""
    values = {}
    for line in text.splitlines():
        protocol, _, rest = line.partition(":")
        fields = rest.split()
        for field, number in zip(fields[::2], fields[1::2], strict=False):
            values[f"node_sockstat_{protocol}_{field}"] = float(number)
    return values


def parse_softnet(text: str) -> dict[str, float]:
    """`node_softnet_processed_total{cpu="0"}`: hexadecimal, a line per processor."""
    values = {}
    for cpu, line in enumerate(text.splitlines()):
        for name, number in zip(("processed", "dropped", "times_squeezed"), line.split(), strict=False):
            values[f'node_softnet_{name}_total{{cpu="{cpu}"}}'] = float(int(number, 16))
    return values


def parse_softirqs(text: str) -> dict[str, float]:
    """`node_softirqs_functions_total{cpu="0",type="NET_RX"}`."""
    header, *lines = text.splitlines()
    cpus = [name.removeprefix("CPU") for name in header.split()]
    values = {}
    for line in lines:
        kind, _, rest = line.partition(":")
        for cpu, number in zip(cpus, rest.split(), strict=False):
            values[f'node_softirqs_functions_total{{cpu="{cpu}",type="{kind.strip()}"}}'] = float(number)
    return values


def parse_stat(text: str) -> dict[str, float]:
    """Forks, running and blocked processes, time of boot."""
    names = {
        "btime": "node_boot_time_seconds",
        "processes": "node_forks_total",
        "procs_running": "node_procs_running",
        "procs_blocked": "node_procs_blocked",
    }
    pairs = (line.split() for line in text.splitlines())
    return {names[pair[0]]: float(pair[1]) for pair in pairs if pair and pair[0] in names}


def parse_filefd(text: str) -> dict[str, float]:
    """Open files of the host and their limit."""
    allocated, _, maximum = text.split()
    return {"node_filefd_allocated": float(allocated), "node_filefd_maximum": float(maximum)}


def parse_pressure(resource: str) -> Parser:
    """`node_pressure_cpu_waiting_seconds_total`: some task waits; `..._stalled_...`: all of them do."""
    kinds = {"some": "waiting", "full": "stalled"}

    def parse(text: str) -> dict[str, float]:
        values = {}
        for line in text.splitlines():
            kind, _, rest = line.partition(" ")
            microseconds = rest.rpartition("total=")[2]
            values[f"node_pressure_{resource}_{kinds[kind]}_seconds_total"] = float(microseconds) * 1e-6
        return values

    return parse


FILES: dict[str, Parser] = {
    "meminfo": parse_meminfo,
    "vmstat": parse_vmstat,
    "stat": parse_stat,
    "softirqs": parse_softirqs,
    "net/snmp": parse_protocols,
    "net/netstat": parse_protocols,
    "net/sockstat": parse_sockstat,
    "net/softnet_stat": parse_softnet,
    "sys/fs/file-nr": parse_filefd,
    "pressure/cpu": parse_pressure("cpu"),
    "pressure/memory": parse_pressure("memory"),
    "pressure/io": parse_pressure("io"),
}


class ProcfsReader:
    """Reads `FILES`; a file that is missing or odd is absent (containers and older kernels lack some).

    Args:
        proc: where procfs is mounted.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._descriptors: dict[str, int] = {}
        for name in FILES:
            try:
                self._descriptors[name] = os.open(os.path.join(proc, name), os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # this kernel does not have it

    def read(self) -> dict[str, float]:
        """Values of all files that can be read now."""
        values: dict[str, float] = {}
        for name, descriptor in self._descriptors.items():
            try:
                values.update(FILES[name](_read_all(descriptor)))
            except (OSError, ValueError, KeyError):
                continue  # e.g. pressure files exist but refuse to be read where accounting is switched off
        return values

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


def _read_all(descriptor: int) -> str:
    text = os.pread(descriptor, READ_SIZE, 0)
    while len(text) and len(text) % READ_SIZE == 0:
        more = os.pread(descriptor, READ_SIZE, len(text))
        if not more:
            break
        text += more
    return text.decode("ascii", "replace")
