import os
import subprocess
import sys

import pytest

from controller.actuators.actuator import ActuatorError
from controller.actuators.cgroup import CgroupCpu
from controller.actuators.hierarchy import Hierarchy, own_group
from controller.components import Component
from telemetry.processes import process_start, process_tree

KNOB = "serving_cpu_cores"


def real_hierarchy():
    """The host's, if groups may be made in it."""
    try:
        hierarchy = Hierarchy.detect()
        actuator = CgroupCpu("probe", KNOB, component(os.getpid()), hierarchy, uncapped=1.0, total=1.0)
        capability = actuator.probe()
    except ActuatorError as error:
        pytest.skip(str(error))
    if not capability.available:
        pytest.skip(capability.reason)
    return hierarchy


def component(pid):
    return Component("serving", "http://127.0.0.1:1", pid, process_start(pid))


@pytest.fixture
def actuator(child):
    actuator = CgroupCpu(
        "serving", KNOB, component(child.pid), real_hierarchy(), uncapped=1.3, total=1.5, parent=f"{own_group()}-test"
    )
    yield actuator
    actuator.undo()


def test_quota_is_put_in_force_and_read_back(actuator):
    assert actuator.read() == {KNOB: 1.3}
    for cores in (0.3, 0.05, 1.0):
        assert actuator.apply({KNOB: cores})[KNOB] == pytest.approx(cores, rel=1e-3)


def test_quota_below_the_kernels_least_lengthens_the_period(actuator):
    assert actuator.apply({KNOB: 0.03})[KNOB] == pytest.approx(0.03, rel=1e-3)


def test_children_move_with_the_process_and_all_come_back(actuator, child):
    hierarchy = real_hierarchy()
    tree = process_tree(child.pid)
    found = {pid: hierarchy.group_of(pid) for pid in tree}
    actuator.apply({KNOB: 0.3})
    assert {hierarchy.group_of(pid).name for pid in tree} == {"serving"}
    actuator.undo()
    assert {pid: hierarchy.group_of(pid) for pid in tree} == found
    assert not (hierarchy.mount / f"{own_group()}-test").exists()


def test_restarted_process_gets_the_quota_in_force(actuator):
    actuator.apply({KNOB: 0.3})
    successor = subprocess.Popen(["sleep", "60"])
    try:
        actuator.attach(component(successor.pid))
        assert real_hierarchy().group_of(successor.pid).name == "serving"
        assert actuator.read()[KNOB] == pytest.approx(0.3)
    finally:
        successor.kill()
        successor.wait()


def test_busy_process_is_held_to_its_quota(actuator):
    script = "import time\nend = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    busy = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    actuator.attach(component(busy.pid))
    actuator.apply({KNOB: 0.2})
    used = float(busy.communicate(timeout=20)[0])
    assert used < 0.35  # seconds; the start of the interpreter and one period of slack included


def test_process_that_is_gone_is_an_error_and_leaves_no_group(actuator):
    ended = subprocess.Popen(["true"])
    ended.wait()
    actuator.attach(Component("serving", "", ended.pid))
    with pytest.raises(ActuatorError):
        actuator.apply({KNOB: 0.3})
    actuator.undo()
    assert not (real_hierarchy().mount / f"{own_group()}-test").exists()


def test_groups_of_a_killed_controller_are_removed(child):
    hierarchy = real_hierarchy()
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = CgroupCpu(
        "serving", KNOB, component(child.pid), hierarchy, uncapped=1.3, total=1.5, parent=f"trimtab-{ended.pid}-7"
    )
    left.apply({KNOB: 0.1})
    assert hierarchy.remove_stale() == [f"trimtab-{ended.pid}-7"]
    assert hierarchy.group_of(child.pid).name != "serving"


@pytest.fixture
def unified(tmp_path):
    """A cgroup v2 tree as plain files: formats can be checked on hosts that mount version 1."""
    for folder in ("", "trimtab", "trimtab/serving"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in ("cgroup.procs", "cgroup.subtree_control", "cpu.max", "cpu.weight"):
            (tmp_path / folder / name).write_text("")
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory\n")
    return tmp_path


def test_version_2_is_found_where_its_root_has_the_cpu_controller(unified, tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"cgroup2 {unified} cgroup2 rw 0 0\n")
    assert Hierarchy.detect(mounts=mounts).version == 2
    (unified / "cgroup.controllers").write_text("hugetlb\n")
    with pytest.raises(ActuatorError, match="no cgroup hierarchy"):
        Hierarchy.detect(mounts=mounts)


def test_version_2_formats(unified, child):
    actuator = CgroupCpu(
        "serving", KNOB, component(child.pid), Hierarchy(unified, 2), uncapped=1.3, total=1.5, parent="trimtab"
    )
    assert actuator.apply({KNOB: 0.5}) == {KNOB: 0.5}
    assert (unified / "trimtab/serving/cpu.max").read_text() == "10000 20000"
    assert (unified / "trimtab/serving/cpu.weight").read_text() == "50"
    assert (unified / "trimtab/cpu.weight").read_text() == "150"
    assert (unified / "trimtab/cgroup.subtree_control").read_text() == "+cpu"


def test_refused_write_is_an_error_in_one_line(unified, child):
    actuator = CgroupCpu(
        "serving", KNOB, component(child.pid), Hierarchy(unified, 2), uncapped=1.3, total=1.5, parent="trimtab"
    )
    (unified / "trimtab/serving/cpu.max").unlink()
    with pytest.raises(ActuatorError, match=r"cannot write '10000 20000' to .*: No such file"):
        actuator.apply({KNOB: 0.5})
