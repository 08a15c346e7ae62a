"""Tests the actuators on cgroup v2 and under systemd for real, in a virtual machine: `make test-qemu`, about a minute.

Nothing is installed in the machine and no root is needed: it boots Debian's cloud kernel with a file system in memory
that holds this host's Python and systemd, and our sources. Emulated (TCG), so that it runs in CI as well.

Needs Debian or Ubuntu with `qemu-system-x86_64` (`apt-get install qemu-system-x86`); kernel and busybox are downloaded
with `apt-get download` into `build/qemu` once.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "qemu"
PYTHON = "/usr/bin/python3"
SECONDS = 600
"""For everything in the machine; 90 s is usual, on a busy host several times that."""
SOURCES = ("controller", "telemetry")
SYSTEMD = ("/lib/systemd/systemd", "/lib/systemd/systemd-executor", "/bin/systemctl", "/bin/systemd-run")
UNIT = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /trimtab/guest.py systemd
Environment=PYTHONPATH=/trimtab PATH=/bin:/usr/bin:/sbin
StandardOutput=file:/dev/ttyS0
StandardError=file:/dev/ttyS0
"""
INIT = """#!/bin/sh
export PATH=/bin:/usr/bin:/sbin PYTHONPATH=/trimtab
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
python3 /trimtab/guest.py bare
exec /lib/systemd/systemd --unit=trimtab.target
"""


def main() -> int:
    """Build the machine if need be, run it and tell what came out; returns the exit status."""
    if shutil.which("qemu-system-x86_64") is None:
        print("error: no qemu-system-x86_64 here; apt-get install qemu-system-x86", file=sys.stderr)
        return 1
    kernel, busybox = fetched()
    initrd = build_initrd(busybox)
    disk = BUILD / "disk.img"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    output = boot(kernel, initrd, disk)
    results = re.findall(r"^(ok|FAIL|skip) (.*?)\r?$", output, re.MULTILINE)
    for word, line in results:
        print(word, line)
    ended = [part for part in ("bare", "systemd") if f"end of {part}" in output]
    failed = [line for word, line in results if word == "FAIL"]
    if ended != ["bare", "systemd"] or failed or not results:
        (BUILD / "console.log").write_text(output)
        print(f"error: {len(failed)} failed, parts that ended: {ended}; see {BUILD / 'console.log'}", file=sys.stderr)
        return 1
    return 0


def fetched() -> tuple[Path, Path]:
    """The kernel and busybox, downloaded once."""
    packages = BUILD / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    if not glob.glob(f"{packages}/boot/vmlinuz-*"):
        depends = subprocess.run(
            ["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True, check=True
        ).stdout
        kernel = next(line.split()[1] for line in depends.splitlines() if "Depends: linux-image" in line)
        subprocess.run(["apt-get", "download", "-q", kernel, "busybox-static"], cwd=BUILD, check=True)
        for package in BUILD.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, packages], check=True)
    found = sorted(packages.glob("boot/vmlinuz-*"))[-1]
    return found, next(path for path in packages.glob("**/bin/busybox") if path.is_file())


def build_initrd(busybox: Path) -> Path:
    """A file system in memory with Python, systemd, our sources and the tests."""
    root = BUILD / "root"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("proc", "sys", "dev", "tmp", "run", "etc/systemd/system", "bin", "sbin", "trimtab", "var", "root"):
        (root / folder).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "mount", "ip", "sleep", "true", "ls", "cat", "dmesg"):
        (root / "bin" / name).symlink_to("busybox")
    copy_program(PYTHON, root)
    copy_library(root)
    for program in SYSTEMD:
        if os.path.exists(program):
            copy_program(program, root)
    for unit in glob.glob("/lib/systemd/system/*.target") + glob.glob("/lib/systemd/system/*.slice"):
        copy(unit, root)
    for package in SOURCES:
        shutil.copytree(ROOT / package, root / "trimtab" / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).parent / "guest.py", root / "trimtab/guest.py")
    write(root / "init", INIT)
    (root / "init").chmod(0o755)
    write(root / "etc/passwd", "root:x:0:0::/root:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n")
    write(root / "etc/group", "root:x:0:\nworker:x:1000:\n")
    write(root / "etc/machine-id", "0" * 31 + "1\n")
    write(root / "etc/systemd/system/trimtab.service", UNIT)
    write(root / "etc/systemd/system/trimtab.target", "[Unit]\nDefaultDependencies=no\nWants=trimtab.service\n")
    names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
    initrd = BUILD / "initrd.cpio"
    with initrd.open("wb") as file:
        subprocess.run([busybox, "cpio", "-o", "-H", "newc"], cwd=root, input=names, stdout=file, check=True)
    return initrd


def copy_library(root: Path) -> None:
    """Python's standard library, without what no test needs, and the libraries that its modules need."""
    asked = "import sysconfig; print(sysconfig.get_path('stdlib')); print(sysconfig.get_path('platstdlib'))"
    for folder in set(subprocess.run([PYTHON, "-c", asked], capture_output=True, text=True, check=True).stdout.split()):
        ignored = shutil.ignore_patterns(
            "__pycache__", "test", "tests", "idlelib", "lib2to3", "ensurepip", "pydoc_data", "tkinter", "*-packages",
            "config-*", "turtledemo", "LICENSE.txt",
        )  # fmt: skip
        shutil.copytree(folder, root / folder[1:], ignore=ignored, dirs_exist_ok=True)
        for module in glob.glob(f"{folder}/lib-dynload/_ctypes*.so"):
            copy_program(module, root)


def copy_program(path: str, root: Path) -> None:
    """A program with the libraries that it is linked to."""
    copy(path, root)
    linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+\.so[\w.]*)", linked):
        copy(library, root)


def copy(path: str, root: Path) -> None:
    """A file to the same place; what a link leads to, under the link's name."""
    target = root / path[1:]
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy(path, target)


def write(path: Path, text: str) -> None:
    """A small text file."""
    path.write_text(text)


def boot(kernel: Path, initrd: Path, disk: Path) -> str:
    """What the machine said until it turned itself off."""
    command = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "768", "-nographic", "-no-reboot",
        "-kernel", str(kernel), "-initrd", str(initrd),
        "-append", "console=ttyS0 quiet panic=-1 systemd.unified_cgroup_hierarchy=1 systemd.log_target=null",
        "-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "nvme,serial=trimtab,drive=disk",
        "-nic", "none",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False, errors="replace"
        )
        return done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
