"""`trimtab forecast` as its user calls it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from telemetry.trace import Trace
from trimtab import app

RUNNER = CliRunner()


@pytest.fixture
def trace(tmp_path):
    seconds = np.arange(0, 20 * 86400, 600)
    load = 10 + 5 * np.sin(seconds * 2 * np.pi / 86400) + np.random.default_rng(0).normal(0, 0.2, len(seconds))
    rows = "\n".join(f"{second},{value:.4f}" for second, value in zip(seconds, load, strict=True))
    (tmp_path / "load.csv").write_text(f"timestamp,value\n{rows}\n")
    return tmp_path / "load.csv"


def test_the_next_day_is_shown_as_a_table(trace):
    done = RUNNER.invoke(app, ["forecast", str(trace)], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "The next 24 hours" in done.output
    assert "within 24h" in done.output


def test_the_table_fits_a_narrow_terminal(trace):
    done = RUNNER.invoke(app, ["forecast", str(trace)], env={"COLUMNS": "80"})
    row = next(line for line in done.output.splitlines() if line.strip().startswith("value"))
    assert "%" in row
    assert "…" not in row


def test_json_holds_probabilities_levels_and_expiry_for_the_limit_that_was_given(trace):
    done = RUNNER.invoke(app, ["forecast", str(trace), "--limit", "value=14.5", "--json"])
    (found,) = json.loads(done.stdout)["metrics"]
    assert found["limit"] == 14.5
    assert found["expires_at"] - found["made_at"] == 7200
    assert len(found["levels"]["expected"]) == 24
    assert found["horizons"]["within_24h"]["probability"] > 0.8
    assert found["horizons"]["within_24h"]["predictable"] is None or found["horizons"]["6h"]["predictable"]


def test_the_page_has_a_fan_chart(trace, tmp_path):
    RUNNER.invoke(app, ["forecast", str(trace), "--html", str(tmp_path / "page.html")])
    assert "<svg" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--limit", "value"], "NAME=VALUE"),
        (["--limit", "valeu=3"], "did you mean value?"),
        (["--spec", "reference"], "SLOs on ingest_lag_seconds"),
        (["--every", "600"], "--out"),
        (["--every", "7200", "--out", "ahead.json"], "allowed are 60 to 3600 s"),
        ([], "--backtest"),
    ],
)
def test_wrong_options_are_told(trace, options, word):
    arguments = ["forecast", *([str(trace)] if options else []), *options]
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code != 0
    assert word in " ".join(f"{done.output} {done.exception}".replace("│", " ").split())


def test_the_slos_of_a_spec_are_limits_mirrored_where_low_readings_break_them(tmp_path):
    hours = np.arange(0, 20 * 24)
    share = 0.97 - 0.04 * (np.sin(hours * np.pi / 12) > 0.7)  # under 0.95 for some hours of each day
    values = np.stack([np.repeat(share, 12), np.full(len(hours) * 12, 1.0)], axis=1)
    names = ("serving_within_slo_ratio", "ingest_lag_seconds")
    times = np.arange(len(values)) * 300.0
    Trace(times, values, names, np.zeros((len(times), 0)), (), {"wall_start": 0.0}).save(tmp_path / "run.parquet")
    done = RUNNER.invoke(app, ["forecast", str(tmp_path / "run.parquet"), "--spec", "reference", "--json"])
    found = {one["metric"]: one for one in json.loads(done.stdout)["metrics"]}
    share, lag = found["serving_within_slo_ratio"], found["ingest_lag_seconds"]
    assert (share["limit"], share["mirrored"], lag["limit"], lag["mirrored"]) == (0.95, True, 3.0, False)
    assert share["horizons"]["within_24h"]["probability"] > 0.9 > 0.1 > lag["horizons"]["within_24h"]["probability"]
    assert share["now"] == pytest.approx(0.97)
    assert min(share["levels"]["low"]) <= min(share["levels"]["expected"]) <= max(share["levels"]["high"])
