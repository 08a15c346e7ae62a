"""Calls of Linux that Python does not offer. Standard library only: the warden makes them too."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

IOPRIO = {"x86_64": (251, 252), "aarch64": (30, 31), "riscv64": (30, 31), "i686": (289, 290), "ppc64le": (273, 274)}
"""Machine -> numbers of ioprio_set(2) and ioprio_get(2)."""
IOPRIO_WHO_PROCESS, BEST_EFFORT, CLASS_SHIFT = 1, 2, 13
CLONE_NEWNET = 0x40000000
OUR_QDISC = 0x7472
"""Major number of the queueing disciplines that we make; the kernel deletes one by its number and no other."""
RTM_DELQDISC, NLM_F_REQUEST, NLM_F_ACK, TC_H_ROOT = 37, 1, 4, 0xFFFFFFFF


def io_priority(thread: int) -> int:
    """What a thread's I/O priority is: class in the upper bits, level 0 (first) to 7 in the lower; 0 was never set.

    Raises:
        OSError: the thread is gone.
    """
    return _ioprio(1, thread)


def set_io_priority(thread: int, value: int) -> None:
    """Set what `io_priority` tells.

    Raises:
        OSError: the thread is gone, or not permitted.
    """
    _ioprio(0, thread, value)


def best_effort(level: int) -> int:
    """The I/O priority of the ordinary class at a level from 0 to 7."""
    return BEST_EFFORT << CLASS_SHIFT | level


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """This thread in the network namespace of a process; nothing happens if it is ours already.

    Raises:
        OSError: the process is gone, or not permitted.
    """
    own, other = os.open("/proc/thread-self/ns/net", os.O_RDONLY), -1
    try:
        other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        same = os.fstat(own).st_ino == os.fstat(other).st_ino
        if not same:
            _enter(other)
        try:
            yield
        finally:
            if not same:
                _enter(own)
    finally:
        os.close(own)
        if other >= 0:
            os.close(other)


def delete_qdisc(interface: str, major: int = OUR_QDISC) -> None:
    """Take a root queueing discipline away; does nothing where there is none of this number.

    Raises:
        OSError: not permitted.
    """
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        return  # the interface is gone, and all with it
    body = struct.pack("=BxHiIII", socket.AF_UNSPEC, 0, index, major << 16, TC_H_ROOT, 0)
    head = struct.pack("=IHHII", 16 + len(body), RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.settimeout(1.0)
        link.sendto(head + body, (0, 0))
        answer = link.recv(4096)
    code = -struct.unpack_from("=i", answer, 16)[0]
    if code not in (0, errno.ENOENT, errno.EINVAL):  # EINVAL: another one is there
        raise OSError(code, os.strerror(code))


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def _ioprio(call: int, thread: int, *value: int) -> int:
    numbers = IOPRIO.get(platform.machine())
    if numbers is None:
        raise OSError(errno.ENOSYS, f"the number of ioprio_set is not known for {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    found = int(libc.syscall(numbers[call], IOPRIO_WHO_PROCESS, thread, *value))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found
