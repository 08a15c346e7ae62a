"""What `trimtab evaluate` does: gathers policies and demands, and puts them through `run_evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agents.artifact import load, load_shipped
from agents.oracle import OraclePolicy
from envs.simulator.parameters import Parameters
from envs.spec import Role, SystemSpec
from envs.task import JOINT, Task
from telemetry.public_traces import TraceError, demands_in
from telemetry.workload import Demand
from training.demands import DemandConfig, load_demands
from training.evaluate import Contestant, EvaluationConfig, Progress, run_evaluate
from training.references import load_references, reference_policies

TEST_SEEDS = (9001, 9002, 9003)
"""Of the generated test days; training takes seeds from 1, validation from 1001 on."""


def evaluate_policies(
    spec_source: str,
    traces: Path | None,
    policy: Path | None,
    *,
    seeds: int,
    parameters: str | None,
    randomize: bool,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge the policies in a folder, or the shipped ones, against all references.

    Args:
        spec_source: SystemSpec file or shipped name.
        traces: folder of traces in any supported format; None takes generated days that were never trained on.
        policy: folder with `allocation/` and `tuning/`; None takes the shipped ones.
        seeds: episodes on each trace.
        parameters: simulator parameters; None takes the shipped ones.
        randomize: whether the simulator's parameters vary from seed to seed.
        on_progress: called after every policy.

    Raises:
        SpecError, ArtifactError, ParametersError, TraceError: one line each.
    """
    spec = SystemSpec.load(spec_source)
    learned = {role: load(policy / role, spec, role) if policy else load_shipped(role, spec) for role in Role}
    return run_evaluate(
        spec,
        contestants(spec, learned),
        unseen_demands(spec, traces),
        config=EvaluationConfig(seeds=tuple(range(seeds)), randomize=randomize),
        parameters=Parameters.load(parameters) if parameters else None,
        on_progress=on_progress,
    )


def contestants(spec: SystemSpec, learned: dict[Role, Any]) -> dict[str, Contestant]:
    """All references, the oracle, the learned policies together, and each with the best static setting for the rest."""
    references = load_references(spec)
    heuristics = reference_policies(spec, references)
    best, policies = heuristics["best_static"], dict[str, Contestant](heuristics)
    known = np.stack([spec.default_setting, references.best_static])
    policies["oracle"] = lambda plant: {JOINT: OraclePolicy(Task(spec, JOINT), plant, known)}
    policies["ppo-allocation"] = best | {Role.ALLOCATION: learned[Role.ALLOCATION]}
    policies["ppo-tuning"] = best | {Role.TUNING: learned[Role.TUNING]}
    policies["ppo"] = dict(learned)
    return policies


def unseen_demands(spec: SystemSpec, traces: Path | None) -> list[Demand]:
    """Demands that no policy was trained on.

    Raises:
        TraceError: the folder holds no trace that can be read.
    """
    if traces is None:
        return load_demands(DemandConfig(seeds=TEST_SEEDS), spec.control_period_seconds)
    refused: dict[str, str] = {}
    demands = demands_in(traces, refused)
    if not demands:
        reasons = "; ".join(refused.values()) or "it is empty"
        raise TraceError(f"no trace could be read in {str(traces)!r}: {reasons[:300]}")
    return demands
