"""One process or thread as /proc shows it: a fixed row of numbers, NaN where there is none."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from operator import itemgetter
from typing import NamedTuple

from telemetry.collectors.files import KernelFile, Words, picker
from telemetry.collectors.source import series_key
from telemetry.collectors.system import TICK_SECONDS

NAN = float("nan")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
KIB = 1024.0
SCHEDULER_CLOCK = 2
"""Last bits of the number of a process's CPU clock, as clock_getcpuclockid(3) makes it."""


class Field(NamedTuple):
    """One column of a process's or thread's row.

    Attributes:
        column: word in its file, or the word before it.
        name: of the metric, without the prefix.
        kind: value of the label `mode` or `kind`; empty for none.
        factor: to the unit of the name.
    """

    column: int | bytes
    name: str
    kind: str = ""
    factor: float = 1.0


STAT = (  # words after the name in parentheses
    Field(11, "cpu_seconds_total", "user", TICK_SECONDS),
    Field(12, "cpu_seconds_total", "system", TICK_SECONDS),
    Field(13, "children_cpu_seconds_total", "user", TICK_SECONDS),
    Field(14, "children_cpu_seconds_total", "system", TICK_SECONDS),
    Field(7, "page_faults_total", "minor"),
    Field(9, "page_faults_total", "major"),
    Field(39, "block_io_delay_seconds_total", "", TICK_SECONDS),
    Field(17, "threads"),
    Field(16, "nice"),
    Field(36, "last_cpu"),
    Field(19, "start_since_boot_seconds", "", TICK_SECONDS),
    Field(20, "virtual_memory_bytes"),
    Field(21, "resident_memory_bytes", "", PAGE_BYTES),
)
STATUS = (
    Field(b"RssAnon:", "anonymous_memory_bytes", "", KIB),
    Field(b"RssFile:", "file_memory_bytes", "", KIB),
    Field(b"RssShmem:", "shared_memory_bytes", "", KIB),
    Field(b"VmSwap:", "swap_memory_bytes", "", KIB),
    Field(b"VmHWM:", "peak_resident_memory_bytes", "", KIB),
    Field(b"VmPeak:", "peak_virtual_memory_bytes", "", KIB),
    Field(b"VmData:", "data_memory_bytes", "", KIB),
    Field(b"VmStk:", "stack_memory_bytes", "", KIB),
    Field(b"VmPTE:", "page_table_bytes", "", KIB),
    Field(b"voluntary_ctxt_switches:", "context_switches_total", "voluntary"),
    Field(b"nonvoluntary_ctxt_switches:", "context_switches_total", "involuntary"),
)
IO = (
    Field(9, "read_bytes_total"),
    Field(11, "write_bytes_total"),
    Field(13, "cancelled_write_bytes_total"),
    Field(1, "read_calls_bytes_total"),
    Field(3, "write_calls_bytes_total"),
    Field(5, "read_calls_total"),
    Field(7, "write_calls_total"),
)
FDS = (Field(0, "open_fds"),)
SMAPS = (
    Field(b"Pss:", "proportional_memory_bytes", "", KIB),
    Field(b"Private_Dirty:", "private_dirty_memory_bytes", "", KIB),
    Field(b"SwapPss:", "proportional_swap_bytes", "", KIB),
)
CLOCK = (Field(0, "cpu_clock_seconds_total"),)
PROCESS = (*STAT, *STATUS, *IO, *FDS, *CLOCK, *SMAPS)
THREAD = (
    Field(0, "cpu_seconds_total", "", 1e-9),
    Field(1, "run_delay_seconds_total", "", 1e-9),
    Field(2, "timeslices_total"),
)

_stat_words = itemgetter(*(field.column for field in STAT))
_io_words = itemgetter(*(field.column for field in IO))
_status_keys = [field.column for field in STATUS if isinstance(field.column, bytes)]
_smaps_keys = [field.column for field in SMAPS if isinstance(field.column, bytes)]


class KeyedWords:
    """Picks the words after certain keys; where they stand is looked for only when they have moved.

    Args:
        keys: e.g. `VmHWM:`.
    """

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = tuple(keys)
        self._pick_keys = self._pick = picker(())
        self._words = -1

    def values(self, words: list[bytes]) -> Words:
        """The words after the keys, in their order.

        Raises:
            ValueError: a key is not there.
        """
        if len(words) != self._words or self._pick_keys(words) != self._keys:
            self._words = len(words)
            found = [words.index(key) for key in self._keys]
            self._pick_keys, self._pick = picker(found), picker([i + 1 for i in found])
        return self._pick(words)


class ProcessFiles:
    """The open files of one process.

    They keep to the process: once it has been reaped they refuse to be read, even if its id is used again.

    Args:
        pid: of the process.
        missing: reason -> count of values that could not be read; counted up here.
    """

    def __init__(self, pid: int, missing: Counter[str]) -> None:
        self.pid, self._missing = pid, missing
        self._stat, self._status, self._io = (KernelFile(f"/proc/{pid}/{name}") for name in ("stat", "status", "io"))
        self._start = b""
        self._smaps = [NAN] * len(SMAPS)
        self._status_layout = KeyedWords(_status_keys)
        self.zombie = False

    def read(self) -> list[float]:
        """Values in the order of `PROCESS`, before their factors; NaN where a zombie or another user hides them.

        Raises:
            OSError: the process is gone.
        """
        text = self._stat.read()
        words = text[text.rindex(b")") + 2 :].split()
        if words[19] != (self._start or words[19]):
            raise ProcessLookupError(f"process {self.pid} has ended, and another one has its id")
        self._start, self.zombie = words[19], words[0] in (b"Z", b"X")
        if self.zombie:
            self._smaps = [NAN] * len(SMAPS)
        values = [*map(float, _stat_words(words)), *self._status_values(), *self._io_values(), self._fds()]
        return [*values, self._cpu_clock(), *self._smaps]

    def read_smaps(self) -> None:
        """Read the shares of memory that is used by several; milliseconds for a large process.

        Opened anew each time: an open file stays with the memory that the process had before an exec.
        """
        self._smaps = [NAN] * len(SMAPS)
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{self.pid}/smaps_rollup", "rb") as file:
            self._smaps = list(map(float, KeyedWords(_smaps_keys).values(file.read().split())))

    def close(self) -> None:
        """Give the descriptors back."""
        for file in (self._stat, self._status, self._io):
            file.close()

    def _status_values(self) -> list[float]:
        try:
            # Without the first line: a process may call itself "RssAnon: 1".
            words = self._status.read().partition(b"\n")[2].split()
            if not self.zombie:
                return list(map(float, self._status_layout.values(words)))
            switches = [float(words[-3]), float(words[-1])]
        except (OSError, ValueError, IndexError):
            return self._nothing("unreadable", len(STATUS))  # also a thread of the kernel: it has no memory
        return [*self._nothing("zombie", len(STATUS) - 2), *switches]

    def _io_values(self) -> list[float]:
        try:
            return list(map(float, _io_words(self._io.read().split())))
        except PermissionError:
            return self._nothing("forbidden", len(IO))
        except (OSError, ValueError, IndexError):
            return self._nothing("unreadable", len(IO))

    def _fds(self) -> float:
        try:
            # Since Linux 6.2 the folder's size is the number of open files; before, it is 0 and they are counted.
            return float(os.stat(f"/proc/{self.pid}/fd").st_size or len(os.listdir(f"/proc/{self.pid}/fd")))
        except OSError:
            return self._nothing("zombie" if self.zombie else "forbidden", 1)[0]

    def _cpu_clock(self) -> float:
        """User and system time to the nanosecond, threads that ended included; the words of `stat` are cut to 10 ms."""
        try:
            return time.clock_gettime(~self.pid << 3 | SCHEDULER_CLOCK)
        except OSError:
            return self._nothing("unreadable", 1)[0]

    def _nothing(self, reason: str, count: int) -> list[float]:
        self._missing[reason] += count
        return [NAN] * count


class ThreadFile:
    """Processor time of one thread, to the nanosecond.

    Args:
        pid: of its process.
        tid: of the thread.
    """

    def __init__(self, pid: int, tid: int) -> None:
        self.pid, self.tid = pid, tid
        self._file = KernelFile(f"/proc/{pid}/task/{tid}/schedstat")

    def read(self) -> list[float]:
        """Values in the order of `THREAD`, before their factors.

        Raises:
            OSError: the thread is gone.
        """
        words = self._file.read().split()
        return list(map(float, words)) if len(words) == len(THREAD) else [NAN] * len(THREAD)

    def close(self) -> None:
        """Give the descriptor back."""
        self._file.close()


def names_of(prefix: str, fields: tuple[Field, ...], **labels: str) -> list[str]:
    """Full series names of a row."""
    names = []
    for field in fields:
        label = "mode" if "cpu_seconds" in field.name else "kind"
        names.append(series_key(f"{prefix}_{field.name}", **labels, **({label: field.kind} if field.kind else {})))
    return names
