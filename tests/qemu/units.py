"""Runs in the virtual machine of `run.py`, as root: the shipped units of systemd under a systemd that runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import guest

from controller.actuators.network_share import NetworkShare
from controller.components import Component
from controller.revert import revert_all
from telemetry.processes import process_start

UNITS, HOME, COMPONENTS = Path("/etc/systemd/system"), Path("/var/lib/trimtab"), Path("/run/components")
STATE, GROUPS = HOME / "control", Path("/sys/fs/cgroup")
CONTROLLER, FACE, FORECAST = "trimtab-controller", "trimtab-face", "trimtab-forecast"
PINS = {"serving_batch_size": 16.0, "serving_cpu_cores": 0.4, "training_cpu_cores": 0.3}
PROVEN = f"""
from controller import policy_store
from controller.commands import set_pins
from envs.spec import SystemSpec
version = policy_store.use({str(STATE)!r}, "shipped", SystemSpec.load("reference"))
policy_store.mark_proven({str(STATE)!r}, version)
set_pins({str(STATE)!r}, {PINS!r})
"""


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"systemctl {' '.join(words)}: {done.stderr} {log_of(words[-1])}"
    return done.stdout.strip()


def shown(unit: str, name: str) -> str:
    return systemctl("show", "-P", name, unit)


def log_of(unit: str) -> str:
    """The end of what a unit has written; the machine has no journal."""
    path = Path(f"/run/{unit}.log")
    return path.read_text()[-1500:] if path.exists() else ""


def as_trimtab(script: str) -> None:
    subprocess.run(
        ["/opt/trimtab/bin/python3", "-c", script], user="trimtab", group="trimtab", extra_groups=[], check=True
    )


def install() -> None:
    """As docs/operations.md says, with components that answer and policies that have passed their shadow period."""
    for unit in (CONTROLLER, FACE, FORECAST):
        folder = UNITS / f"{unit}.service.d"
        folder.mkdir()
        # The machine has no journal, and is emulated: what takes a second elsewhere takes twenty here.
        text = f"[Service]\nStandardOutput=append:/run/{unit}.log\nStandardError=append:/run/{unit}.log\n"
        (folder / "machine.conf").write_text(text + "TimeoutStartSec=300\nTimeoutStopSec=200\nCPUQuota=\n")
    Path("/etc/trimtab").mkdir()
    Path("/etc/trimtab/controller.env").write_text("MODE=act\n")
    STATE.mkdir(parents=True)
    for folder in (HOME, STATE):
        shutil.chown(folder, "trimtab", "trimtab")
    as_trimtab(PROVEN)
    COMPONENTS.mkdir()
    COMPONENTS.chmod(0o777)
    # Serving has a unit to itself, the others share one.
    for unit, names in (("serving", ["serving"]), ("components", ["training", "ingest", "load"])):
        command = ["/usr/bin/python3", "/trimtab/components.py", str(COMPONENTS), *names]
        subprocess.run(["systemd-run", "-q", f"--unit={unit}", "--uid=worker", *command], check=True)
        guest.until(lambda names=names: all((COMPONENTS / f"{name}.json").exists() for name in names))
    entries = {path.stem: json.loads(path.read_text()) for path in COMPONENTS.glob("*.json")}
    guest.until(lambda: all(answers(entry["url"] + "/knobs") for entry in entries.values()))
    (HOME / "components.json").write_text(json.dumps(entries))
    shutil.chown(HOME / "components.json", "trimtab", "trimtab")
    (HOME / "components.json").chmod(0o600)


def answers(url: str) -> bool:
    try:
        return bool(ask(url)[0] == 200)
    except OSError:
        return False


def ask(url: str, token: str = "", body: object = None) -> tuple[int, str]:
    """Status and text."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def status() -> dict[str, Any]:
    return json.loads((STATE / "status.json").read_text())


def batch_sizes() -> list[float]:
    """What serving was told, oldest first."""
    path = COMPONENTS / "changes"
    changes = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [change["serving_batch_size"] for change in changes if "serving_batch_size" in change]


def groups() -> list[Path]:
    return list(GROUPS.glob("trimtab-*-*"))


def in_force() -> bool:
    """Whether the pins are: what serving holds, and the quota of training's group."""
    quotas = [path.read_text().split() for path in GROUPS.glob("trimtab-*/training/cpu.max")]
    return batch_sizes()[-1:] == [16] and [int(q) / int(period) for q, period in quotas if q != "max"] == [0.3]


def taken_back() -> bool:
    return batch_sizes()[-1:] == [8] and not groups()


def wait(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds that it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() < begin + seconds, f"not {what} within {seconds} s: {log_of(CONTROLLER)}"
        time.sleep(0.05)
    return time.monotonic() - begin


def started() -> int:
    """The controller's process, with the pins in force."""
    start()
    wait(in_force, 60, f"in force {batch_sizes()} {groups()}")
    return int(shown(CONTROLLER, "MainPID"))


def start() -> None:
    if shown(CONTROLLER, "ActiveState") != "active":
        # The tests together start it more often than the unit allows within ten minutes.
        subprocess.run(["systemctl", "reset-failed", CONTROLLER], capture_output=True, check=False)
        systemctl("start", CONTROLLER)


@guest.test("units")
def the_controller_becomes_ready_and_sets_what_it_is_told() -> None:
    systemctl("start", CONTROLLER)  # returns when it is ready
    assert shown(CONTROLLER, "ActiveState") == "active"
    pid = started()
    assert shown(CONTROLLER, "StatusText") == "mode act", shown(CONTROLLER, "StatusText")
    inside = Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"^Uid:\s+990\s+990", inside, re.MULTILINE), inside
    assert re.search(r"^CapEff:\s+0+2$", inside, re.MULTILINE), inside  # CAP_DAC_OVERRIDE alone
    assert re.search(r"^Seccomp:\s+2$", inside, re.MULTILINE), inside
    assert STATE.stat().st_uid == 990


@guest.test("units")
def completed_periods_feed_the_watchdog() -> None:
    started()
    assert shown(CONTROLLER, "WatchdogUSec") == "30s"
    fed = {shown(CONTROLLER, "WatchdogTimestampMonotonic")}
    wait(lambda: len(fed) > 3 or bool(fed.add(shown(CONTROLLER, "WatchdogTimestampMonotonic"))), 60, "fed")


@guest.test("units")
def a_reload_goes_to_the_controller_and_changes_nothing() -> None:
    pid = started()
    systemctl("reload", CONTROLLER)
    assert shown(CONTROLLER, "ActiveState") == "active"
    assert int(shown(CONTROLLER, "MainPID")) == pid
    assert in_force()


@guest.test("units")
def a_stop_takes_everything_back() -> None:
    started()
    systemctl("stop", CONTROLLER)
    assert taken_back(), (batch_sizes(), groups())
    assert shown(CONTROLLER, "Result") == "success", shown(CONTROLLER, "Result")
    assert shown(CONTROLLER, "ActiveState") == "inactive"
    assert not list(Path(GROUPS / f"system.slice/{CONTROLLER}.service").glob("*"))


@guest.test("units")
def after_a_kill_everything_is_taken_back_and_the_controller_is_started_again() -> None:
    pid, restarts = started(), int(shown(CONTROLLER, "NRestarts"))
    os.kill(pid, signal.SIGKILL)
    seconds = wait(taken_back, 30, f"taken back {batch_sizes()} {groups()}")
    wait(lambda: int(shown(CONTROLLER, "NRestarts")) == restarts + 1, 120, "started again")
    wait(lambda: shown(CONTROLLER, "ActiveState") == "active", 200, "ready again")
    assert started() != pid
    print(f"taken back {seconds:.2f} s after kill -9")


@guest.test("units")
def a_controller_that_stands_still_is_ended_by_the_watchdog_and_started_again() -> None:
    pid, restarts = started(), int(shown(CONTROLLER, "NRestarts"))
    os.kill(pid, signal.SIGSTOP)
    seconds = wait(taken_back, 30, f"taken back {batch_sizes()} {groups()}")  # by the warden: systemd waits for longer
    assert shown(CONTROLLER, "ActiveState") == "active"
    wait(lambda: int(shown(CONTROLLER, "NRestarts")) == restarts + 1, 150, "started again")
    wait(lambda: shown(CONTROLLER, "ActiveState") == "active", 200, "ready again")
    assert started() != pid
    print(f"taken back {seconds:.2f} s after SIGSTOP")


@guest.test("units")
def the_face_answers_with_its_tokens_and_is_obeyed() -> None:
    start()
    systemctl("start", FACE)
    wait(lambda: answers("http://127.0.0.1:9106/healthz"), 300, "answering")
    tokens = STATE / "tokens.json"
    assert (tokens.stat().st_uid, tokens.stat().st_mode & 0o777) == (990, 0o600)
    operator = json.loads(tokens.read_text())["operator"]
    assert ask("http://127.0.0.1:9106/pause", body={})[0] == 401
    assert ask("http://127.0.0.1:9106/pause", operator, {"seconds": 60})[0] == 202
    wait(lambda: bool(status().get("paused")), 60, "paused")
    assert ask("http://127.0.0.1:9106/resume", operator, {})[0] == 202
    inside = Path(f"/proc/{shown(FACE, 'MainPID')}/status").read_text()
    assert re.search(r"^CapEff:\s+0+$", inside, re.MULTILINE), inside
    systemctl("stop", FACE)
    assert shown(FACE, "Result") == "success", shown(FACE, "Result")


@guest.test("units")
def forecasts_wait_for_a_store_and_are_written_beside_the_controller() -> None:
    systemctl("start", FORECAST)
    wait(lambda: "no such store" in log_of(FORECAST), 120, "saying that there is no store")
    wait(lambda: shown(FORECAST, "SubState") == "auto-restart", 60, "waiting to be started again")
    (HOME / "store").mkdir()
    systemctl("restart", FORECAST)
    figures = STATE / "forecast.prom"
    wait(figures.exists, 200, f"written: {log_of(FORECAST)}")
    assert figures.stat().st_uid == 990
    assert shown(FORECAST, "ActiveState") == "active"
    inside = Path(f"/proc/{shown(FORECAST, 'MainPID')}/status").read_text()
    assert re.search(r"^CapEff:\s+0+$", inside, re.MULTILINE), inside
    systemctl("stop", FORECAST)
    assert shown(FORECAST, "Result") == "success", shown(FORECAST, "Result")


@guest.test("units")
def properties_of_another_unit_need_root_and_are_taken_back() -> None:
    quota = GROUPS / "system.slice/serving.service/cpu.max"
    said = Path(f"/run/{CONTROLLER}.log").read_text()
    assert "off: CgroupCpu of serving: systemctl set-property serving.service" in said, said[:2000]
    start()
    systemctl("stop", CONTROLLER)
    found = quota.read_text() if quota.exists() else "max 100000\n"
    with (UNITS / f"{CONTROLLER}.service.d/machine.conf").open("a") as file:
        file.write("User=root\n")
    systemctl("daemon-reload")
    start()
    wait(lambda: quota.exists() and quota.read_text() == "8000 20000\n", 60, "in force")
    os.kill(int(shown(CONTROLLER, "MainPID")), signal.SIGKILL)
    wait(lambda: not quota.exists() or quota.read_text() == found, 60, "taken back")
    systemctl("stop", CONTROLLER)


@guest.test("units")
def a_share_of_an_interface_is_set_and_taken_back() -> None:
    entry = json.loads((HOME / "components.json").read_text())["serving"]
    pid = int(shown("serving", "MainPID"))
    component = Component("serving", entry["url"], pid, process_start(pid))
    share = NetworkShare("serving", "knob", component, unlimited=1e8, target="lo")
    capability = share.probe()
    assert capability.available, capability.reason
    assert share.apply({"knob": 1e6}) == {"knob": 1e6}
    assert answers(entry["url"] + "/knobs")
    assert revert_all(share.revert_steps()) == ([], [])
    assert share.read() == {"knob": 1e8}


if __name__ == "__main__":
    try:
        install()
    except Exception as error:
        print(f"FAIL units: cannot be installed: {type(error).__name__}: {error}", flush=True)
        raise
    guest.run("units", 400)
