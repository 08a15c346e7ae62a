"""Control groups, version 1 and 2: processor time, throttling, memory, storage, pressure; named as cAdvisor names them.

Their processor time is counted in nanoseconds or microseconds, where /proc counts a process's in ticks of 10 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from telemetry.collectors.files import KernelFile
from telemetry.collectors.source import series_key

UNLIMITED = float(1 << 60)
"""Bytes. Version 1 says "no limit" by a number near 2^63; a limit above this is none, and is absent."""

V2_STORAGE = {
    "rbytes": "container_fs_reads_bytes_total",
    "wbytes": "container_fs_writes_bytes_total",
    "rios": "container_fs_reads_total",
    "wios": "container_fs_writes_total",
}
V1_STORAGE = {
    ("blkio.throttle.io_service_bytes", "Read"): "container_fs_reads_bytes_total",
    ("blkio.throttle.io_service_bytes", "Write"): "container_fs_writes_bytes_total",
    ("blkio.throttle.io_serviced", "Read"): "container_fs_reads_total",
    ("blkio.throttle.io_serviced", "Write"): "container_fs_writes_total",
}

Value = tuple[str, float | None]


class CgroupSource:
    """Usage and limits of named control groups; a group, or a file of it, that is not there is absent.

    Args:
        groups: name -> path of the group below each hierarchy, e.g. {"serving": "trimtab/serving"}; or a function that
            returns this, for groups that come and go.
        root: where the hierarchies are mounted.
        name: of the source.
    """

    def __init__(
        self,
        groups: Mapping[str, str] | Callable[[], Mapping[str, str]],
        root: str | Path = "/sys/fs/cgroup",
        name: str = "cgroup",
    ) -> None:
        self.name = name
        self._groups = groups
        self._root = Path(root)
        self.version = 2 if (self._root / "cgroup.controllers").exists() else 1
        self._files: dict[tuple[str, str], KernelFile] = {}
        self._keys: dict[tuple[str, ...], str] = {}

    def collect(self) -> dict[str, float]:
        """Current values of all groups that exist; empty if none does."""
        values: dict[str, float] = {}
        groups = self._groups() if callable(self._groups) else self._groups
        version = _version_2 if self.version == 2 else _version_1
        for group, path in groups.items():
            for name, value in version(partial(self._text, path)):
                if value is not None:
                    values[self._key(name, group)] = value
        self._forget_all_but(set(groups.values()))
        return values

    def _forget_all_but(self, paths: set[str]) -> None:
        for path, file in [key for key in self._files if key[0] not in paths]:
            self._files.pop((path, file)).close()

    def _text(self, path: str, file: str) -> str:
        """Of a file of a group, `controller/name` in version 1; empty where the group or controller is not there."""
        controller, _, name = file.rpartition("/")
        kept = self._files.get((path, file))
        if kept is None:
            kept = self._files[path, file] = KernelFile(str(self._root / controller / path / name))
        try:
            return kept.read().decode("ascii")
        except OSError:
            kept.close()  # it stands for the group that was; one that is made again has another
            return ""

    def _key(self, name: str, group: str) -> str:
        key = self._keys.get((name, group))
        if key is None:
            metric, _, label = name.partition(" ")
            labels = dict([label.split("=", 1)]) if label else {}
            key = self._keys[name, group] = series_key(metric, name=group, **labels)
        return key


Text = Callable[[str], str]


def _version_2(text: Text) -> Iterator[Value]:
    """Values by metric name, a label after it in the form ` label=value`."""
    cpu, events, memory = (_table(text(file)) for file in ("cpu.stat", "memory.events", "memory.stat"))
    usage, quota = _number(text("memory.current")), text("cpu.max").split()
    yield "container_cpu_usage_seconds_total", _scaled(cpu.get("usage_usec"), 1e-6)
    yield "container_cpu_user_seconds_total", _scaled(cpu.get("user_usec"), 1e-6)
    yield "container_cpu_system_seconds_total", _scaled(cpu.get("system_usec"), 1e-6)
    yield "container_cpu_cfs_throttled_seconds_total", _scaled(cpu.get("throttled_usec"), 1e-6)
    yield "container_spec_cpu_quota_ratio", float(quota[0]) / float(quota[1]) if _is_quota(quota) else None
    yield "container_memory_usage_bytes", usage
    yield "container_memory_max_usage_bytes", _number(text("memory.peak"))
    yield "container_memory_rss", memory.get("anon")
    yield "container_memory_cache", memory.get("file")
    yield "container_memory_mapped_file", memory.get("file_mapped")
    yield "container_memory_swap", _number(text("memory.swap.current"))
    yield "container_memory_working_set_bytes", _working_set(usage, memory.get("inactive_file"))
    yield "container_spec_memory_limit_bytes", _limit(_number(text("memory.max")))
    yield "container_memory_failcnt", events.get("max")
    yield "container_oom_events_total", events.get("oom_kill")
    yield from _both_versions(cpu, memory, _number(text("pids.current")))
    for resource in ("cpu", "memory", "io"):
        yield from _pressure(resource, text(f"{resource}.pressure"))
    for line in text("io.stat").splitlines():
        device, *fields = line.split()
        for name, _, value in (field.partition("=") for field in fields):
            if name in V2_STORAGE:
                yield f"{V2_STORAGE[name]} device={device}", float(value)


def _version_1(text: Text) -> Iterator[Value]:
    """Values by metric name, a label after it in the form ` label=value`."""
    cpu, pages = _table(text("cpu/cpu.stat")), _table(text("memory/memory.stat"))
    quota, period = _number(text("cpu/cpu.cfs_quota_us")), _number(text("cpu/cpu.cfs_period_us"))
    usage = _number(text("memory/memory.usage_in_bytes"))
    yield "container_cpu_usage_seconds_total", _scaled(_number(text("cpuacct/cpuacct.usage")), 1e-9)
    yield "container_cpu_user_seconds_total", _scaled(_number(text("cpuacct/cpuacct.usage_user")), 1e-9)
    yield "container_cpu_system_seconds_total", _scaled(_number(text("cpuacct/cpuacct.usage_sys")), 1e-9)
    yield "container_cpu_cfs_throttled_seconds_total", _scaled(cpu.get("throttled_time"), 1e-9)
    yield "container_spec_cpu_quota_ratio", quota / period if quota and period and quota > 0 else None
    yield "container_memory_usage_bytes", usage
    yield "container_memory_max_usage_bytes", _number(text("memory/memory.max_usage_in_bytes"))
    yield "container_memory_rss", pages.get("total_rss", pages.get("rss"))
    yield "container_memory_cache", pages.get("total_cache", pages.get("cache"))
    yield "container_memory_mapped_file", pages.get("total_mapped_file")
    yield "container_memory_swap", pages.get("total_swap")
    yield "container_memory_working_set_bytes", _working_set(usage, pages.get("total_inactive_file"))
    yield "container_spec_memory_limit_bytes", _limit(_number(text("memory/memory.limit_in_bytes")))
    yield "container_memory_failcnt", _number(text("memory/memory.failcnt"))
    yield "container_oom_events_total", _table(text("memory/memory.oom_control")).get("oom_kill")
    totals = {name.removeprefix("total_"): value for name, value in pages.items() if name.startswith("total_")}
    yield from _both_versions(cpu, totals, _number(text("pids/pids.current")))
    for (file, way), metric in V1_STORAGE.items():
        for line in text(f"blkio/{file}").splitlines():
            words = line.split()
            if len(words) == 3 and words[1] == way:
                yield f"{metric} device={words[0]}", float(words[2])


def _both_versions(cpu: Mapping[str, float], memory: Mapping[str, float], tasks: float | None) -> Iterator[Value]:
    yield "container_cpu_cfs_periods_total", cpu.get("nr_periods")
    yield "container_cpu_cfs_throttled_periods_total", cpu.get("nr_throttled")
    yield "container_memory_total_active_file_bytes", memory.get("active_file")
    yield "container_memory_total_inactive_file_bytes", memory.get("inactive_file")
    yield "container_memory_failures_total failure_type=pgfault", memory.get("pgfault")
    yield "container_memory_failures_total failure_type=pgmajfault", memory.get("pgmajfault")
    yield "container_threads", tasks


def _pressure(resource: str, text: str) -> Iterator[Value]:
    kinds = {"some": "waiting", "full": "stalled"}
    for line in text.splitlines():
        kind, _, microseconds = line.split()[0], *line.rpartition("total=")[1:]
        if kind in kinds:
            yield f"container_pressure_{resource}_{kinds[kind]}_seconds_total", float(microseconds) * 1e-6


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if text.lstrip("-").isdigit() else None  # "max" is no number


def _table(text: str) -> dict[str, float]:
    """Lines of `name number`."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _working_set(usage: float | None, inactive: float | None) -> float | None:
    return None if usage is None or inactive is None else max(usage - inactive, 0.0)


def _limit(value: float | None) -> float | None:
    return None if value is None or value > UNLIMITED else value


def _is_quota(fields: list[str]) -> bool:
    return len(fields) == 2 and fields[0].isdigit()
