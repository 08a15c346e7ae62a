"""Which demands a policy is trained, tuned or judged on, each fitted to the length of an episode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from envs.fields import Checked, Positive
from telemetry.demand_families import DAY, FAMILIES
from telemetry.public_traces import demands_in
from telemetry.workload import Demand, generate_demand


class DemandConfig(Checked, frozen=True, kw_only=True):
    """A set of demands. Unknown keys are errors."""

    families: tuple[str, ...] = tuple(FAMILIES)
    """Families of the generator; see `telemetry.demand_families`."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    """One generated day for each family and seed."""
    step_seconds: Positive = 60.0
    """Step of a generated day before it is compressed."""
    episode_seconds: Positive = 600.0
    """What a day, or a whole trace, is compressed to. Default 600: a minute of the day passes in 0.4 s."""
    traces: str | None = None
    """A folder of real traces to add, in any format of `telemetry.public_traces`; None adds none."""


def load_demands(config: DemandConfig, period_seconds: float) -> list[Demand]:
    """The demands of a configuration, in steps of the control period.

    Raises:
        ValueError: unknown family.
        OSError: the folder of traces cannot be read.
    """
    demands = [
        generate_demand(seed, duration_seconds=DAY, step_seconds=config.step_seconds, family=family)
        for family in config.families
        for seed in config.seeds
    ]
    if config.traces:
        demands += demands_in(Path(config.traces))
    return [fit_demand(demand, config.episode_seconds, period_seconds) for demand in demands]


def fit_demand(demand: Demand, episode_seconds: float, period_seconds: float) -> Demand:
    """A demand that lasts longer than an episode runs faster, so that the episode covers all of it.

    The factor stands in the name (`smd-3 x144`). A shorter demand keeps its speed; the plant repeats it.
    """
    factor = demand.duration / episode_seconds
    if factor > 1.0:
        demand = replace(demand.compressed(factor), name=f"{demand.name} x{factor:.3g}")
    return demand.resampled(period_seconds)
