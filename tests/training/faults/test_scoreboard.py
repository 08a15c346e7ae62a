"""The rules of comparable systems do what their documents say."""

from __future__ import annotations

import math

import pytest

from training.faults.rivals import Argo, Captain, Flagger, Hpa, Judge, Kayenta, Keda, Reading, Scaler, SelfTune
from training.faults.scoreboard import CALM, CASES, SYSTEMS, fed, judged, oscillating, sources, table, vpa_restarts

NOTHING: list[Reading] = [None] * 40


@pytest.mark.parametrize(("make", "holds"), [(Hpa, True), (Keda, False), (SelfTune, True)])
def test_what_a_scaler_does_without_its_metric(make: type[Scaler], holds: bool) -> None:
    assert fed(make, NOTHING).passed is holds


def test_keda_waits_for_the_stabilization_window_before_it_takes_away() -> None:
    assert fed(Keda, NOTHING[:15]).passed
    assert not fed(Keda, NOTHING[:25]).passed


def test_a_nan_reward_stays_in_selftunes_setting() -> None:
    scaler = SelfTune()
    scaler.step(math.nan)
    assert all(math.isnan(scaler.step(100.0)) for _ in range(20))


@pytest.mark.parametrize(
    ("make", "after", "verdict"),
    [
        (Kayenta, [None], "pass"), (Argo, [None], "pass"), (Flagger, [None], "hold"),
        (Kayenta, [math.nan], "pass"), (Argo, [math.nan], "pass"), (Flagger, [math.inf], "pass"),
        (Kayenta, [0.4], "fail"), (Argo, [0.4], "fail"), (Flagger, [0.4], "fail"),
        (Kayenta, [0.1], "pass"), (Argo, [0.1], "pass"), (Flagger, [0.1], "pass"),
    ],
)  # fmt: skip
def test_what_a_judge_says(make: type[Judge], after: list[Reading], verdict: str) -> None:
    assert make().verdict(CALM, after) == verdict
    assert judged(make, after).passed is (verdict != "pass")


def test_the_horizontal_autoscaler_turns_at_most_every_five_minutes() -> None:
    assert oscillating(Hpa).why == "at most 12 turns an hour"


def test_captain_leaves_its_limit_behind() -> None:
    captain = Captain()
    captain.step(5.0)
    assert captain.after_death() < 10.0


def test_vpa_forgets_what_was_infeasible() -> None:
    assert not vpa_restarts().passed


def test_every_system_in_the_scoreboard_has_a_source() -> None:
    tested = {name for case in CASES for name in case.rivals}
    assert tested == set(SYSTEMS) == set(sources())


def test_the_table_has_a_line_for_each_system_and_case() -> None:
    cell = {"passed": False, "why": "so"}
    row = {"hazard": "H1", "clause": "O1", "title": "what", "results": {"KEDA": cell, "Trimtab": cell}}
    lines = table([row]).splitlines()
    assert lines[2:] == ["| H1, O1 | what | Trimtab | **fail** | so |", "|  |  | KEDA | **fail** | so |"]
