"""The forecasting service, on a clock of its own."""

import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.forecast_figures import FAMILIES
from controller.forecast_watch import SETTLE_SECONDS, ForecastWatch, WatchConfig, WatchError
from controller.prescale import read_alarms
from telemetry.forecast_ledger import OPINIONS, Ledger, LedgerHour
from telemetry.forecast_versions import Versions
from telemetry.issues import HOUR, TARGETS, issues, labels
from telemetry.processes import process_start
from telemetry.store_files import StoreError
from telemetry.watched import Watched

START = 1_700_006_400.0  # a whole hour
HOURS = np.arange(30 * 24)
NAME, LIMIT = "serving_latency_p99_seconds", 14.5
DAILY = 10.0 + 5.0 * np.sin(HOURS * np.pi / 12) + np.random.default_rng(0).normal(0, 0.1, len(HOURS))
PEAK = 20 * 24 + 5  # hours from `START`; the next one is over the limit


class System:
    """One metric with a daily issue, and the clock by which it is known."""

    def __init__(self, hour):
        self.now = START + hour * HOUR + SETTLE_SECONDS
        self.broken = False
        self.ahead = 0.0

    def __call__(self, *, sliding):
        if self.broken:
            raise StoreError("the store cannot be read")
        past = self.now + self.ahead - START
        whole = int(past // HOUR)
        end = START + (past // 300.0 * 300.0 if sliding else whole * HOUR)
        return [Watched(NAME, DAILY[:whole], end)]


@pytest.fixture
def system():
    return System(PEAK)


@pytest.fixture
def make_watch(tmp_path, system):
    opened = []

    def make(every=HOUR):
        while opened:
            opened.pop().close()
        config = WatchConfig(tmp_path / "forecast.json", every=every)
        versions = Versions(None, tmp_path / "forecast.good")
        opened.append(ForecastWatch(config, system, lambda _: LIMIT, versions, lambda: system.now))
        return opened[-1]

    yield make
    for watch in opened:
        watch.close()


def forecast(tmp_path):
    return json.loads((tmp_path / "forecast.json").read_text())


def lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "forecast.jsonl").read_text().splitlines()]


def figures(tmp_path):
    families = text_string_to_metric_families((tmp_path / "forecast.prom").read_text())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def controlled(tmp_path, **changes):
    """This process plays the controller."""
    found = {"pid": os.getpid(), "process_start": process_start(os.getpid()), "mode": "act"} | changes
    (tmp_path / "status.json").write_text(json.dumps(found))


def write_record(tmp_path, model, table, hours=100):
    """A past in which both gave what came true these probabilities."""
    ledger = Ledger(tmp_path / "forecast.jsonl")
    (tmp_path / "own").mkdir()
    issue = issues(DAILY, LIMIT)
    version = Versions(None, tmp_path / "own").ids[0]
    for hour in range(PEAK - hours, PEAK):
        said = np.full((1, len(TARGETS), len(OPINIONS)), np.nan)
        for t, target in enumerate(TARGETS):
            truth = labels(issue, target)[hour - 1]
            for i, right in ((0, model), (2, table), (3, 0.5)):
                said[0, t, i] = right if truth else 1.0 - right
        level, limit = DAILY[hour - 1 : hour], np.array([LIMIT])
        ledger.append(LedgerHour(START + hour * HOUR, (NAME,), level, limit, said, (version, "")))
    ledger.close()


def test_the_controller_reads_what_the_service_writes(make_watch, tmp_path, system):
    make_watch().try_round()
    (alarm,) = read_alarms(tmp_path / "forecast.json", system.now)
    found = forecast(tmp_path)
    assert (alarm.metric, alarm.expires_at) == (NAME, found["expires_at"])
    assert alarm.probability == found["metrics"][0]["horizons"]["1h"]["probability"] > 0.6
    assert found["made_at"] == START + PEAK * HOUR
    assert read_alarms(tmp_path / "forecast.json", found["made_at"] + 2 * HOUR) == []


def test_an_hour_is_kept_once_and_scored_when_it_has_come_true(make_watch, tmp_path, system):
    watch = make_watch()
    watch.try_round()
    watch.try_round()
    assert len(lines(tmp_path)) == 1
    assert figures(tmp_path)["trimtab_forecast_scored_total", "1h", "no"] == 0
    system.now += HOUR
    watch.try_round()
    assert len(lines(tmp_path)) == 2
    assert figures(tmp_path)["trimtab_forecast_scored_total", "1h", "no"] == 1
    assert 0.0 < figures(tmp_path)["trimtab_forecast_brier_ratio", "1h", "no", "model"] < 0.2


def test_hours_that_pass_while_it_is_down_are_scored_afterwards(make_watch, tmp_path, system):
    make_watch().try_round()
    system.now += 7 * HOUR
    make_watch().try_round()
    assert [line["end"] for line in lines(tmp_path)] == [START + (PEAK + n) * HOUR for n in range(8)]
    assert figures(tmp_path)["trimtab_forecast_scored_total", "6h", "no"] == 1


def test_a_model_that_was_worse_is_left_also_after_a_restart_and_said_in_file_and_figures(make_watch, tmp_path):
    write_record(tmp_path, model=0.3, table=0.9)
    make_watch().try_round()
    found = forecast(tmp_path)
    assert found["shown"]["1h"] == "table"
    chance = found["metrics"][0]["horizons"]["1h"]
    assert (chance["source"], chance["probability"], chance["alarm"]) == ("table", chance["table"], False)
    assert figures(tmp_path)["trimtab_forecast_fallback", "1h"] == 1
    assert figures(tmp_path)["trimtab_forecast_skill_ratio", "1h", "no"] < 0


def test_a_model_that_was_better_is_shown(make_watch, tmp_path):
    write_record(tmp_path, model=0.9, table=0.6)
    make_watch().try_round()
    assert set(forecast(tmp_path)["shown"].values()) == {"model"}
    assert figures(tmp_path)["trimtab_forecast_fallback", "1h"] == 0
    assert (tmp_path / "forecast.good" / "forecast.json").exists()  # kept for when a later one is worse


def test_falling_back_is_logged_once(make_watch, tmp_path, system, caplog):
    write_record(tmp_path, model=0.49, table=0.495, hours=47)  # one hour later there is enough for a verdict
    watch = make_watch()
    for _ in range(3):
        watch.try_round()
        system.now += HOUR
    assert len([record for record in caplog.records if "1h:" in record.message]) == 1


def test_while_nothing_can_be_read_the_last_forecast_stays_and_is_said_once(make_watch, tmp_path, system, caplog):
    watch = make_watch()
    watch.try_round()
    before = (tmp_path / "forecast.json").read_bytes()
    system.now, system.broken = system.now + HOUR, True
    assert not watch.try_round()
    assert not watch.try_round()
    assert (tmp_path / "forecast.json").read_bytes() == before
    assert figures(tmp_path)["trimtab_forecast_failed_rounds_total",] == 2
    system.broken = False
    assert watch.try_round()
    assert [record.message.partition(",")[0] for record in caplog.records] == ["no forecast", "forecasts work again"]


@pytest.mark.parametrize(
    ("changes", "acted"),
    [({}, True), ({"mode": "shadow"}, False), ({"killed": True}, False), ({"process_start": -2}, False)],
)
def test_hours_in_which_a_controller_acts_on_an_alarm_are_marked(make_watch, tmp_path, changes, acted):
    controlled(tmp_path, **changes)
    watch = make_watch()
    watch.config = replace(watch.config, alarm=0.6)
    watch.try_round()
    watch.try_round()
    ledger = [line for line in lines(tmp_path) if "acted" in line]
    assert ledger == ([{"end": START + PEAK * HOUR, "acted": [NAME]}] if acted else [])


def test_where_nothing_is_foretold_a_controller_that_acts_taints_nothing(make_watch, tmp_path, system):
    controlled(tmp_path)
    system.now += 8 * HOUR
    make_watch().try_round()
    assert not [line for line in lines(tmp_path) if "acted" in line]


def test_acting_is_remembered_over_a_restart(make_watch, tmp_path, system):
    controlled(tmp_path)
    watch = make_watch()
    watch.config = replace(watch.config, alarm=0.6)
    watch.try_round()
    system.now += HOUR
    make_watch().try_round()
    assert figures(tmp_path)["trimtab_forecast_scored_total", "1h", "yes"] == 1
    assert figures(tmp_path)["trimtab_forecast_scored_total", "1h", "no"] == 0


def test_every_five_minutes_the_forecast_is_of_the_last_sixty_and_the_record_of_whole_hours(
    make_watch, tmp_path, system
):
    watch = make_watch(every=300.0)
    made = []
    for _ in range(3):
        watch.try_round()
        made.append(forecast(tmp_path)["made_at"] - START - PEAK * HOUR)
        system.now += 300.0
    assert made == [0.0, 300.0, 600.0]
    assert len(lines(tmp_path)) == 1


def test_an_hour_that_is_not_over_is_not_foretold_from(make_watch, tmp_path, system):
    system.ahead = 2 * SETTLE_SECONDS  # the last readings of an hour are summarized before it ends
    system.now -= 2 * SETTLE_SECONDS
    make_watch().try_round()
    assert forecast(tmp_path)["made_at"] == START + (PEAK - 1) * HOUR


@pytest.mark.parametrize(("every", "wait"), [(HOUR, 3000.0), (300.0, 300.0), (900.0, 300.0)])
def test_rounds_come_a_little_after_the_multiples_of_the_period(make_watch, system, every, wait):
    system.now = START + 600.0 + SETTLE_SECONDS
    assert make_watch(every).until_next() == wait


def test_when_it_is_stopped_in_a_round_the_figures_say_so_and_another_may_begin(tmp_path, system):
    stop = threading.Event()

    def source(*, sliding):
        stop.set()
        return system(sliding=sliding)

    config, versions = WatchConfig(tmp_path / "forecast.json"), Versions(None, tmp_path / "good")
    ForecastWatch(config, source, lambda _: LIMIT, versions, lambda: system.now).run(stop)
    assert figures(tmp_path)["trimtab_forecast_up",] == 0
    assert not (tmp_path / "forecast.json").exists()  # it had none, and did not make one up
    Ledger(tmp_path / "forecast.jsonl").close()


def test_every_figure_is_explained(make_watch, tmp_path):
    write_record(tmp_path, model=0.9, table=0.6)
    make_watch().try_round()
    written = {line.split()[2] for line in (tmp_path / "forecast.prom").read_text().splitlines() if "# HELP" in line}
    assert written == set(FAMILIES)


@pytest.mark.parametrize("every", [0.0, 59.0, 3601.0, float("nan")])
def test_periods_for_which_forecasts_would_expire_are_refused(tmp_path, every):
    with pytest.raises(WatchError, match="allowed are 60 to 3600 s"):
        WatchConfig(tmp_path / "forecast.json", every=every)
