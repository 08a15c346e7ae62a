import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.actuators.actuator import ActuatorError
from controller.actuators.cgroup import CgroupCpu
from controller.actuators.group import WorkloadGroup
from controller.actuators.hierarchy import Hierarchy, own_group
from controller.actuators.limits import CpuWeight, Pause, Processes, Processors, processors_in
from controller.actuators.memory import Memory
from controller.actuators.storage import Storage, StorageOperations, device_of
from controller.components import Component
from controller.revert import revert_all
from telemetry.processes import process_start, process_tree

KNOB = "knob"
KINDS = {
    CpuWeight: (100.0, 40.0), Processors: (float(os.cpu_count()), 1.0), Memory: (4e9, 1048576000.0),
    Storage: (1e9, 5e6), StorageOperations: (1e6, 200.0), Processes: (1000.0, 50.0), Pause: (0.0, 1.0),
}  # fmt: skip
"""Kind -> without a limit, and with one."""


def component(pid):
    return Component("serving", "", pid, process_start(pid))


@pytest.fixture
def make(child):
    """Makes a limit on the real control groups of this host, if that is allowed."""
    made = []

    def make(kind, process=child, **options):
        hierarchy = real_hierarchy(kind)
        group = WorkloadGroup("serving", component(process.pid), hierarchy, f"{own_group()}-test")
        limit = kind("serving", KNOB, hierarchy, group, unlimited=KINDS[kind][0], **options)
        capability = limit.probe()
        if not capability.available:
            pytest.skip(capability.reason)
        made.append(limit)
        return limit

    yield make
    for limit in made:
        limit.undo()


def real_hierarchy(kind):
    try:
        return Hierarchy.detect(kind.NAMES[0], unified_name=kind.NAMES[1])
    except ActuatorError as error:
        pytest.skip(str(error))


@pytest.mark.clause("A2")
@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_is_put_in_force_and_read_back(make, kind):
    unlimited, limited = KINDS[kind]
    limit = make(kind)
    assert limit.read() == {KNOB: unlimited}
    assert limit.apply({KNOB: limited})[KNOB] == pytest.approx(limited, rel=1e-3)
    assert limit.apply({KNOB: unlimited})[KNOB] == unlimited


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by_warden", [False, True])
def test_everything_is_as_it_was_after_undo_and_after_the_warden(make, child, kind, by_warden):
    limit, hierarchy = make(kind), real_hierarchy(kind)
    found = {pid: (hierarchy.group_of(pid), os.sched_getaffinity(pid)) for pid in process_tree(child.pid)}
    steps = limit.revert_steps()
    limit.apply({KNOB: KINDS[kind][1]})
    assert hierarchy.group_of(child.pid).name == "serving"
    if by_warden:
        assert revert_all(steps) == ([], [])
        assert revert_all(steps) == ([], [])
        assert limit.read() == {KNOB: KINDS[kind][0]}
    else:
        limit.undo()
        limit.undo()
    assert {pid: (hierarchy.group_of(pid), os.sched_getaffinity(pid)) for pid in process_tree(child.pid)} == found
    assert not (hierarchy.mount / f"{own_group()}-test").exists()


def test_a_paused_workload_stands_still_and_goes_on(make, run_python):
    counting = run_python("print('ready', flush=True)\nwhile True: pass")
    limit = make(Pause, process=counting)
    limit.apply({KNOB: 1.0})
    frozen = cpu_ticks(counting.pid)
    sum(range(200_000))  # some milliseconds in which it would have gone on
    assert cpu_ticks(counting.pid) == frozen
    assert limit.apply({KNOB: 0.0}) == {KNOB: 0.0}


def cpu_ticks(pid):
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0])


def test_one_processor_less_is_seen_by_the_process(make, child):
    found = os.sched_getaffinity(child.pid)
    limit = make(Processors)
    limit.apply({KNOB: 1.0})
    assert len(os.sched_getaffinity(child.pid)) == 1
    limit.undo()
    assert os.sched_getaffinity(child.pid) == found


@pytest.mark.clause("A2")
def test_fewer_processes_than_there_are_is_refused(make):
    limit = make(Processes)
    with pytest.raises(ActuatorError, match="serving has 3 processes and threads, more than the 2 asked for"):
        limit.apply({KNOB: 2.0})


def test_a_workload_cannot_fork_beyond_its_limit(make, run_python):
    script = """
import os, sys
print("ready", flush=True)
sys.stdin.readline()
children = []
try:
    for _ in range(20):
        pid = os.fork()
        if not pid:
            sys.stdin.readline()
            os._exit(0)
        children.append(pid)
except BlockingIOError:
    pass
print(len(children), flush=True)
for pid in children: os.kill(pid, 9)
"""
    forking = run_python(script)
    make(Processes, process=forking).apply({KNOB: 5.0})
    assert int(forking.communicate("go\n", timeout=10)[0]) == 4  # and the process itself


@pytest.mark.clause("A2")
def test_memory_is_not_limited_below_what_cannot_be_reclaimed(make, run_python):
    script = "import sys\nprint('ready', flush=True)\nsys.stdin.readline()\nheld = bytearray(64 << 20)\n"
    script += "held[::4096] = b'x' * len(held[::4096])\nprint('held', flush=True)\nsys.stdin.readline()"
    holding = run_python(script)
    limit = make(Memory, process=holding)
    limit.apply({KNOB: 1e9})
    holding.stdin.write("go\n")
    holding.stdin.flush()
    assert holding.stdout.readline().strip() == "held"
    with pytest.raises(ActuatorError, match="cannot be reclaimed: the least limit is"):
        limit.apply({KNOB: float(60 << 20)})
    assert limit.read()[KNOB] == pytest.approx(1e9, rel=1e-3)
    assert limit.apply({KNOB: float(200 << 20)})[KNOB] == 200 << 20
    assert holding.poll() is None


def test_direct_writes_are_held_to_their_rate(make, run_python, tmp_path):
    script = f"""
import mmap, os, sys, time
print("ready", flush=True)
sys.stdin.readline()
block = mmap.mmap(-1, 1 << 18)
file = os.open({str(tmp_path / "written")!r}, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
begin = time.monotonic()
for _ in range(8):
    os.write(file, block)
print(time.monotonic() - begin, flush=True)
"""
    writing = run_python(script)
    make(Storage, process=writing, target=str(tmp_path)).apply({KNOB: 4e6})
    seconds = float(writing.communicate("go\n", timeout=20)[0])
    assert seconds > 0.3  # 2 MiB at 4 MB/s take 0.5 s, less what one slice of the throttle lets through


def test_a_workload_alone_in_its_group_keeps_it_and_gets_its_own_limit_back(make, child):
    hierarchy = real_hierarchy(Memory)
    if hierarchy.version != 1:
        pytest.skip("the root group of version 2 is the host's")
    group = hierarchy.mount / f"{own_group()}-container"
    found = hierarchy.group_of(child.pid)
    group.mkdir()
    try:
        hierarchy.move(child.pid, group.relative_to(hierarchy.mount))
        (group / "memory.limit_in_bytes").write_text(str(3 << 30))
        limit = make(Memory)
        assert "its own group" in limit.probe().reason
        steps = limit.revert_steps()
        limit.apply({KNOB: float(1 << 30)})
        assert int((group / "memory.limit_in_bytes").read_text()) == 1 << 30
        assert revert_all(steps) == ([], [])
        assert int((group / "memory.limit_in_bytes").read_text()) == 3 << 30
        limit.apply({KNOB: float(1 << 30)})
        limit.undo()
        assert int((group / "memory.limit_in_bytes").read_text()) == 3 << 30
    finally:
        hierarchy.remove(group.relative_to(hierarchy.mount), found)


# Version 2 as plain files: what is written can be checked on hosts that mount version 1.

FILES = {
    "cpu.weight": "100\n", "cpu.max": "max 100000\n", "cpuset.cpus": "\n", "cpuset.cpus.effective": "0-3\n",
    "memory.high": "max\n", "memory.current": "300000000\n", "memory.stat": "anon 100\ninactive_file 250000000\n",
    "memory.pressure": "some avg10=0.00\nfull avg10=0.00 avg60=0.00\n", "pids.max": "max\n", "io.max": "",
    "cgroup.freeze": "0\n", "cgroup.events": "populated 1\nfrozen 0\n",
}  # fmt: skip


@pytest.fixture
def unified(tmp_path):
    for folder in ("", "trimtab", "trimtab/serving"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in ("cgroup.procs", "cgroup.subtree_control"):
            (tmp_path / folder / name).write_text("")
        for name, content in FILES.items():
            (tmp_path / folder / name).write_text(content)
    return tmp_path


def v2(kind, unified, child, **options):
    hierarchy = Hierarchy(unified, 2, kind.NAMES[1])
    group = WorkloadGroup("serving", component(child.pid), hierarchy, "trimtab")
    return kind("serving", KNOB, hierarchy, group, unlimited=KINDS[kind][0], **options)


def device():
    try:
        return device_of(".")
    except ActuatorError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("kind", "value", "file", "text"),
    [
        (CpuWeight, 250.0, "cpu.weight", "250"),
        (Processors, 2.0, "cpuset.cpus", "0,1"),
        (Memory, 400e6, "memory.high", "400000000"),
        (Memory, 4e9, "memory.high", "max"),
        (Processes, 64.0, "pids.max", "64"),
        (Processes, 1000.0, "pids.max", "max"),
        (Pause, 0.0, "cgroup.freeze", "0"),
    ],
)
def test_version_2_formats(unified, child, kind, value, file, text):
    assert v2(kind, unified, child).apply({KNOB: value}) == {KNOB: value}
    assert (unified / "trimtab/serving" / file).read_text() == text


@pytest.mark.parametrize(("kind", "line"), [(Storage, "rbps={} wbps={}"), (StorageOperations, "riops={} wiops={}")])
def test_version_2_io_lines(unified, child, kind, line):
    limit = v2(kind, unified, child, target=".")
    assert limit.apply({KNOB: 2e5}) == {KNOB: 2e5}
    assert (unified / "trimtab/serving/io.max").read_text() == f"{device()} {line.format(200000, 200000)}"
    limit.apply({KNOB: KINDS[kind][0]})
    assert (unified / "trimtab/serving/io.max").read_text() == f"{device()} {line.format('max', 'max')}"


@pytest.mark.clause("A2")
def test_what_cannot_be_frozen_goes_on_and_is_an_error(unified, child):
    limit = v2(Pause, unified, child)
    ticks = iter(range(100))
    limit.clock, limit.sleep = lambda: next(ticks) / 10, lambda seconds: None
    with pytest.raises(ActuatorError, match=r"not frozen within 0\.5 s, and goes on"):
        limit.apply({KNOB: 1.0})
    assert (unified / "trimtab/serving/cgroup.freeze").read_text() == "0"


def test_a_workload_with_hardly_any_cpu_is_not_frozen(unified, child):
    limit = v2(Pause, unified, child)
    limit.apply({KNOB: 0.0})
    (unified / "trimtab/serving/cpu.weight").write_text("1\n")
    with pytest.raises(ActuatorError, match="too little CPU to be frozen: weight 1"):
        limit.apply({KNOB: 1.0})


def test_version_2_memory_is_reclaimed_before_it_is_limited_and_only_as_far_as_that_led(unified, child):
    limit = v2(Memory, unified, child)
    (unified / "trimtab/serving/memory.reclaim").write_text("")
    assert limit.apply({KNOB: 200e6}) == {KNOB: 300e6}  # these files reclaim nothing
    assert (unified / "trimtab/serving/memory.reclaim").read_text() == str(32 << 20)


def test_memory_is_not_lowered_while_the_workload_waits_for_it(unified, child):
    limit = v2(Memory, unified, child)
    limit.apply({KNOB: 2e9})
    (unified / "trimtab/serving/memory.pressure").write_text("some avg10=40.00\nfull avg10=22.50 avg60=0.00\n")
    with pytest.raises(ActuatorError, match=r"serving waits for memory \(22 % of 10 s\)"):
        limit.apply({KNOB: 1e9})
    assert limit.apply({KNOB: 3e9}) == {KNOB: 3e9}


def test_a_knob_at_its_upper_end_does_not_lift_the_limit_of_a_container(unified, child, monkeypatch):
    limit = v2(Memory, unified, child)
    monkeypatch.setattr(Hierarchy, "group_of", lambda self, pid: Path("container"))
    (unified / "container").mkdir()
    for name, content in FILES.items():
        (unified / "container" / name).write_text(content)
    (unified / "container/cgroup.procs").write_text("\n".join(map(str, process_tree(child.pid))))
    (unified / "container/memory.high").write_text("8000000000\n")
    limit.apply({KNOB: 1e9})
    limit.apply({KNOB: 4e9})
    assert (unified / "container/memory.high").read_text() == "8000000000"
    limit.undo()
    assert (unified / "container/memory.high").read_text() == "8000000000\n"


def test_version_2_limits_share_a_group_in_which_controllers_are_turned_on_one_by_one(unified, child):
    hierarchy = Hierarchy(unified, 2, "cpu")
    group = WorkloadGroup("serving", component(child.pid), hierarchy, "trimtab")
    quota = CgroupCpu("serving", "cpu", component(child.pid), hierarchy, uncapped=2.0, total=2.0, group=group)
    memory = Memory("serving", KNOB, Hierarchy(unified, 2, "memory"), group, unlimited=4e9)
    for name in ("memory.high", "memory.current", "memory.stat", "memory.pressure"):
        (unified / "trimtab/serving" / name).unlink()
    quota.apply({"cpu": 0.5})
    assert memory.read() == {KNOB: 4e9}
    memory.check(1e9)
    (unified / "trimtab/serving/cpu.max").unlink()
    assert quota.read() == {"cpu": 2.0}


def test_a_partition_counts_as_its_whole_device(monkeypatch, tmp_path):
    number = f"{os.major(os.stat('.').st_dev)}:{os.minor(os.stat('.').st_dev)}"
    (tmp_path / "disk/part").mkdir(parents=True)
    (tmp_path / "disk/part/partition").write_text("1\n")
    (tmp_path / "disk/dev").write_text("8:0\n")
    (tmp_path / number).symlink_to(tmp_path / "disk/part")
    monkeypatch.setattr("controller.actuators.storage.SYS", tmp_path)
    assert device_of(".") == "8:0"


def test_a_file_system_without_a_device_is_an_error():
    with pytest.raises(ActuatorError, match="is on no block device"):
        device_of("/proc")


def test_a_workload_without_a_process_here_is_not_available(unified):
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert "no process on this host" in v2(Memory, unified, ended).probe().reason


@given(st.lists(st.integers(0, 300), min_size=1, unique=True).map(sorted))
def test_processors_are_read_back_as_they_were_written(processors):
    assert processors_in(",".join(map(str, processors))) == processors
