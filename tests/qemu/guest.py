"""Runs in the virtual machine of `run.py`: the actuators on cgroup v2, with and without systemd as the init process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from controller.actuators.actuator import ActuatorError
from controller.actuators.cgroup import CgroupCpu
from controller.actuators.group import WorkloadGroup
from controller.actuators.hierarchy import Hierarchy
from controller.actuators.limits import CgroupLimit, CpuWeight, Pause, Processes, Processors
from controller.actuators.memory import Memory
from controller.actuators.storage import Storage
from controller.components import Component
from controller.revert import revert_all
from telemetry.processes import process_start

MOUNT, DEVICE, WORKER = Path("/sys/fs/cgroup"), "/dev/nvme0n1", 1000
MIB, SECONDS = 1 << 20, 60
BUSY = "while True: pass"
HOLDING = "import time; held = bytearray(96 << 20); held[::4096] = b'x' * len(held[::4096]); time.sleep(600)"
WRITING = f"""
import mmap, os, time
block, file = mmap.mmap(-1, 1 << 17), os.open({DEVICE!r}, os.O_WRONLY | os.O_DIRECT)
while True:
    os.pwrite(file, block, 0)
"""
tests: dict[str, list[Callable[[], None]]] = {"bare": [], "delegated": [], "systemd": [], "units": []}


def test(*parts: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Lets a function run in parts of the tests."""

    def take(function: Callable[[], None]) -> Callable[[], None]:
        for part in parts:
            tests[part].append(function)
        return function

    return take


class Process:
    """A Python process, and a unit of systemd around it in that part."""

    def __init__(self, script: str) -> None:
        command = [sys.executable, "-c", script]
        if part == "systemd":
            self.unit = f"serving{time.monotonic_ns()}.service"
            subprocess.run(["systemd-run", "-q", f"--unit={self.unit}", *command], check=True)
            shown = subprocess.run(["systemctl", "show", "-P", "MainPID", self.unit], capture_output=True, check=True)
            self.pid, self.child = int(shown.stdout), None
        else:
            self.child = subprocess.Popen(command, start_new_session=True)
            self.pid = self.child.pid
        self.component = Component("serving", "", self.pid, process_start(self.pid))
        until(lambda: "python" in Path(f"/proc/{self.pid}/comm").read_text())
        time.sleep(0.5)  # until it is at work

    def alive(self) -> bool:
        return process_start(self.pid) == self.component.start

    def cpu(self, seconds: float = 1.0) -> float:
        """Cores in use."""
        begin, used = time.monotonic(), self._cpu_seconds()
        time.sleep(seconds)
        return (self._cpu_seconds() - used) / (time.monotonic() - begin)

    def _cpu_seconds(self) -> float:
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def written(self, seconds: float = 1.5) -> float:
        """Bytes per second."""
        begin, before = time.monotonic(), self._written()
        time.sleep(seconds)
        return (self._written() - before) / (time.monotonic() - begin)

    def _written(self) -> int:
        lines = dict(line.split(": ") for line in Path(f"/proc/{self.pid}/io").read_text().splitlines())
        return int(lines["write_bytes"])

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, 9)
        if self.child is not None:
            self.child.wait()


def limit(
    kind: type[CgroupLimit], process: Process, unlimited: float, workload: str = "serving", **options: str
) -> CgroupLimit:
    hierarchy = Hierarchy.detect(kind.NAMES[0], unified_name=kind.NAMES[1])
    assert hierarchy.version == 2
    group = WorkloadGroup(workload, process.component, hierarchy)
    made = kind(workload, "knob", hierarchy, group, unlimited=unlimited, **options)
    capability = made.probe()
    assert capability.available, capability.reason
    assert ("by systemd" in capability.reason) == (part == "systemd"), capability.reason
    return made


def cpu(process: Process) -> CgroupCpu:
    made = CgroupCpu("serving", "knob", process.component, Hierarchy.detect(), uncapped=2.0, total=2.0)
    capability = made.probe()
    assert capability.available, capability.reason
    return made


def group_of(process: Process) -> Path:
    return MOUNT / Path(f"/proc/{process.pid}/cgroup").read_text().strip()[4:]


def about(measure: Callable[[], float], expected: float, share: float = 0.25) -> None:
    """A few times, since a virtual machine on a busy host stands still now and then."""
    found: list[float] = []
    while not found or abs(found[-1] - expected) > share * expected:
        assert len(found) < 6, f"{found} are not about {expected:g}"
        found.append(measure())


def until(condition: Callable[[], bool]) -> None:
    """Wait; the alarm of the test ends it otherwise."""
    while not condition():
        time.sleep(0.05)


def resident(process: Process) -> int:
    """Bytes."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096


def cached(process: Process) -> int:
    """Bytes of page cache that are charged to the process's group."""
    return int(dict(line.split() for line in (group_of(process) / "memory.stat").read_text().splitlines())["file"])


def as_found(process: Process, before: tuple[Path, dict[str, str]]) -> None:
    """The process is where it was, with the limits that it had, and no group of ours is left."""
    now = limits_of(process)
    assert now == before, f"{now} is not {before}"
    assert not list(MOUNT.glob("trimtab-*")) + list(MOUNT.glob("work/trimtab-*"))


def limits_of(process: Process) -> tuple[Path, dict[str, str]]:
    group = group_of(process)
    defaults = {"cpu.max": "max 100000", "cpu.weight": "100", "memory.high": "max", "pids.max": "max"}
    defaults["cpuset.cpus"] = ""
    found = {}
    for name, default in defaults.items():
        path = group / name
        found[name] = path.read_text().strip() if path.exists() and group != MOUNT else default
    if found["cpuset.cpus"] == "0-1":  # all that there are
        found["cpuset.cpus"] = ""
    return group, found


@test("bare", "delegated", "systemd")
def cpu_quota_holds_and_is_taken_back() -> None:
    with Process(BUSY) as process:
        before, actuator = limits_of(process), cpu(process)
        steps = actuator.revert_steps()
        for cores in (0.2, 0.5):
            in_force = actuator.apply({"knob": cores})["knob"]
            assert abs(in_force - cores) < 0.01, in_force
            about(process.cpu, cores)
        actuator.undo()
        as_found(process, before)
        actuator.apply({"knob": 0.2})
        assert revert_all(steps) == ([], []), revert_all(steps)
        as_found(process, before)
        about(process.cpu, 1.0)


@test("bare", "systemd")
def weights_share_a_processor() -> None:
    with Process(BUSY) as light, Process(BUSY) as heavy:
        os.sched_setaffinity(light.pid, {1})
        os.sched_setaffinity(heavy.pid, {1})
        actuators = [limit(CpuWeight, light, 100.0), limit(CpuWeight, heavy, 100.0, "training")]
        assert actuators[0].apply({"knob": 100.0}) == {"knob": 100.0}
        assert actuators[1].apply({"knob": 400.0}) == {"knob": 400.0}
        about(lambda: light.cpu(2.0), 0.2)
        for actuator in actuators:
            actuator.undo()


@test("bare", "systemd")
def processors_are_restricted_and_given_back() -> None:
    with Process(BUSY) as process:
        before, found = limits_of(process), os.sched_getaffinity(process.pid)
        actuator = limit(Processors, process, 2.0)
        assert actuator.apply({"knob": 1.0}) == {"knob": 1.0}
        assert len(os.sched_getaffinity(process.pid)) == 1
        actuator.undo()
        as_found(process, before)
        assert os.sched_getaffinity(process.pid) == found


@test("bare", "delegated", "systemd")
def memory_is_never_limited_below_what_is_held() -> None:
    with Process(HOLDING) as process:
        until(lambda: resident(process) > 96 * MIB)
        if part == "systemd":
            before, actuator = limits_of(process), limit(Memory, process, 4e9)
            steps = actuator.revert_steps()
            refusal = ""
            try:
                actuator.apply({"knob": 64.0 * MIB})
            except ActuatorError as error:
                refusal = str(error)
            assert "cannot be reclaimed" in refusal, refusal
            assert actuator.apply({"knob": 256.0 * MIB}) == {"knob": 256.0 * MIB}
            assert process.alive()
            assert revert_all(steps) == ([], [])
            actuator.undo()
        else:
            before, actuator = limits_of(process), limit(Memory, process, 4e9)
            assert actuator.apply({"knob": 256.0 * MIB}) == {"knob": 256.0 * MIB}
            actuator.undo()
        as_found(process, before)


@test("bare")
def page_cache_is_reclaimed_before_memory_is_limited() -> None:
    script = f"import time; time.sleep(3.0); f = open({DEVICE!r}, 'rb'); f.read(1 << 20)\n"
    script += "for _ in range(55): f.read(1 << 20)\ntime.sleep(600)"
    with Process(script) as process:
        actuator = limit(Memory, process, 4e9)
        actuator.apply({"knob": 2e9})
        until(lambda: cached(process) >= 55 * MIB)  # the kernel counts it late, by up to two seconds
        in_force = [actuator.apply({"knob": 46.0 * MIB})["knob"] for _ in range(4)]
        assert in_force[-1] == 46 * MIB, in_force
        assert process.alive()
        actuator.undo()


@test("bare", "systemd")
def storage_bandwidth_holds_and_is_taken_back() -> None:
    with Process(WRITING) as process:
        about(lambda: min(process.written(), 2e7), 2e7)
        actuator = limit(Storage, process, 1e9, target=DEVICE)
        assert actuator.apply({"knob": 1e6}) == {"knob": 1e6}
        about(lambda: process.written(2.0), 1e6, 0.4)
        actuator.undo()
        about(lambda: min(process.written(), 2e7), 2e7)


@test("bare", "systemd")
def processes_are_limited() -> None:
    script = """
import os, time
while not os.path.exists(f"/tmp/go{os.getpid()}"):
    time.sleep(0.05)
for _ in range(20):
    try:
        if not os.fork():
            time.sleep(600)
            os._exit(0)
    except BlockingIOError:
        pass
time.sleep(600)
"""
    with Process(script) as process:
        actuator = limit(Processes, process, 1000.0)
        assert actuator.apply({"knob": 6.0}) == {"knob": 6.0}
        Path(f"/tmp/go{process.pid}").touch()
        until(lambda: "max 0" not in (group_of(process) / "pids.events").read_text())
        inside = (group_of(process) / "cgroup.procs").read_text().split()
        assert len(inside) == 6, inside
        actuator.undo()
        for pid in inside[1:]:
            os.kill(int(pid), 9)


@test("bare", "delegated")
def a_pause_is_complete_and_ends() -> None:
    with Process(BUSY) as process:
        before, actuator = limits_of(process), limit(Pause, process, 0.0)
        assert actuator.apply({"knob": 1.0}) == {"knob": 1.0}
        assert process.cpu(0.5) == 0.0
        steps = actuator.revert_steps()
        assert revert_all(steps) == ([], [])
        assert process.cpu(0.5) > 0.2
        actuator.apply({"knob": 1.0})
        actuator.undo()
        assert process.cpu(0.5) > 0.2
        as_found(process, before)


@test("bare", "delegated")
def limits_share_a_group() -> None:
    with Process(BUSY) as process:
        before, hierarchy = limits_of(process), Hierarchy.detect()
        group = WorkloadGroup("serving", process.component, hierarchy)
        quota = CgroupCpu("serving", "cpu", process.component, hierarchy, uncapped=2.0, total=2.0, group=group)
        memory = Memory("serving", "memory", Hierarchy.detect("memory"), group, unlimited=4e9)
        tasks = Processes("serving", "tasks", Hierarchy.detect("pids"), group, unlimited=1000.0)
        for actuator, value in ((quota, 0.2), (memory, 256.0 * MIB), (tasks, 20.0)):
            knob = actuator.knobs[0]
            assert actuator.read()[knob] > value
            assert abs(actuator.apply({knob: value})[knob] - value) < 0.01
        about(process.cpu, 0.2)
        steps = [step for actuator in (quota, memory, tasks) for step in actuator.revert_steps()]
        assert revert_all(steps) == ([], [])
        as_found(process, before)
        assert memory.read() == {"memory": 4e9}


@test("bare")
def a_workload_alone_in_its_group_keeps_it() -> None:
    container = MOUNT / "container"
    container.mkdir()
    with Process(BUSY) as process:
        (container / "cgroup.procs").write_text(str(process.pid))
        (container / "memory.high").write_text(str(512 * MIB))
        (container / "cpu.max").write_text("150000 100000")
        before, memory, quota = limits_of(process), limit(Memory, process, 4e9), cpu(process)
        steps = memory.revert_steps() + quota.revert_steps()
        memory.apply({"knob": 128.0 * MIB})
        quota.apply({"knob": 0.2})
        about(process.cpu, 0.2)
        assert group_of(process) == container
        assert revert_all(steps) == ([], [])
        as_found(process, before)
        memory.apply({"knob": 128.0 * MIB})
        memory.undo()
        quota.undo()
        as_found(process, before)
    container.rmdir()


@test("bare")
def without_privilege_a_delegated_subtree_serves() -> None:
    """What systemd does for `Delegate=yes`: the folder and three files belong to the user, who moves into a leaf."""
    work = MOUNT / "work"
    (work / "own").mkdir(parents=True)
    for controller in ("cpu", "memory", "pids"):
        (MOUNT / "cgroup.subtree_control").write_text(f"+{controller}")
    for folder in (work, work / "own"):
        for path in (folder, folder / "cgroup.procs", folder / "cgroup.threads", folder / "cgroup.subtree_control"):
            shutil.chown(path, WORKER, WORKER)
    (work / "own/cgroup.procs").write_text(str(os.getpid()))
    try:
        done = subprocess.run(
            [sys.executable, __file__, "delegated"], user=WORKER, group=WORKER, extra_groups=[], check=False
        )
        assert done.returncode == 0
    finally:
        (MOUNT / "cgroup.procs").write_text(str(os.getpid()))


@test("systemd")
def what_somebody_else_set_of_a_unit_is_restored() -> None:
    with Process(BUSY) as process:
        properties = ["CPUQuota=150%", "MemoryHigh=512M", "TasksMax=77"]
        subprocess.run(["systemctl", "set-property", "--runtime", process.unit, *properties], check=True)
        time.sleep(0.3)
        before = limits_of(process)
        assert before[1]["memory.high"] == str(512 * MIB), before
        quota, memory, tasks = cpu(process), limit(Memory, process, 4e9), limit(Processes, process, 1000.0)
        quota.apply({"knob": 0.3})
        memory.apply({"knob": 200.0 * MIB})
        tasks.apply({"knob": 50.0})
        # A raw write would be gone by now: systemd writes all of a unit with any property.
        assert abs(quota.read()["knob"] - 0.3) < 0.01
        for actuator in (quota, memory, tasks):
            actuator.undo()
        as_found(process, before)


def run(name: str, seconds: int = SECONDS) -> int:
    """Run the tests of a part, each for so many seconds at most; says what came of each, returns how many failed."""
    failed = 0
    signal.signal(signal.SIGALRM, give_up)
    print(flush=True)  # after what the firmware has left on the line
    for function in tests[name]:
        begin = time.monotonic()
        signal.alarm(seconds)
        try:
            function()
        except Exception as error:  # the next test is run all the same
            failed += 1
            traceback.print_exc()
            print(f"FAIL {name}: {function.__name__}: {type(error).__name__}: {' '.join(str(error).split())}")
        else:
            print(f"ok {name}: {function.__name__.replace('_', ' ')} ({time.monotonic() - begin:.1f} s)")
        sys.stdout.flush()
    print(f"end of {name}", flush=True)
    return failed


def give_up(*_: object) -> None:
    """What a test that takes too long ends with."""
    raise TimeoutError("it takes too long")


if __name__ == "__main__":
    part = sys.argv[1]
    sys.exit(bool(run(part)))
