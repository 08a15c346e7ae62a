from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controlled import ScriptedPolicy
from controller.loop import Controller
from controller.own_cost import OwnCost
from controller.own_metrics import FAMILIES, LEFT_OUT, MAX_SERIES, Cap, MetricsPage, OwnMetrics, capped
from plants import ToyPlant


def samples(text: str) -> dict[str, float]:
    """Name and labels -> value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def text_of(controller: Controller, metrics: OwnMetrics) -> str:
    return metrics.text(controller, 0, OwnCost(dict))


def test_refusals_and_delays_are_counted_over_the_periods(controller: Controller, policy: ScriptedPolicy) -> None:
    metrics = OwnMetrics()
    policy.wanted = {"serving_batch_size": 16}
    changes = 0
    for _ in range(4):
        decision = controller.step()
        metrics.count(decision)
        changes += len(decision.opened)
    found = samples(text_of(controller, metrics))
    assert changes == 1
    assert found["trimtab_controller_opportunity_to_applied_seconds_count"] == 1
    assert found["trimtab_controller_opportunity_to_applied_seconds_bucket{le=+Inf}"] == 1
    assert found["trimtab_controller_mode{mode=act}"] == 1
    assert found["trimtab_controller_mode{mode=shadow}"] == 0


def test_a_condition_that_is_over_is_shown_as_over(controller: Controller, plant: ToyPlant) -> None:
    metrics = OwnMetrics()
    plant.drop(periods=1)
    controller.step()
    assert samples(text_of(controller, metrics))["trimtab_controller_condition_active{condition=blind}"] == 1
    controller.step()
    assert samples(text_of(controller, metrics))["trimtab_controller_condition_active{condition=blind}"] == 0


def test_every_figure_has_its_help_and_promtool_has_nothing_to_say(controller: Controller) -> None:
    text = text_of(controller, OwnMetrics())
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert families <= set(FAMILIES)
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=20)
    assert (done.returncode, done.stderr.decode()) == (0, "")


@pytest.mark.clause("L9")
def test_more_series_than_allowed_are_left_out_by_whole_families_and_counted() -> None:
    many = {f'trimtab_controller_refusals_total{{reason="{n}"}}': 1.0 for n in range(MAX_SERIES)}
    few = {"trimtab_controller_killed": 0.0, "trimtab_controller_paused": 0.0}
    cap = Cap()
    assert cap({**few, **many}) == {**few, LEFT_OUT: float(MAX_SERIES)}
    assert cap(few) == {**few, LEFT_OUT: 0.0}, "and is shown again when there is room"


def test_a_histogram_is_left_out_as_a_whole() -> None:
    name = "trimtab_controller_opportunity_to_applied_seconds"
    names = [f'{name}_bucket{{le="+Inf"}}', f"{name}_sum", f"{name}_count"]
    assert capped(names, most=2) == []
    assert capped(names, most=3) == names


def test_a_value_that_changes_is_shown_as_it_is_now() -> None:
    page = MetricsPage()
    texts = [page.text({"trimtab_controller_pins": value}) for value in (1.0, 2.0)]
    assert [text.splitlines()[-1] for text in texts] == ["trimtab_controller_pins 1.0", "trimtab_controller_pins 2.0"]
