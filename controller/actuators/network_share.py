"""A share of an interface that several workloads use: what each is assured of, and may borrow (hierarchical tbf)."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from controller.actuators.actuator import ActuatorError
from controller.actuators.group import WorkloadGroup
from controller.actuators.hierarchy import Hierarchy
from controller.actuators.network import LEAST, ROOT, NetworkRate
from controller.packet_filter import load_group_filter
from controller.syscalls import OUR_QDISC

LINE, FIRST = OUR_QDISC << 16 | 1, 0x10
"""Class of all that is shared; the workload in slot 0 has the class with this minor number below it, and so on."""
QUANTUM = 1 << 16
"""Bytes that a class sends of what is left, in turn: the largest packet that the kernel makes, and the same for all."""


class NetworkShare(NetworkRate):
    """Bytes per second that a workload is assured of, and it may borrow what the others leave of the upper end.

    One class for each workload, with the knob as its rate and the upper end as its ceiling. Its packets are told by the
    control group (version 2) that its sockets were opened in, so it has to be alone in one: a container, or a unit of
    systemd. What belongs to nobody here, and a workload whose knob is at the upper end, is not held back.

    Attributes:
        slot: position among the workloads; no two on an interface may have the same.
    """

    KIND, NAME = "htb", "share"
    slot: int = 0

    def undo(self) -> None:
        """Take our class away, and with the last of them the queueing discipline."""
        with contextlib.suppress(ActuatorError), self._link() as (link, index):  # it ended with its processes
            if self._own(link, index) is not None:
                self._remove(link, index)

    def _rate(self, link: Any, index: int) -> float | None:
        if self._own(link, index) is None:
            return None
        parameters = self._classes(link, index).get(self._class)
        return None if parameters is None else float(parameters["rate"])

    def _set(self, link: Any, index: int, rate: float) -> None:
        filter_of_group = load_group_filter(self._group())
        try:
            if self._own(link, index) is None:
                link.tc("add", "htb", index, OUR_QDISC << 16, parent=ROOT, default=0)
            self._put_class(link, index, LINE, OUR_QDISC << 16, self._unlimited)
            self._put_class(link, index, self._class, LINE, rate)
            # Anew each time: a component that was started again is in another group.
            link.tc(
                "replace-filter", "bpf", index, 1, parent=OUR_QDISC << 16, prio=self._class & 0xFFFF,
                fd=filter_of_group, name="trimtab", classid=self._class,
            )  # fmt: skip
        finally:
            os.close(filter_of_group)

    def _put_class(self, link: Any, index: int, handle: int, parent: int, rate: float) -> None:
        link.tc(
            "replace-class", "htb", index, handle, parent=parent, quantum=QUANTUM,
            rate=self._amount(rate), burst=self._burst(link, index, rate),
            ceil=self._amount(self._unlimited), cburst=self._burst(link, index, self._unlimited),
        )  # fmt: skip

    def _remove(self, link: Any, index: int) -> None:
        classes = self._classes(link, index)
        if not set(classes) - {LINE, self._class}:
            super()._remove(link, index)
        elif self._class in classes:
            link.tc("del-filter", "bpf", index, 1, parent=OUR_QDISC << 16, prio=self._class & 0xFFFF)
            # pyroute2 (0.9) asks for a rate here too; the kernel does not look at it.
            link.tc("del-class", "htb", index, self._class, rate=LEAST)

    def _classes(self, link: Any, index: int) -> dict[int, Any]:
        """Handle -> parameters."""
        return {
            one["handle"]: one.get_attr("TCA_OPTIONS").get_attr("TCA_HTB_PARMS")
            for one in link.get_classes(index=index)
            if one["handle"] >> 16 == OUR_QDISC
        }

    @property
    def _class(self) -> int:
        return OUR_QDISC << 16 | FIRST + self.slot

    def _group(self) -> int:
        """Number of the control group that the workload is alone in.

        Raises:
            ActuatorError: there is none.
        """
        group = WorkloadGroup(self.workload, self._component, Hierarchy.unified())
        if not group.in_place:
            raise ActuatorError(
                f"{self.workload} is not alone in a control group of version 2, by which its packets are told; start "
                "it in a container or a unit of its own"
            )
        try:
            return os.stat(group.folder).st_ino
        except OSError as error:
            raise ActuatorError(f"cannot read {group.folder}: {error.strerror}") from None
