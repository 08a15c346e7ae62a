"""The whole backtest, on few generated hosts and small models."""

import json

import numpy as np
import pytest

from telemetry.issues import TARGETS
from training.backtest import judge
from training.forecast_data import ForecastDataError, MetricSeries
from training.forecast_page import bars_table, horizon_tables, write_backtest_page
from training.forecast_training import ForecastConfig, training_rows

SMALL = ForecastConfig(generated=1, rows=3000, rounds=15, leaves=7, smallest_leaf=40)


def hosts(count, days=24):
    hours = np.arange(days * 24)
    found = []
    for number in range(count):
        rng = np.random.default_rng(number)
        daily = np.sin((hours + 3 * number) * np.pi / 12) + rng.normal(0, 0.15, len(hours))
        found.append(MetricSeries(f"host {number} load", f"host {number}", daily))
    return found


@pytest.fixture(scope="module")
def result():
    pytest.importorskip("lightgbm")
    return judge(hosts(12), SMALL)


def test_a_daily_load_is_foretold_a_day_ahead_on_hosts_never_seen(result):
    day = result["horizons"]["24h"]
    assert day["balanced_accuracy"] > 0.9
    assert day["balanced_accuracy"] > day["naive"]["persistence"]["balanced_accuracy"]
    assert day["always_no_accuracy"] > 0.8


def test_the_keys_that_programs_read_are_there_for_every_horizon(result):
    wanted = {"balanced_accuracy", "precision", "recall", "auroc", "brier", "base_rate", "naive"}
    assert set(result["horizons"]) == {target.name for target in TARGETS}
    assert all(wanted <= set(scores) for scores in result["horizons"].values())


def test_intervals_hold_their_figure(result):
    for scores in (result["horizons"][name] for name in ("1h", "6h", "24h")):  # every day has an issue
        low, high = scores["balanced_accuracy_ci"]
        assert low <= scores["balanced_accuracy"] <= high


def test_the_report_is_json_and_the_page_holds_every_group(result, tmp_path):
    json.dumps(result)
    write_backtest_page(tmp_path / "page.html", result)
    page = (tmp_path / "page.html").read_text()
    assert "frequent issues, held out series" in page
    assert "<svg" in page


def test_the_tables_have_a_row_for_each_bar_and_horizon(result):
    assert bars_table(result).row_count == len(result["bars"])
    assert [table.row_count for table in horizon_tables(result)] == [len(TARGETS)] * 2


def test_hosts_of_one_kind_only_are_refused():
    held_out = [one for one in hosts(12) if one.held_out]
    with pytest.raises(ForecastDataError, match="both kinds are needed"):
        judge(held_out, SMALL)


def test_nothing_is_learnt_from_hours_after_the_edge():
    series = hosts(3)
    changed = []
    for one in series:
        levels = one.levels.copy()
        levels[one.train_end :] = 100.0
        changed.append(MetricSeries(one.name, one.host, levels))
    for name, rows in training_rows(series, SMALL, 0).items():
        again = training_rows(changed, SMALL, 0)[name]
        np.testing.assert_array_equal(rows.features, again.features)
        np.testing.assert_array_equal(rows.labels, again.labels)
