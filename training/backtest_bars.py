"""What we want the forecaster to reach, and whether it did; never used to choose anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CONFIDENT = {"1h": 0.50, "within_6h": 0.40, "within_24h": 0.45}
EXACT = {"1h": 0.88, "6h": 0.82, "24h": 0.75}
NOT_WORSE = {"1h": 0.95, "6h": 0.85, "24h": 0.80}
PRECISION = 0.95
ON_PLANTS = 0.95
"""Balanced accuracy a day ahead on simulated plants, wherever who knows the generator could reach it."""


def bars_of(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows with `name`, `goal`, `reached` and `met`, from the groups of `judge` for frequent issues."""
    frequent = found["frequent"]
    held, every = frequent["held_out"], frequent["all"]
    rows = []
    for horizon, recall in CONFIDENT.items():
        confident = held[horizon]["confident"]
        rows.append(_row(f"confident alarms come true, {horizon}, held-out hosts", PRECISION, confident["precision"]))
        rows.append(_row(f"confident alarms announce, {horizon}, held-out hosts", recall, confident["recall"]))
    for horizon, goal in EXACT.items():
        rows.append(_row(f"balanced accuracy, {horizon}, all series", goal, every[horizon]["balanced_accuracy"]))
        rows.append(_row(f"balanced accuracy, {horizon}, held-out hosts", goal, held[horizon]["balanced_accuracy"]))
    for group, goal in (("seasonal", 0.92), ("strong", 0.95)):
        if group in frequent:
            reached = frequent[group]["24h"]["tolerance_1h"]["balanced_accuracy"]
            rows.append(_row(f"balanced accuracy, 24h with an hour of tolerance, {group} series", goal, reached))
    for horizon, scores in held.items():
        most = 0.05 if horizon == "within_24h" else 0.02
        rows.append(_row(f"calibration error, {horizon}, held-out hosts", most, scores["calibration_error"], most=True))
    for horizon, goal in NOT_WORSE.items():
        reached = every[horizon]["not_worse_than"]["persistence_and_season"]
        rows.append(_row(f"series no worse than persistence and season, {horizon}", goal, reached))
    return rows


def plant_bars(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Likewise from the `plants` of `judge_plants`: one for each residual whose ceiling is high enough."""
    return [
        _row(
            f"balanced accuracy, 24h, simulated plants, residual {row['residual']:g} (at most {row['ceiling']:.3f})",
            ON_PLANTS,
            row["balanced_accuracy"],
        )
        for row in rows
        if row["ceiling"] >= ON_PLANTS
    ]


def _row(name: str, goal: float, reached: float, *, most: bool = False) -> dict[str, Any]:
    met = reached <= goal if most else reached >= goal
    return {"name": name, "goal": goal, "at_most": most, "reached": reached, "met": bool(met)}
