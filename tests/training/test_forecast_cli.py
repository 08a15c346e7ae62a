"""`trimtab forecast` as its user calls it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

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
    [(["--limit", "value"], "NAME=VALUE"), (["--limit", "nothing=3"], "no such series"), ([], "--backtest")],
)
def test_wrong_options_are_told(trace, options, word):
    arguments = ["forecast", *([str(trace)] if options else []), *options]
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code != 0
    assert word in done.output
