"""The next day of one metric."""

import numpy as np
import pytest

from telemetry.forecast import VALID_SECONDS, Forecaster
from telemetry.foresight import foresee
from telemetry.issues import TARGETS

HOURS = np.arange(28 * 24)
RNG = np.random.default_rng(0)
DAILY = 10.0 + 5.0 * np.sin(HOURS * np.pi / 12) + RNG.normal(0, 0.1, len(HOURS))
NOW = 1_700_000_000.0


class Always:
    """A model that cries wolf."""

    def predict(self, features):
        return np.full(len(features), 0.95)


def all_of(model):
    return Forecaster({target.name: model for target in TARGETS})


def test_a_daily_issue_is_foretold_for_its_hour_and_called_predictable():
    end = len(HOURS) - 24 + 5  # an hour before the peak at 6 o'clock
    found = foresee("load", DAILY[:end], 14.5, NOW, Forecaster())
    assert found.chances["1h"].probability > 0.6
    assert found.chances["1h"].predictable
    assert found.chances["within_24h"].probability > 0.9
    assert foresee("load", DAILY[: end + 8], 14.5, NOW, Forecaster()).chances["1h"].probability < 0.1


def test_a_model_that_lost_to_the_table_last_week_is_not_shown():
    found = foresee("load", DAILY, 14.5, NOW, all_of(Always()))
    for chance in found.chances.values():
        assert chance.source == "table"
        assert chance.probability == chance.table


def test_a_metric_of_hours_says_nothing_and_one_of_two_days_has_the_table():
    found = foresee("load", DAILY[:5], 14.5, NOW, all_of(Always()))
    assert {chance.source for chance in found.chances.values()} == {"too little history"}
    assert np.isnan(found.chances["1h"].probability)
    young = foresee("load", DAILY[:50], 14.5, NOW, all_of(Always()))
    assert {chance.source for chance in young.chances.values()} == {"table"}


def test_noise_is_not_called_predictable():
    noise = np.random.default_rng(1).normal(size=len(HOURS))
    assert not foresee("noise", noise, 1.3, NOW, Forecaster()).chances["24h"].predictable


def test_a_prediction_expires():
    assert foresee("load", DAILY, 14.5, NOW, Forecaster()).expires_at == NOW + VALID_SECONDS


def test_a_leak_comes_with_its_time_to_limit():
    found = foresee("disk", 0.1 * HOURS, 0.1 * (len(HOURS) - 1 + 30), NOW, Forecaster())
    assert found.until_limit is not None
    assert found.until_limit.seconds == pytest.approx(30 * 3600, rel=0.01)
    assert found.to_json()["until_limit"]["seconds"] == found.until_limit.seconds


def test_unknown_hours_at_the_end_are_survived():
    levels = DAILY.copy()
    levels[-3:] = np.nan
    found = foresee("load", levels, 14.5, NOW, Forecaster())
    assert found.now == DAILY[-4]
    assert np.isfinite(found.levels.expected).all()


class Sure:
    """A model that knows that every day has its issue."""

    def predict(self, features):
        return np.full(len(features), 0.9999)


@pytest.mark.parametrize(("threshold", "alarm"), [(0.9, True), (1.0, False), (None, True)])
def test_a_forecast_of_the_model_above_the_threshold_of_its_card_is_an_alarm(threshold, alarm):
    sure = Forecaster({"within_24h": Sure()}, {"thresholds": {"within_24h": {"confident": threshold}}})
    chance = foresee("load", DAILY, 14.5, NOW, sure).chances["within_24h"]
    assert chance.source == "model"
    assert chance.alarm is alarm


def test_the_table_gives_no_alarms():
    card = {"thresholds": {target.name: {"confident": 0.0} for target in TARGETS}}
    chances = foresee("load", DAILY, 14.5, NOW, Forecaster({}, card)).chances
    assert not any(chance.alarm for chance in chances.values())
