"""A program of the kernel (BPF) that picks the packets which processes of one control group (version 2) send."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

BPF_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
"""Machine -> number of bpf(2)."""
PROGRAM_LOAD, KIND_CLASSIFIER, SKB_CGROUP_ID = 5, 3, 79
CALL, LOAD_64, SKIP_IF_EQUAL, SET, EXIT = 0x85, 0x18, 0x1D, 0xB7, 0x95
"""Operation codes; see the kernel's Documentation/bpf/standardization/instruction-set.rst."""


def load_group_filter(group: int) -> int:
    """Load it; it lives as long as the file that is returned is open, or a queueing discipline uses it.

    It goes by the group that a process was in when it opened its socket; groups below that one do not count.

    Args:
        group: number of the control group, which is the inode of its folder.

    Returns:
        A file descriptor, which the caller closes.

    Raises:
        OSError: not permitted, or this kernel has no BPF.
    """
    number = BPF_NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of bpf is not known for {platform.machine()}")
    program = ctypes.create_string_buffer(_program(group))
    terms = ctypes.create_string_buffer(b"Apache-2.0")
    length = len(_program(group)) // 8
    attributes = struct.pack(
        "=IIQQIIQII", KIND_CLASSIFIER, length, ctypes.addressof(program), ctypes.addressof(terms), 0, 0, 0, 0, 0
    )
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(number, PROGRAM_LOAD, ctypes.create_string_buffer(attributes), len(attributes)))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), f"bpf: {os.strerror(ctypes.get_errno())}")
    return descriptor


def _program(group: int) -> bytes:
    """-1 (the filter's class) for a packet of the group, 0 (no class) for any other."""
    instructions = [
        (CALL, 0, 0, SKB_CGROUP_ID),  # r0 = the group of the packet's socket; r1 is the packet already
        (LOAD_64, 1, 0, _signed(group & 0xFFFFFFFF)),
        (0, 0, 0, _signed(group >> 32)),
        (SKIP_IF_EQUAL, 0x10, 2, 0),  # r0 and r1
        (SET, 0, 0, 0),
        (EXIT, 0, 0, 0),
        (SET, 0, 0, -1),
        (EXIT, 0, 0, 0),
    ]
    return b"".join(struct.pack("=BBhi", *instruction) for instruction in instructions)


def _signed(half: int) -> int:
    return half - (1 << 32) if half >= 1 << 31 else half
