"""Excitation: moves load and knobs of a live system over their ranges and records what happens, for `calibrate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import qmc

from controller.components import Components
from controller.live_plant import LivePlant
from envs.scaling import KnobScaling
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.trace import TraceRecorder
from telemetry.workload import Demand
from testbed.capacity import measure_capacity
from training.live import replay
from training.recording import STREAM_SECONDS

PERIODS = 14
"""Periods that a setting is held. Default 14: three to settle, eleven to average over."""

MEAN_EVENTS_PER_SECOND = 80.0
"""Mean rate of labelled events; with it training needs about a third of a core when it is tuned well."""

SINGLE_SHARE = 0.75
"""Share of the settings with one thread per component: with more, most of the range is the cliff alone."""

LOAD_SHARE = (0.1, 0.9)
"""Range of the load, as a share of what the CPU granted to serving can do: from idle to beyond, since
small batches cannot do what the measured capacity says."""

OnPeriod = Callable[[int, int, str], None]


def excitation_settings(spec: SystemSpec, count: int, seed: int) -> np.ndarray:
    """Settings spread evenly over all knobs (a scrambled Sobol sequence), (count, n_knobs), within the CPU there is.

    The first one is the static default.
    """
    knobs = KnobScaling(spec.knobs)
    points = qmc.Sobol(len(spec.knobs), seed=seed).random(1 << max(1, (count - 1).bit_length()))[:count]
    settings = Task(spec, Role.ALLOCATION).fit(knobs.unscale(2.0 * points - 1.0))
    threads = np.array([knob.unit == "threads" and "worker" not in knob.name for knob in spec.knobs])
    single = np.random.default_rng(seed).random(count) < SINGLE_SHARE
    settings[np.ix_(single, threads)] = 1.0
    settings[0] = spec.default_setting
    return settings


def excitation_demand(
    spec: SystemSpec, settings: np.ndarray, periods: int, seed: int, capacity: float, events: float
) -> Demand:
    """A load for each setting, and an event rate of 0.3 to 1.7 times `events`.

    Args:
        spec: gives the period.
        settings: (count, n_knobs).
        periods: how long each is held.
        seed: of the rates.
        capacity: requests per second that serving can do with one core.
        events: nominal events per second.
    """
    rng = np.random.default_rng(seed)
    cores = np.minimum(settings[:, spec.knob_index(spec.workloads["serving"].cpu_knob)], 1.0)
    requests = np.repeat(capacity * cores * rng.uniform(*LOAD_SHARE, len(settings)), periods)
    arrivals = np.repeat(events * rng.uniform(0.3, 1.7, len(settings)), periods)
    return Demand(f"excitation-{seed}", spec.control_period_seconds, requests, arrivals, source="excitation")


def record_excitation(
    plant: LivePlant,
    load_url: str,
    out: Path,
    *,
    capacity: float,
    events: float,
    count: int = 48,
    periods: int = PERIODS,
    seed: int = 0,
    on_period: OnPeriod = lambda done, total, message: None,
) -> Path:
    """Hold each of `count` settings for `periods` control periods under its own load, and record every period.

    Args:
        plant: live.
        load_url: of the load generator.
        out: folder of the trace.
        capacity: requests per second that serving can do.
        events: nominal events per second.
        count: settings.
        periods: how long each is held.
        seed: of settings, loads and arrivals.
        on_period: called with periods done and in all.

    Returns:
        `out`.
    """
    spec = plant.spec
    settings = excitation_settings(spec, count, seed)
    demand = excitation_demand(spec, settings, periods, seed, capacity, events)
    metadata = {
        "spec": spec.name,
        "spec_fingerprint": spec.fingerprint,
        "source": "excitation",
        "wall_start": time.time(),
        "seed": seed,
        "periods_per_setting": periods,
        "capacity_requests_per_second": capacity,
        STREAM_SECONDS: 0.0,
    }
    plant.apply(settings[0])
    plant.advance(spec.control_period_seconds)
    replay(load_url, demand, seed, stream_seconds=0.0)
    with TraceRecorder(out, spec.catalogue.names, spec.knob_names, metadata=metadata) as recorder:
        for index in range(count * periods):
            plant.apply(settings[index // periods])
            snapshot = plant.advance(spec.control_period_seconds)
            recorder.append(snapshot.time, snapshot.values, plant.setting)
            on_period(index + 1, count * periods, f"setting {index // periods + 1} of {count}")
    return out


def record_live(
    spec: SystemSpec,
    components: Path,
    out: Path,
    *,
    seconds: int,
    excite: bool = False,
    seed: int = 0,
    on_period: OnPeriod = lambda done, total, message: None,
) -> None:
    """Record a running system: as it is, or while its knobs and load are moved over their ranges.

    Args:
        spec: of the system.
        components: its `testbed.json`.
        out: folder of the trace.
        seconds: about how long.
        excite: whether to move load and knobs; needs the testbed's load generator.
        seed: of the excitation.
        on_period: called with periods done, in all, and a message.

    Raises:
        PlantError: a component is missing.
        CapacityError: serving does not answer.
        LoadError: the load generator does not answer.
    """
    plant = LivePlant(spec, components)
    periods = max(1, round(seconds / spec.control_period_seconds))
    try:
        if excite:
            urls = {name: component.url for name, component in Components(components).read().items()}
            capacity, events = measure_capacity(urls["serving"]), MEAN_EVENTS_PER_SECOND
            count = max(2, periods // PERIODS)
            record_excitation(
                plant, urls["load"], out, capacity=capacity, events=events, count=count, seed=seed, on_period=on_period
            )
            return
        metadata = {
            "spec": spec.name,
            "spec_fingerprint": spec.fingerprint,
            "source": "live",
            "wall_start": time.time(),
        }
        with TraceRecorder(out, spec.catalogue.names, spec.knob_names, metadata=metadata) as recorder:
            for period in range(periods):
                snapshot = plant.advance(spec.control_period_seconds)
                recorder.append(snapshot.time, snapshot.values, plant.setting)
                on_period(period + 1, periods, "recording")
    finally:
        plant.close()
