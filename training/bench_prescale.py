"""What acting on forecasts brings: the same simulated days with it and without, since acting destroys the label.

A live system shows only what happened after the controller acted; whether the issue would have come cannot be told. The
simulator replays the same demand and noise for both arms, through the real controller.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents.heuristics.fallback import fallback_policy
from agents.policy import Policy
from controller.config import ControllerConfig
from controller.journal import Journal
from controller.loop import Controller
from controller.prescale import PrescaleConfig
from controller.runner import load_policies
from controller.shield import Reason
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.workload import Demand
from training.protocol import Set, load_protocol
from training.rollout import Rollout
from training.scores import Scores, efficiency, score_rollout
from training.statistics import bootstrap_interval, relative_gain

WARM_UP = 60
"""Periods before those that count: the controller comes from the static default."""
NEVER = PrescaleConfig(chance=2.0)


def bench_prescale(
    chances: tuple[float, ...] = (0.9,), *, episodes: int = 2, periods: int = 240, which: Set = "test"
) -> dict[str, Any]:
    """Efficiency and SLO attainment with pre-scaling, against the same controller without it.

    Args:
        chances: of a shortage, from which on grants are raised.
        episodes: on each demand.
        periods: that count in each.
        which: set of the protocol's generated days.
    """
    spec = SystemSpec.load("reference")
    demands = load_protocol().demands(which, spec.control_period_seconds)
    policies = load_policies("models", spec)
    without, _ = _arm(spec, demands, policies, NEVER, episodes, periods)
    rows = {}
    for chance in chances:
        scores, raised = _arm(spec, demands, policies, PrescaleConfig(chance=chance), episodes, periods)
        rows[f"{chance:g}"] = _compared(spec, scores, without, (len(demands), episodes)) | {"raised_periods": raised}
    return {
        "set": which,
        "episodes": len(demands) * episodes,
        "periods": periods,
        "slo_attainment_without": float(without.slo_attainment.mean()),
        "changes_without": float(without.changes.mean()),
        "with": rows,
    }


def _compared(spec: SystemSpec, ours: Scores, theirs: Scores, shape: tuple[int, int]) -> dict[str, Any]:
    gain, interval = relative_gain(
        efficiency(spec, ours, theirs).reshape(shape), efficiency(spec, theirs, theirs).reshape(shape)
    )
    held = (ours.slo_attainment - theirs.slo_attainment).reshape(shape)
    return {
        "efficiency_gain": gain,
        "efficiency_gain_ci": list(interval),
        "slo_attainment_delta": float(held.mean()),
        "slo_attainment_delta_ci": list(bootstrap_interval(held)),
        "changes": float(ours.changes.mean()),
    }


def _arm(
    spec: SystemSpec,
    demands: list[Demand],
    policies: Mapping[Role, Policy],
    prescale: PrescaleConfig,
    episodes: int,
    periods: int,
) -> tuple[Scores, float]:
    """Scores of all episodes, and the mean number of periods in which a forecast raised a proposal."""
    logging.getLogger("controller").setLevel(logging.ERROR)  # simulated actuators are late, which each period tells
    config = ControllerConfig(prescale=prescale)
    played, raised = [], 0
    with tempfile.TemporaryDirectory() as directory:
        for i, demand in enumerate(demands):
            for episode in range(episodes):
                plant = SimulatedPlant(
                    spec, [demand], seed=1000 * i + episode, randomize=True, random_start=True, peak_share=(0.5, 0.95)
                )
                rollout, count = _play(plant, policies, config, Path(directory), WARM_UP + periods)
                played.append(rollout)
                raised += count
    joined = Rollout(
        *(np.concatenate([getattr(one, f.name) for one in played], axis=1) for f in dataclasses.fields(Rollout))
    )
    return score_rollout(spec, joined), raised / len(played)


def _play(
    plant: SimulatedPlant, policies: Mapping[Role, Policy], config: ControllerConfig, directory: Path, periods: int
) -> tuple[Rollout, int]:
    """One episode of a single system under the real controller."""
    spec, raised = plant.spec, 0
    fallback = {Role.ALLOCATION: fallback_policy(Task(spec, Role.ALLOCATION))}
    journal = Journal(directory / "journal.jsonl")
    controller = Controller(
        plant, policies, fallback, journal, mode="act", config=config, clock=lambda: plant.time, wall_clock=lambda: 0.0
    )
    values, settings = [], [plant.setting]
    for _ in range(periods):
        in_force = plant.setting
        decision = controller.step()
        values.append(decision.snapshot.values)
        settings.append(in_force)
        raised += any(reason.reason is Reason.FORECAST for reason in decision.reasons)
    journal.close()
    counted = slice(WARM_UP, None)
    stacked = np.stack(settings)
    return Rollout(np.stack(values)[counted, None], stacked[1:][counted, None], stacked[:-1][counted, None]), raised
