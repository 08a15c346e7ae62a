"""Takes settings back that are written down as plain data. Standard library only: the warden uses nothing else.

A step is a JSON object with a `kind`; every kind is idempotent, and does nothing where what it concerns is gone:

| kind | fields | what it does |
|---|---|---|
| `http` | `url`, `values`, `pid`, `start`, `fence` | sends `values` by PATCH, if it still is the process that was set |
| `file` | `path`, `text`, `replace` | writes `text`; with `replace`, by a new file that takes the name |
| `group` | `path`, `refuge` | moves the processes of a control group to `refuge` and removes it |
| `autogroup` | `pid`, `start`, `nice` | sets the nice value of a session |
| `affinity` | `pid`, `start`, `cpus` | lets all threads of a process tree run on `cpus` again |
| `systemd` | `unit`, `assignments` | sets properties of a unit, until the next start of the host |
| `nice` | `pid`, `start`, `nice` | sets the nice value of all threads of a process tree |
| `io_priority` | `pid`, `start`, `value` | sets the I/O priority of all threads of a process tree |
| `rlimit` | `pid`, `start`, `resource`, `soft` | sets the soft limit of all processes of a tree |
| `knobs` | `path`, `text`, `values`, `signal`, `pid`, `start` | puts keys of a JSON or TOML file back, and signals |
| `qdisc` | `interface`, `pid`, `start` | takes our queueing discipline from an interface of a process |
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from controller import knob_file, syscalls
from telemetry.processes import process_start, process_tree, thread_ids

Step = Mapping[str, Any]

ANSWER_SECONDS = 0.5
"""For one component's whole answer: three of them that hang must not use up the second that a revert may take."""

SYSTEMD_SECONDS = 3.0

FENCE = "Trimtab-Fence"
"""Header with the fencing token of who sets something; see docs/extending.md."""


class RevertError(RuntimeError):
    """A step that could not be carried out; one line. It can be tried again."""


def revert_all(steps: Iterable[Step], fence: int = 0) -> tuple[list[Step], list[str]]:
    """Carry out all steps, whatever becomes of the others.

    Args:
        steps: to be carried out.
        fence: our token, for those that can be fenced off; 0 for none.

    Returns:
        The steps that failed, and why; one line each.
    """
    left, problems = [], []
    for step in steps:
        try:
            revert({**step, "fence": fence} if fence else step)
        except (RevertError, OSError, KeyError, ValueError, TypeError) as error:  # damaged steps must not stop the rest
            left.append(step)
            problems.append(f"{step.get('kind')}: {type(error).__name__}: {' '.join(str(error).split())}"[:200])
    return left, problems


def revert(step: Step) -> None:
    """Carry out one step.

    Raises:
        RevertError: what it concerns is there and cannot be set.
    """
    kinds: dict[str, Callable[[Step], None]] = {
        "http": _http, "file": _file, "group": _group, "autogroup": _autogroup, "affinity": _affinity,
        "systemd": _systemd, "nice": _nice, "io_priority": _io_priority, "rlimit": _rlimit, "knobs": _knobs,
        "qdisc": _qdisc,
    }  # fmt: skip
    kind = step.get("kind")
    if kind not in kinds:
        raise RevertError(f"unknown kind {kind!r}; known are {', '.join(kinds)}")
    kinds[kind](step)


def _http(step: Step) -> None:
    if _gone(step):
        return  # its settings went with it
    body = json.dumps(step["values"]).encode()
    host, _, path = str(step["url"]).removeprefix("http://").partition("/")
    name, _, port = host.rpartition(":")
    head = (
        f"PATCH /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        + (f"{FENCE}: {int(step['fence'])}\r\n" if step.get("fence") else "")
        + "\r\n"
    )
    end = time.monotonic() + ANSWER_SECONDS
    answer = b""
    with socket.create_connection((name, int(port)), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(head.encode() + body)
        while b"\r\n\r\n" not in answer and len(answer) < 4096:
            connection.settimeout(max(0.001, end - time.monotonic()))
            chunk = connection.recv(4096)
            if not chunk:
                break
            answer += chunk
    status = answer.split(b"\r\n", 1)[0].split()[1:2]
    if status == [b"409"] and f"\r\n{FENCE}: ".lower().encode() in answer.lower():
        return  # somebody who began later answers for this component now, and for what he found there
    if status != [b"200"]:
        raise RevertError(f"{step['url']} answered {b' '.join(status).decode(errors='replace') or 'nothing'}")


def _file(step: Step) -> None:
    path, text = str(step["path"]), str(step["text"]).encode()
    if step.get("replace"):
        temporary = f"{path}.{os.getpid()}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, text)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        return
    with contextlib.suppress(FileNotFoundError):
        _write(path, text)


def _group(step: Step) -> None:
    path, refuge = str(step["path"]), str(step["refuge"])
    for _ in range(10):  # processes that fork while they are moved out
        if not os.path.isdir(path):
            break
        with open(f"{path}/cgroup.procs", encoding="ascii") as file:
            inside = file.read().split()
        for pid in inside:
            with contextlib.suppress(OSError):  # it ended in the meantime
                _write(f"{refuge}/cgroup.procs", pid.encode())
        with contextlib.suppress(OSError):
            os.rmdir(path)
    if os.path.isdir(path):
        raise RevertError(f"control group {path} cannot be removed")
    with contextlib.suppress(OSError):  # other workloads are still in it
        os.rmdir(os.path.dirname(path))


def _autogroup(step: Step) -> None:
    if _gone(step):
        return
    for _ in range(8):  # the kernel refuses a second write within 0.1 s with EAGAIN
        try:
            _write(f"/proc/{step['pid']}/autogroup", str(int(step["nice"])).encode())
            return
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            time.sleep(0.06)
    raise RevertError(f"the nice value of process {step['pid']} cannot be set: the kernel says EAGAIN")


def _affinity(step: Step) -> None:
    if _gone(step):
        return
    cpus = {int(cpu) for cpu in step["cpus"]}
    for pid in process_tree(int(step["pid"])):
        for thread in thread_ids(pid):
            with contextlib.suppress(ProcessLookupError):  # the thread ended
                os.sched_setaffinity(thread, cpus)


def _systemd(step: Step) -> None:
    command = ["systemctl", "--no-ask-password", "set-property", "--runtime", str(step["unit"])]
    try:
        done = subprocess.run(
            [*command, *map(str, step["assignments"])], capture_output=True, timeout=SYSTEMD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise RevertError(f"systemctl does not answer within {SYSTEMD_SECONDS} s") from None
    if done.returncode and b"not loaded" not in done.stderr and b"not found" not in done.stderr:
        raise RevertError(f"{step['unit']}: {done.stderr.decode(errors='replace')}")


def _nice(step: Step) -> None:
    for thread in _threads(step):
        with contextlib.suppress(ProcessLookupError):  # the thread ended
            os.setpriority(os.PRIO_PROCESS, thread, int(step["nice"]))


def _io_priority(step: Step) -> None:
    for thread in _threads(step):
        with contextlib.suppress(ProcessLookupError):
            syscalls.set_io_priority(thread, int(step["value"]))


def _rlimit(step: Step) -> None:
    for pid in [] if _gone(step) else process_tree(int(step["pid"])):
        with contextlib.suppress(ProcessLookupError):
            hard = resource.prlimit(pid, int(step["resource"]))[1]
            resource.prlimit(pid, int(step["resource"]), (int(step["soft"]), hard))


def _knobs(step: Step) -> None:
    try:
        written = knob_file.restore(str(step["path"]), str(step["text"]), step["values"])
    except knob_file.KnobFileError as error:
        raise RevertError(str(error)) from None
    if written and step.get("signal") and not _gone(step):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(step["pid"]), int(step["signal"]))


def _qdisc(step: Step) -> None:
    if _gone(step):
        return  # its network went with it
    pid = int(step.get("pid", 0))  # 0: the network is ours too
    with syscalls.network_of(pid) if pid else contextlib.nullcontext():
        syscalls.delete_qdisc(str(step["interface"]))


def _threads(step: Step) -> list[int]:
    return [] if _gone(step) else [thread for pid in process_tree(int(step["pid"])) for thread in thread_ids(pid)]


def _gone(step: Step) -> bool:
    """Whether the process that was set is no longer there; one that is not known (another host) counts as there."""
    pid = int(step.get("pid", 0))
    return bool(pid) and process_start(pid) != int(step.get("start", 0))


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
