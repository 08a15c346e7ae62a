"""Tests actuators on cgroup v2 and under systemd, and the shipped units, for real in a virtual machine: some minutes.

`make test-qemu` runs all parts; `python tests/qemu/run.py units` runs one of `bare`, `systemd` and `units`. Nothing is
installed in the machine and no root is needed: it boots Debian's cloud kernel with a file system in memory that holds
this host's Python and systemd, our sources, and what they import from the environment that runs this. Emulated (TCG),
so that it runs in CI as well.

Needs Debian or Ubuntu with `qemu-system-x86_64` (`apt-get install qemu-system-x86`); kernel and busybox are downloaded
with `apt-get download` into `build/qemu` once.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "qemu"
CONSOLE = BUILD / "console.log"
PYTHON = "/usr/bin/python3"
PACKAGES = Path(sysconfig.get_path("purelib"))
TRIMTAB = "trimtab:x:990:990::/nonexistent:/usr/sbin/nologin\n"
TRIMTAB_SCRIPT = "#!/opt/trimtab/bin/python3\nimport sys\nfrom trimtab import main\nsys.exit(main())\n"
SECONDS = {"bare": 450, "systemd": 450, "units": 900}
"""For each part in the machine; a third of it is usual, on a busy host several times that."""
SOURCES = ("controller", "telemetry")
INSTALLED = ("agents", "controller", "envs", "models", "telemetry", "testbed", "training")
LIBRARIES = (
    "annotated_doc", "anyio", "attr", "backports", "click", "h11", "httptools", "idna", "markdown_it", "mdurl",
    "msgspec", "numpy", "numpy.libs", "pygments", "pyroute2", "rich", "shellingham", "starlette", "typer",
    "typing_extensions.py", "uvicorn",
)  # fmt: skip
"""What the three services import, of the environment that runs this; where one is missing, `units` says which."""
SYSTEMD = ("/lib/systemd/systemd", "/lib/systemd/systemd-executor", "/bin/systemctl", "/bin/systemd-run")
UNIT = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
{commands}
ExecStart=/bin/poweroff -f
Environment=PYTHONPATH=/trimtab PATH=/bin:/usr/bin:/sbin
StandardOutput=file:/dev/ttyS0
StandardError=file:/dev/ttyS0
"""
MODULES = ("sch_htb", "cls_bpf")
COMMANDS = {
    "bare": "python3 /trimtab/guest.py bare",
    "systemd": "ExecStart=-/usr/bin/python3 /trimtab/guest.py systemd",
    "units": "ExecStart=-/opt/trimtab/bin/python3 /trimtab/units.py",
}
INIT = """#!/bin/sh
export PATH=/bin:/usr/bin:/sbin PYTHONPATH=/trimtab
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
for module in {modules}; do insmod /lib/modules/$module.ko; done
{commands}
exec /lib/systemd/systemd --unit=trimtab.target
"""


def main(parts: list[str]) -> int:
    """Build the machine if need be, run it and tell what came out; returns the exit status."""
    if shutil.which("qemu-system-x86_64") is None:
        print("error: no qemu-system-x86_64 here; apt-get install qemu-system-x86", file=sys.stderr)
        return 1
    kernel, busybox = fetched()
    if "units" in parts and (problem := units_problem()):
        print(f"skip units: {problem}")
        parts = [part for part in parts if part != "units"]
        if not parts:
            return 0
    initrd = build_initrd(busybox, parts)
    disk = BUILD / "disk.img"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    output = boot(kernel, initrd, disk, sum(SECONDS[part] for part in parts))
    results = re.findall(r"^(ok|FAIL|skip) (.*?)\r?$", output, re.MULTILINE)
    for word, line in results:
        print(word, line)
    ended = [part for part in parts if f"end of {part}" in output]
    failed = [line for word, line in results if word == "FAIL"]
    if ended != parts or failed or not results:
        print(f"error: {len(failed)} failed, parts that ended: {ended}; see {CONSOLE}", file=sys.stderr)
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


def units_problem() -> str:
    """Why the shipped units cannot be tried with this environment; empty if they can."""
    asked = [PYTHON, "-c", "import sys; print(*sys.version_info[:2])"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    if version != [str(part) for part in sys.version_info[:2]]:
        return f"{PYTHON} is Python {'.'.join(version)}, the environment that runs this has another; make one of it"
    missing = [name for name in LIBRARIES if not (PACKAGES / name).exists()]
    return f"the environment of {sys.executable} has no {', '.join(missing)}" if missing else ""


def build_initrd(busybox: Path, parts: list[str]) -> Path:
    """A file system in memory with Python, systemd, our sources and the tests."""
    root = BUILD / "root"
    shutil.rmtree(root, ignore_errors=True)
    folders = "proc sys dev tmp run etc/systemd/system bin sbin trimtab var/tmp root"
    for folder in folders.split():
        (root / folder).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "mount", "ip", "sleep", "true", "ls", "cat", "dmesg", "kill", "poweroff", "insmod"):
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
    (root / "lib/modules").mkdir(parents=True)
    for name in MODULES:
        shutil.copy(next(BUILD.glob(f"packages/lib/modules/*/kernel/net/sched/{name}.ko")), root / "lib/modules")
    for script in ("guest.py", "units.py", "components.py"):
        shutil.copy(Path(__file__).parent / script, root / "trimtab" / script)
    write(root / "init", INIT.format(modules=" ".join(MODULES), commands=COMMANDS["bare"] if "bare" in parts else ""))
    (root / "init").chmod(0o755)
    write(root / "etc/passwd", f"root:x:0:0::/root:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n{TRIMTAB}")
    write(root / "etc/group", "root:x:0:\nworker:x:1000:\ntrimtab:x:990:\n")
    write(root / "etc/machine-id", "0" * 31 + "1\n")
    commands = "\n".join(COMMANDS[part] for part in parts if part != "bare")
    write(root / "etc/systemd/system/trimtab.service", UNIT.format(commands=commands))
    write(root / "etc/systemd/system/trimtab.target", "[Unit]\nDefaultDependencies=no\nWants=trimtab.service\n")
    if "units" in parts:
        install(root)
    names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
    initrd = BUILD / "initrd.cpio"
    with initrd.open("wb") as file:
        subprocess.run([busybox, "cpio", "-o", "-H", "newc"], cwd=root, input=names, stdout=file, check=True)
    return initrd


def install(root: Path) -> None:
    """What docs/operations.md says: the program in /opt/trimtab, and the units."""
    target = root / "opt/trimtab/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    target.mkdir(parents=True)
    (root / "opt/trimtab/bin").mkdir()
    (root / "opt/trimtab/bin/python3").symlink_to(PYTHON)
    write(root / "opt/trimtab/pyvenv.cfg", f"home = {os.path.dirname(PYTHON)}\n")
    write(root / "opt/trimtab/bin/trimtab", TRIMTAB_SCRIPT)
    (root / "opt/trimtab/bin/trimtab").chmod(0o755)
    ignored = shutil.ignore_patterns("__pycache__", "tests", "f2py", "*.pyi", "*.a")
    for name in LIBRARIES:
        if (PACKAGES / name).is_dir():
            shutil.copytree(PACKAGES / name, target / name, ignore=ignored)
        else:
            shutil.copy(PACKAGES / name, target)
    for name in INSTALLED:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "seeds"))
    shutil.copy(ROOT / "trimtab.py", target)
    # As pip does: without it each start compiles everything anew, which takes the emulated machine a minute.
    subprocess.run([PYTHON, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", target], check=True)
    for module in target.rglob("*.so"):
        copy_libraries(str(module), root)
    for unit in (ROOT / "deploy/systemd").glob("*.service"):
        shutil.copy(unit, root / "etc/systemd/system")


def copy_library(root: Path) -> None:
    """Python's standard library, without what no test needs, and the libraries that its modules need."""
    asked = "import sysconfig; print(sysconfig.get_path('stdlib')); print(sysconfig.get_path('platstdlib'))"
    for folder in set(subprocess.run([PYTHON, "-c", asked], capture_output=True, text=True, check=True).stdout.split()):
        ignored = shutil.ignore_patterns(
            "test", "tests", "idlelib", "lib2to3", "ensurepip", "pydoc_data", "tkinter", "*-packages",
            "config-*", "turtledemo", "LICENSE.txt",
        )  # fmt: skip
        shutil.copytree(folder, root / folder[1:], ignore=ignored, dirs_exist_ok=True)
        for module in glob.glob(f"{folder}/lib-dynload/*.so"):
            copy_program(module, root)


def copy_program(path: str, root: Path) -> None:
    """A program with the libraries that it is linked to."""
    copy(path, root)
    copy_libraries(path, root)


def copy_libraries(path: str, root: Path) -> None:
    """The libraries that a program or a module is linked to, but for those that stand beside it."""
    linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+\.so[\w.]*)", linked):
        if not library.startswith(str(BUILD)):
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


def boot(kernel: Path, initrd: Path, disk: Path, seconds: int) -> str:
    """What the machine said until it turned itself off."""
    command = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1280",
        "-nographic", "-no-reboot",
        "-kernel", str(kernel), "-initrd", str(initrd),
        "-append", "console=ttyS0 quiet panic=-1 systemd.unified_cgroup_hierarchy=1 systemd.log_target=null",
        "-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "nvme,serial=trimtab,drive=disk",
        "-nic", "none",
    ]  # fmt: skip
    with CONSOLE.open("wb") as console, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=seconds, check=False)
    return CONSOLE.read_text(errors="replace")


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(SECONDS)
    if unknown := [part for part in chosen if part not in SECONDS]:
        sys.exit(f"error: unknown part {unknown[0]!r}; known are {', '.join(SECONDS)}")
    sys.exit(main([part for part in SECONDS if part in chosen]))
