"""Network rate of a workload: a token bucket on what leaves an interface, in the network namespace of its process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from controller import syscalls
from controller.actuators.actuator import ActuatorError, Capability
from controller.components import Component
from controller.revert import Step
from controller.syscalls import OUR_QDISC
from telemetry.processes import process_start

BURST_SECONDS, LATENCY = 0.01, "50ms"
"""Of sending at the full rate at once, and of waiting before packets are dropped. The rate is held within 5 ms."""
ETHERNET_BYTES = 18
"""What a packet has beyond the MTU; a bucket that is smaller than a packet lets none through."""
LEAST = 1000
"""Bytes per second: with less, the time for one packet of lo (64 KiB) is beyond the kernel's field for it, 275 s."""
ROOT = 0xFFFFFFFF


class NetworkRate:
    """Bytes per second that leave an interface. Incoming traffic is not limited.

    Args:
        workload: whose.
        knob: its name.
        component: its process.
        unlimited: what the knob is while there is no limit, bytes per second.
        target: name of the interface; empty takes the only one of a process with a network namespace of its own. All
            that leaves the interface counts, so one that others use too has to be named on purpose.
    """

    KIND, NAME = "tbf", "token bucket"
    """Of the queueing discipline, for the kernel and for people."""

    def __init__(self, workload: str, knob: str, component: Component, *, unlimited: float, target: str = "") -> None:
        self.workload = workload
        self.knobs: tuple[str, ...] = (knob,)
        self._component, self._unlimited, self._target = component, unlimited, target

    def probe(self) -> Capability:
        """Puts a bucket as wide as the knob's range there and takes it away again, unless there is one of ours."""
        if not process_start(self._component.pid):
            return Capability(False, True, f"{self.workload} has no process on this host")
        try:
            with self._link() as (link, index):
                if self._rate(link, index) is None:
                    self._set(link, index, self._unlimited)
                    self._remove(link, index)
            where = f"{self._interface()}{'' if self._shared() else ' of its own network namespace'}"
        except ActuatorError as error:
            return Capability(False, True, str(error))
        return Capability(True, True, f"{self.NAME} on {where}, outgoing")

    def read(self) -> dict[str, float]:
        """The rate in force."""
        with self._link() as (link, index):
            rate = self._rate(link, index)
        return {self.knobs[0]: self._unlimited if rate is None else min(rate, self._unlimited)}

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Set the rate; the upper end of the knob is no limit."""
        value = float(values[self.knobs[0]])
        with self._link() as (link, index):
            if value < self._unlimited:
                self._set(link, index, value)
            elif self._rate(link, index) is not None:
                self._remove(link, index)
        return self.read()

    def attach(self, component: Component) -> None:
        """Go on with another process; in a namespace of its own there is no limit yet."""
        self._component = component

    def revert_steps(self) -> list[Step]:
        """Takes our bucket away; the kernel then puts its default back, the only thing that we replace."""
        component = self._component
        pid = 0 if self._shared() else component.pid
        return [{"kind": "qdisc", "interface": self._interface(), "pid": pid, "start": component.start if pid else 0}]

    def undo(self) -> None:
        """Take our bucket away."""
        with contextlib.suppress(ActuatorError, OSError):  # the namespace ended with its processes
            interface = self._interface()
            with syscalls.network_of(self._component.pid) if not self._shared() else contextlib.nullcontext():
                syscalls.delete_qdisc(interface)

    @contextlib.contextmanager
    def _link(self) -> Iterator[tuple[Any, int]]:
        """A connection to the kernel in the process's network, and the index of the interface."""
        try:
            from pyroute2 import IPRoute
            from pyroute2.netlink.exceptions import NetlinkError
        except ImportError:
            raise ActuatorError("network rates need pyroute2: pip install 'trimtab[network]'") from None
        try:
            interface = self._interface()
            with syscalls.network_of(self._component.pid), IPRoute() as link:
                found = link.link_lookup(ifname=interface)
                if not found:
                    raise ActuatorError(f"{self.workload} has no interface {interface!r}")
                yield link, int(found[0])
        except NetlinkError as error:
            raise ActuatorError(f"network rate of {self.workload}: {os.strerror(error.code)}") from None
        except OSError as error:
            raise ActuatorError(f"network of {self.workload}: {error.strerror}") from None

    def _rate(self, link: Any, index: int) -> float | None:
        """That of our bucket; None if there is none.

        Raises:
            ActuatorError: somebody else has put a queueing discipline there.
        """
        qdisc = self._own(link, index)
        return None if qdisc is None else float(qdisc.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")["rate"])

    def _own(self, link: Any, index: int) -> Any | None:
        """Our queueing discipline; None if there is none.

        Raises:
            ActuatorError: somebody else has put one there, or ours is of another kind.
        """
        for qdisc in link.get_qdiscs(index=index):
            if qdisc["index"] != index or qdisc["parent"] != ROOT or not qdisc["handle"]:
                continue
            kind, number = qdisc.get_attr("TCA_KIND"), qdisc["handle"] >> 16
            if number != OUR_QDISC:
                raise ActuatorError(
                    f"{self._interface()} has the queueing discipline {kind} {number:x}: of somebody else, which stays"
                )
            if kind != self.KIND:
                raise ActuatorError(
                    f"{self._interface()} has our {kind} already, and room for one: use either `network` or "
                    "`network_share` for all knobs of an interface"
                )
            return qdisc
        return None

    def _set(self, link: Any, index: int, rate: float) -> None:
        self._rate(link, index)  # somebody else's is not replaced
        amount, burst = self._amount(rate), self._burst(link, index, rate)
        link.tc("replace", "tbf", index, OUR_QDISC << 16, parent=ROOT, rate=amount, burst=burst, latency=LATENCY)

    def _burst(self, link: Any, index: int, rate: float) -> int:
        """Bytes that may leave at once."""
        mtu = int(link.get_links(index)[0].get_attr("IFLA_MTU"))
        return max(mtu + ETHERNET_BYTES, round(rate * BURST_SECONDS))

    def _amount(self, rate: float) -> int:
        return min(max(LEAST, round(rate)), (1 << 32) - 1)

    def _remove(self, link: Any, index: int) -> None:
        link.tc("del", index=index, handle=OUR_QDISC << 16, parent=ROOT)

    def _shared(self) -> bool:
        """Whether the process is in the network namespace that we are in."""
        try:
            return os.stat(f"/proc/{self._component.pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
        except OSError:
            return False

    def _interface(self) -> str:
        if self._target:
            return self._target
        if self._shared():
            raise ActuatorError(
                f"{self.workload} shares the host's network: name an interface in the knob's target, or start it in a "
                "network namespace of its own"
            )
        names = _interfaces(self._component.pid)
        if len(names) != 1:
            raise ActuatorError(
                f"{self.workload} has the interfaces {', '.join(names) or 'lo only'}: name one in the knob's target"
            )
        return names[0]


def _interfaces(pid: int) -> list[str]:
    """Names of the interfaces of a process's network besides lo."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            names = [line.partition(":")[0].strip() for line in file if ":" in line]
    except OSError as error:
        raise ActuatorError(f"cannot tell the interfaces of process {pid}: {error.strerror}") from None
    return [name for name in names if name != "lo"]
