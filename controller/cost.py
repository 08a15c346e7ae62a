"""Knobs whose change interrupts a component: allowed at an idle moment, and restarts in a window of the day only."""

from __future__ import annotations

import math

import numpy as np

from envs.spec import SystemSpec
from telemetry.metrics import Snapshot


class CostGate:
    """Says which knobs may not be changed now for what it would cost.

    Args:
        spec: its knobs, their costs, the windows, and the metrics that tell what is in flight.
    """

    def __init__(self, spec: SystemSpec) -> None:
        self._spec = spec
        self._windows = [tuple(map(_share_of_day, window.split("-"))) for window in spec.restart_windows]
        self.costly = np.array([knob.cost != "live" for knob in spec.knobs])
        """Which knobs are looked at, (n_knobs,)."""

    def objection(self, knob: int, snapshot: Snapshot | None) -> str:
        """Why a knob may not be changed in this period; one line, empty if it may.

        Args:
            knob: position in a setting.
            snapshot: the newest reading; its `day` is the local time of day.
        """
        known = self._spec.knobs[knob]
        if known.cost == "restart" and not self._in_window(snapshot):
            windows = ", ".join(self._spec.restart_windows) or "none is set"
            return f"{known.name} restarts {known.workload}, which is allowed in restart_windows only ({windows})"
        metric = self._spec.workloads[known.workload].in_flight or ""
        in_flight = math.nan
        if snapshot is not None and snapshot.values.shape == (len(self._spec.metrics),):
            in_flight = float(snapshot.values[self._spec.catalogue.index(metric)])
        if in_flight != 0.0:  # NaN too: what is not known may be lost
            return f"{known.name} waits until nothing of {known.workload} can be lost: {metric} is {in_flight:g}"
        return ""

    def _in_window(self, snapshot: Snapshot | None) -> bool:
        day = math.nan if snapshot is None else float(snapshot.day)
        return any(
            begin <= day < end if begin <= end else day >= begin or day < end  # one that leads over midnight
            for begin, end in self._windows
        )


def _share_of_day(time: str) -> float:
    hours, minutes = time.split(":")
    return (int(hours) * 60 + int(minutes)) / 1440.0
