"""The calibration page holds the report's own numbers, and pictures that are small enough to keep."""

import re

import numpy as np
import pytest

from envs.scaling import KnobScaling
from envs.simulator.parameters import Parameters
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from envs.task import Task
from telemetry.trace import Trace
from training.calibrate import CalibrationError, pieces, replayed, report
from training.calibration_page import BAR_ON, NMAE_BAR, RANK_BAR, write_page

SPEC = SystemSpec.load("reference")
NAMES = SPEC.catalogue.names
PARAMETERS = Parameters()
SETTINGS, HOLD = 8, 8


def record(seed: int) -> Trace:
    """A run of a simulated system through random settings, with all its noise."""
    rng, scaling, task = np.random.default_rng(seed), KnobScaling(SPEC.knobs), Task(SPEC, "allocation")
    plant = SimulatedPlant(SPEC, default_demands(1.0)[seed : seed + 1], seed=seed, parameters=PARAMETERS)
    rows = []
    for _ in range(SETTINGS):
        plant.apply(task.fit(scaling.unscale(rng.uniform(-1.0, 1.0, len(SPEC.knobs)))))
        for _ in range(HOLD):
            snapshot = plant.advance(1.0)
            rows.append((snapshot.time, snapshot.values, plant.setting))
    times, values, settings = (np.array(part) for part in zip(*rows, strict=True))
    return Trace(times, values, NAMES, settings, SPEC.knob_names)


TRACES = [record(1), record(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    write_page(SPEC, PARAMETERS, TRACES, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "calibration.md").read_text(encoding="utf-8")


def test_the_table_holds_the_reports_own_numbers(page):
    for name, of in report(SPEC, PARAMETERS, TRACES).items():
        error, rank = ("–" if of[key] is None else f"{of[key]:.2f}" for key in ("nmae", "rank_correlation"))
        assert f"| `{name}` | {error} | {rank} |" in page


def test_every_metric_below_the_bar_is_told_to_miss_it(page):
    for name, of in report(SPEC, PARAMETERS, TRACES).items():
        line = next(line for line in page.split("\n") if line.startswith(f"| `{name}` |"))
        if name in BAR_ON and of["rank_correlation"] is not None:
            met = of["nmae"] <= NMAE_BAR and of["rank_correlation"] >= RANK_BAR
            assert line.endswith("| met |" if met else "| **missed** |")
            assert met or f"`{name}`" in page.split("Missed:")[1].split("\n")[0]


def test_every_picture_is_there_and_small(folder, page):
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert len(pictures) == 2 + len(SPEC.workloads) + 1
    for picture in pictures:
        content = (folder / picture).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 150_000


def test_runs_and_settings_are_counted(page):
    assert f"2 runs, {2 * SETTINGS} settings, {2 * SETTINGS * HOLD} periods" in page


def test_missing_readings_do_not_stop_a_page(tmp_path):
    values = TRACES[0].values.copy()
    values[:, NAMES.index("serving_latency_p99_seconds")] = np.nan
    values[::2, NAMES.index("serving_cpu_used_cores")] = np.nan
    trace = Trace(TRACES[0].times, values, NAMES, TRACES[0].settings, SPEC.knob_names)
    write_page(SPEC, PARAMETERS, [trace], tmp_path)
    assert "| `serving_latency_p99_seconds` | – | – |" in (tmp_path / "calibration.md").read_text(encoding="utf-8")


def test_pieces_are_what_the_report_compares():
    compared, agreement = pieces(SPEC, PARAMETERS, TRACES), report(SPEC, PARAMETERS, TRACES)
    assert compared.simulated.shape == compared.measured.shape == (2 * SETTINGS, len(NAMES))
    assert compared.settings.shape == (2 * SETTINGS, len(SPEC.knobs))
    column = NAMES.index("training_samples_per_second")
    simulated, measured = compared.simulated[:, column], compared.measured[:, column]
    error = np.abs(simulated - measured).mean() / np.abs(measured).mean()
    assert agreement["training_samples_per_second"]["nmae"] == pytest.approx(error)


def test_a_run_is_replayed_period_by_period():
    for trace, (recording, simulated) in zip(TRACES, replayed(SPEC, PARAMETERS, TRACES), strict=True):
        assert simulated.shape == recording.values.shape == trace.values.shape
        assert np.isfinite(simulated).all()


def test_a_page_without_a_trace_is_refused(tmp_path):
    with pytest.raises(CalibrationError, match="no trace"):
        write_page(SPEC, PARAMETERS, [], tmp_path)
