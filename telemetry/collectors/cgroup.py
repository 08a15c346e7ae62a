"""Control groups, version 1 and 2: processor time, throttling, memory; named as cAdvisor names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from telemetry.collectors.source import series_key

UNLIMITED = float(1 << 60)
"""Bytes. Version 1 says "no limit" by a number near 2^63; a limit above this is none, and is absent."""


class CgroupSource:
    """Usage and limits of named control groups; a group, or a file of it, that is not there is absent.

    Args:
        groups: name -> path of the group below each hierarchy, e.g. {"serving": "trimtab/serving"}.
        root: where the hierarchies are mounted.
        name: of the source.
    """

    def __init__(self, groups: Mapping[str, str], root: str | Path = "/sys/fs/cgroup", name: str = "cgroup") -> None:
        self.name = name
        self._groups = dict(groups)
        self._root = Path(root)
        self.version = 2 if (self._root / "cgroup.controllers").exists() else 1

    def collect(self) -> dict[str, float]:
        """Current values of all groups that exist; empty if none does."""
        values: dict[str, float] = {}
        for group, path in self._groups.items():
            found = self._version_2(path) if self.version == 2 else self._version_1(path)
            for name, value in found.items():
                if value is not None:
                    values[series_key(name, name=group)] = value
        return values

    def _version_2(self, path: str) -> dict[str, float | None]:
        folder = self._root / path
        cpu, events = _table(folder / "cpu.stat"), _table(folder / "memory.events")
        memory, quota = _table(folder / "memory.stat"), _text(folder / "cpu.max").split()
        usage = _number(folder / "memory.current")
        return {
            "container_cpu_usage_seconds_total": _scaled(cpu.get("usage_usec"), 1e-6),
            "container_cpu_user_seconds_total": _scaled(cpu.get("user_usec"), 1e-6),
            "container_cpu_system_seconds_total": _scaled(cpu.get("system_usec"), 1e-6),
            "container_cpu_cfs_periods_total": cpu.get("nr_periods"),
            "container_cpu_cfs_throttled_periods_total": cpu.get("nr_throttled"),
            "container_cpu_cfs_throttled_seconds_total": _scaled(cpu.get("throttled_usec"), 1e-6),
            "container_spec_cpu_quota_ratio": float(quota[0]) / float(quota[1]) if _is_quota(quota) else None,
            "container_memory_usage_bytes": usage,
            "container_memory_rss": memory.get("anon"),
            "container_memory_cache": memory.get("file"),
            "container_memory_working_set_bytes": _working_set(usage, memory.get("inactive_file")),
            "container_spec_memory_limit_bytes": _limit(_number(folder / "memory.max")),
            "container_memory_failcnt": events.get("max"),
            "container_oom_events_total": events.get("oom_kill"),
        }

    def _version_1(self, path: str) -> dict[str, float | None]:
        account, cpu, memory = (self._root / controller / path for controller in ("cpuacct", "cpu", "memory"))
        throttling, pages = _table(cpu / "cpu.stat"), _table(memory / "memory.stat")
        quota, period = _number(cpu / "cpu.cfs_quota_us"), _number(cpu / "cpu.cfs_period_us")
        usage = _number(memory / "memory.usage_in_bytes")
        return {
            "container_cpu_usage_seconds_total": _scaled(_number(account / "cpuacct.usage"), 1e-9),
            "container_cpu_user_seconds_total": _scaled(_number(account / "cpuacct.usage_user"), 1e-9),
            "container_cpu_system_seconds_total": _scaled(_number(account / "cpuacct.usage_sys"), 1e-9),
            "container_cpu_cfs_periods_total": throttling.get("nr_periods"),
            "container_cpu_cfs_throttled_periods_total": throttling.get("nr_throttled"),
            "container_cpu_cfs_throttled_seconds_total": _scaled(throttling.get("throttled_time"), 1e-9),
            "container_spec_cpu_quota_ratio": quota / period if quota and period and quota > 0 else None,
            "container_memory_usage_bytes": usage,
            "container_memory_rss": pages.get("total_rss", pages.get("rss")),
            "container_memory_cache": pages.get("total_cache", pages.get("cache")),
            "container_memory_working_set_bytes": _working_set(usage, pages.get("total_inactive_file")),
            "container_spec_memory_limit_bytes": _limit(_number(memory / "memory.limit_in_bytes")),
            "container_memory_failcnt": _number(memory / "memory.failcnt"),
            "container_oom_events_total": _table(memory / "memory.oom_control").get("oom_kill"),
        }


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:
        return ""  # the group or this controller is not there


def _number(path: Path) -> float | None:
    text = _text(path).strip()
    return float(text) if text.lstrip("-").isdigit() else None  # "max" is no number


def _table(path: Path) -> dict[str, float]:
    """Lines of `name number`."""
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _working_set(usage: float | None, inactive: float | None) -> float | None:
    return None if usage is None or inactive is None else max(usage - inactive, 0.0)


def _limit(value: float | None) -> float | None:
    return None if value is None or value > UNLIMITED else value


def _is_quota(fields: list[str]) -> bool:
    return len(fields) == 2 and fields[0].isdigit()
