"""Windows and runs of a live comparison, made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.spec import SystemSpec
from plants import HEALTHY
from training.demo import BEST_HEURISTIC, BEST_STATIC, STATIC_DEFAULT, LiveRun
from training.live import ClientFigures, Window

SPEC = SystemSpec.load("reference")
PERIODS = 6
READINGS = {name: value for name, value in HEALTHY.items() if "bytes" not in name}
"""Memory, storage and network cost nothing, so that efficiency is work per core."""

CORES = {STATIC_DEFAULT: 0.5, BEST_STATIC: 0.4, f"{BEST_HEURISTIC} (aimd)": 0.3}
"""Of each workload, in the windows of `live_run`."""


def window(
    arm: str, segment: int, *, run: int = 0, cores: float = 0.5, within: float = 1.0, **readings: float
) -> Window:
    """A healthy window of constant readings with `cores` for each workload and `within` of the requests in time."""
    values = np.tile([(READINGS | readings).get(name, 0.0) for name in SPEC.catalogue.names], (PERIODS, 1))
    setting = SPEC.default_setting
    setting[:3] = cores
    settings = np.tile(setting, (PERIODS, 1))
    client = ClientFigures(
        sent=600, answered=600 * within, within_slo=within, p50=0.03, p99=0.08, accuracy=0.9, right=0.9 * within
    )
    return Window(arm, segment, np.arange(PERIODS) + 1.0, values, settings, settings, client, run)


def change(id: str, seen: float, applied: float, outcome: str) -> dict[str, Any]:
    """A journal's record of an optimization, with its verdict."""
    return {
        "opened": [{"id": id, "seen_at": seen, "applied_at": applied}],
        "verdicts": [{"id": id, "outcome": outcome}],
    }


def live_run(number: int, *, ours: float = 0.25, capacity: float = 400.0, enforced: bool = True) -> LiveRun:
    """Three segments for each arm, one change kept and one rolled back; Trimtab has `ours` cores for each workload."""
    windows = [window(arm, k, run=number, cores=cores) for arm, cores in CORES.items() for k in range(3)]
    windows += [window("trimtab", k, run=number, cores=ours) for k in range(3)]
    records = [change(f"{number}-a", 0.0, 1.0, "keep"), change(f"{number}-b", 0.0, 2.0 + number, "rolled_back")]
    return LiveRun(f"day-{number}", windows, records, capacity, enforced, "")
