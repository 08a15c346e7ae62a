from __future__ import annotations

from pathlib import Path

import pytest

from telemetry.collectors.cgroup import CgroupSource


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def values(root: Path, path: str = "t/s") -> dict[str, float]:
    found = CgroupSource({"serving": path}, root).collect()
    assert all(key.endswith('{name="serving"}') for key in found)
    return {key.partition("{")[0]: value for key, value in found.items()}


def test_version_2_usage_throttling_and_memory(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "cgroup.controllers": "cpu memory\n",
            "t/s/cpu.stat": "usage_usec 1500000\nuser_usec 1000000\n"
            "nr_periods 10\nnr_throttled 3\nthrottled_usec 250000\n",
            "t/s/cpu.max": "50000 100000\n",
            "t/s/memory.current": "1000\n",
            "t/s/memory.max": "max\n",
            "t/s/memory.stat": "anon 600\nfile 400\ninactive_file 300\n",
            "t/s/memory.events": "low 0\nmax 4\noom_kill 1\n",
        },
    )
    assert values(tmp_path) == {
        "container_cpu_usage_seconds_total": 1.5,
        "container_cpu_user_seconds_total": 1.0,
        "container_cpu_cfs_periods_total": 10,
        "container_cpu_cfs_throttled_periods_total": 3,
        "container_cpu_cfs_throttled_seconds_total": 0.25,
        "container_spec_cpu_quota_ratio": 0.5,
        "container_memory_usage_bytes": 1000,
        "container_memory_rss": 600,
        "container_memory_cache": 400,
        "container_memory_total_inactive_file_bytes": 300,
        "container_memory_working_set_bytes": 700,
        "container_memory_failcnt": 4,
        "container_oom_events_total": 1,
    }


def test_version_1_usage_throttling_and_memory(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "cpuacct/t/s/cpuacct.usage": "2000000000\n",
            "cpu/t/s/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 500000000\n",
            "cpu/t/s/cpu.cfs_quota_us": "-1\n",
            "cpu/t/s/cpu.cfs_period_us": "100000\n",
            "memory/t/s/memory.usage_in_bytes": "1000\n",
            "memory/t/s/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/t/s/memory.stat": "cache 1\ntotal_rss 500\ntotal_inactive_file 100\n",
            "memory/t/s/memory.oom_control": "oom_kill_disable 0\noom_kill 2\n",
        },
    )
    assert values(tmp_path) == {
        "container_cpu_usage_seconds_total": 2.0,
        "container_cpu_cfs_periods_total": 5,
        "container_cpu_cfs_throttled_periods_total": 2,
        "container_cpu_cfs_throttled_seconds_total": 0.5,
        "container_memory_usage_bytes": 1000,
        "container_memory_rss": 500,
        "container_memory_cache": 1,
        "container_memory_total_inactive_file_bytes": 100,
        "container_memory_working_set_bytes": 900,
        "container_oom_events_total": 2,
    }


@pytest.mark.parametrize(
    "files",
    [
        {
            "cgroup.controllers": "io pids\n",
            "t/s/io.stat": "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
            "t/s/pids.current": "7\n",
        },
        {
            "blkio/t/s/blkio.throttle.io_service_bytes": "254:0 Read 10\n254:0 Write 20\n254:0 Total 30\nTotal 30\n",
            "blkio/t/s/blkio.throttle.io_serviced": "254:0 Read 1\n254:0 Write 2\nTotal 3\n",
            "pids/t/s/pids.current": "7\n",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_storage_by_device_and_threads(tmp_path: Path, files: dict[str, str]) -> None:
    found = CgroupSource({"serving": "t/s"}, write(tmp_path, files)).collect()
    device = '{name="serving",device="254:0"}'
    assert found == {
        f"container_fs_reads_bytes_total{device}": 10,
        f"container_fs_writes_bytes_total{device}": 20,
        f"container_fs_reads_total{device}": 1,
        f"container_fs_writes_total{device}": 2,
        'container_threads{name="serving"}': 7,
    }


def test_pressure_within_a_group(tmp_path: Path) -> None:
    write(tmp_path, {"cgroup.controllers": "", "t/s/io.pressure": "some avg10=0 total=2500000\nfull total=1000000\n"})
    assert values(tmp_path) == {
        "container_pressure_io_waiting_seconds_total": 2.5,
        "container_pressure_io_stalled_seconds_total": 1.0,
    }


def test_a_group_that_is_removed_and_made_again_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, {"cpuacct/t/s/cpuacct.usage": "2000000000\n"})
    groups = {"serving": "t/s"}
    source = CgroupSource(lambda: groups, tmp_path)
    assert source.collect() == {'container_cpu_usage_seconds_total{name="serving"}': 2.0}
    groups.clear()
    (tmp_path / "cpuacct/t/s/cpuacct.usage").unlink()
    assert source.collect() == {}
    write(tmp_path, {"cpuacct/t/s/cpuacct.usage": "1000000000\n"})
    groups["serving"] = "t/s"
    assert source.collect() == {'container_cpu_usage_seconds_total{name="serving"}': 1.0}


def test_a_group_that_is_not_there_is_absent(tmp_path: Path) -> None:
    assert values(tmp_path, "nowhere") == {}
