"""What the calibrated simulator expects of settings, from one recorded period on. Computed when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.objective import Objective
from envs.spec import SystemSpec
from telemetry.workload import Demand

PERIODS = 10
"""That are looked ahead, at the load of the recorded period. A verdict stands after three; ten let queues drain."""


class NotPredicted(ValueError):
    """The simulator cannot tell; one line."""


def predicted_scores(
    spec: SystemSpec, values: np.ndarray, before: np.ndarray, settings: Sequence[np.ndarray]
) -> np.ndarray:
    """Efficiency plus SLO term of each setting, the mean of the next periods; what a trial's verdict is made of.

    Args:
        spec: of the system.
        values: (n_metrics,) the recorded period.
        before: (n_knobs,) in force during it.
        settings: each (n_knobs,).

    Returns:
        (len(settings),)

    Raises:
        NotPredicted: the simulator does not know this system, or the period's load is missing.
    """
    from envs.simulator.simulated_plant import SimulatedPlant

    seen = dict(zip(spec.catalogue.names, values, strict=True))
    requests, events = (seen.get(f"{name}_arrivals_per_second", np.nan) for name in ("serving", "ingest"))
    if not np.isfinite([requests, events]).all():
        raise NotPredicted("the load of that period is missing")
    demand = Demand("recorded", spec.control_period_seconds, np.full(2, requests), np.full(2, events), "journal")
    try:
        plant = SimulatedPlant(spec, [demand], n=len(settings), as_recorded=True, noise=False)
    except ValueError as error:  # SpecError: a system of the user's own
        raise NotPredicted(str(error)) from None
    plant.reset(0, demand_indices=0, setting=before)
    plant.resume(values)
    wanted = np.array(settings)  # (len(settings), n_knobs)
    plant.apply(wanted)
    objective, scores = Objective(spec), []
    for _ in range(PERIODS):
        seen_values = plant.advance(spec.control_period_seconds).values  # (len(settings), n_metrics)
        slo = objective.score(seen_values, wanted, wanted)["slo"]
        scores.append(objective.value(seen_values) / objective.cost(seen_values, wanted) + slo)
    return np.mean(scores, axis=0)
