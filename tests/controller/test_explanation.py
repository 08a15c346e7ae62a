from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from controlled import ScriptedPolicy
from controller.config import ControllerConfig
from controller.explanation import explain
from controller.journal import Journal
from controller.loop import Controller
from controller.predict import NotPredicted, predicted_scores
from envs.spec import SystemSpec
from plants import HEALTHY, ToyPlant

BATCH = "serving_batch_size"


@pytest.fixture
def started(make_controller: Callable[..., Controller], policy: ScriptedPolicy) -> Callable[[str], Controller]:
    """A controller that has just made, or advised, a change from 8 to 16."""

    def start(mode: str) -> Controller:
        controller = make_controller(mode, ControllerConfig(advice_seconds=3.0))
        for _ in range(7):
            controller.step()
        policy.wanted = {BATCH: 16}
        controller.step()
        return controller

    return start


def sections(journal: Journal, id: str) -> dict[str, str]:
    """Title -> text of an explanation."""
    found, title = {}, "head"
    for line in explain(Journal.records(journal.path), id, "/s").splitlines():
        title = line[:11].strip() or title
        found[title] = found.get(title, "") + line[11:].strip() + "\n"
    return found


def test_a_running_change_tells_why_and_how_to_take_it_back(
    started: Callable[[str], Controller], journal: Journal
) -> None:
    decision = started("act").last_decision
    assert decision is not None
    id = decision.opened[0].id
    found = sections(journal, id)
    assert "scripted first wanted such a change 0.000 s before" in found["trigger"]
    assert "every SLO held" in found["trigger"]
    assert "serving_within_slo_ratio 1" in found["seen"]
    assert f"tuning, scripted: {BATCH} 8 -> 16" in found["candidates"]
    assert "%" in found["candidates"]
    assert found["verdict"] == "none yet\n"
    assert found["undo"] == f"trimtab control rollback {id} --state-dir /s\n"


def test_a_kept_change_is_undone_by_a_pin_of_the_former_value(
    started: Callable[[str], Controller], journal: Journal
) -> None:
    controller = started("act")
    id = controller.trials.running["serving"].id
    while controller.trials.running:
        controller.step()
    found = sections(journal, id)
    assert found["verdict"].startswith("keep at ")
    assert found["undo"].startswith(f"trimtab control pin {BATCH}=8 --state-dir /s\n")


def test_a_change_that_was_rolled_back_tells_the_broken_slo(
    started: Callable[[str], Controller], journal: Journal, plant: ToyPlant
) -> None:
    controller = started("act")
    id = controller.trials.running["serving"].id
    plant.next_reading(serving_within_slo_ratio=0.1)
    controller.step()
    found = sections(journal, id)
    assert "rolled_back" in found["verdict"]
    assert "SLO latency badly broken" in found["verdict"]
    assert found["undo"] == "it was taken back already\n"


def test_an_advised_change_that_was_never_made_says_so(started: Callable[[str], Controller], journal: Journal) -> None:
    controller = started("advise")
    id = controller.kernel.adviser.waiting["serving"].move.id
    assert "it waits" in sections(journal, id)["applied"]
    for _ in range(3):
        controller.step()
    found = sections(journal, id)
    assert f"{id} has expired: not approved in time, at " in found["applied"]
    assert "never made" in found["applied"]
    assert found["undo"] == "nothing was changed\n"


def test_a_journal_without_readings_predicts_nothing() -> None:
    change = {"id": "a", "workload": "serving", "role": "tuning", "policy": "ppo", "knobs": {BATCH: (8, 16)}}
    record = {"at": "now", "snapshot": {"x": None}, "opened": [change | {"seen_at": 0.0, "applied_at": 0.5}]}
    text = explain([record], "a")
    assert "not predicted: the journal does not hold the period's readings" in text
    assert "x missing" in text


def test_an_unknown_change_names_the_newest() -> None:
    with pytest.raises(KeyError, match="no optimization 'z' in the journal; the newest are: none"):
        explain([], "z")


def test_the_prediction_tells_a_choking_setting_from_a_good_one(spec: SystemSpec) -> None:
    values = np.array([HEALTHY.get(name, 0.0) for name in spec.catalogue.names])
    good, choking = spec.default_setting, spec.default_setting
    good[spec.knob_index("serving_threads")] = 1
    choking[spec.knob_index("serving_threads")] = 2
    scores = predicted_scores(spec, values, good, [good, choking])
    assert scores[0] > scores[1]
    values[spec.catalogue.index("serving_arrivals_per_second")] = np.nan
    with pytest.raises(NotPredicted, match="load of that period is missing"):
        predicted_scores(spec, values, good, [good])
