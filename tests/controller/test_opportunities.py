"""Opportunities: what measurements alone say could be better."""

import numpy as np
import pytest

from controller.opportunities import WINDOW_PERIODS, Kind, Opportunities, Opportunity
from envs.recent import Recent
from envs.spec import Role, SystemSpec
from plants import HEALTHY
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
BUSY = {"serving_cpu_used_cores": 0.45, "training_cpu_used_cores": 0.45, "ingest_cpu_used_cores": 0.45}
"""Of half a core each, the static default: neither idle nor scarce."""


def found(periods: int = 30, setting: np.ndarray | None = None, **readings: float) -> list[Opportunity]:
    """After periods that are healthy and busy but for these readings."""
    values = np.array([(HEALTHY | BUSY | readings).get(name, 0.0) for name in SPEC.catalogue.names])
    recent, opportunities, last = Recent(SPEC, outlook=True), Opportunities(SPEC), []
    for period in range(periods):
        recent.append(Snapshot(float(period), values))
        last = opportunities.find(recent, SPEC.default_setting if setting is None else setting, float(period))
    return last


def kinds(opportunities: list[Opportunity]) -> dict[Kind, str]:
    return {opportunity.kind: opportunity.workload for opportunity in opportunities}


def test_where_nothing_is_idle_and_nothing_left_undone_there_is_nothing_to_do():
    assert found() == []


def test_cpu_that_is_reserved_and_idle_could_be_saved():
    (opportunity,) = found(serving_cpu_used_cores=0.1)
    assert (opportunity.kind, opportunity.workload, opportunity.role) == (
        Kind.IDLE_RESERVATION, "serving", Role.ALLOCATION,
    )  # fmt: skip
    # 0.1 cores in use need 0.125: 0.375 of the 1.5 that are paid for are free.
    assert opportunity.gain == pytest.approx(0.25 / 0.75)
    assert opportunity.detail == "0.10 of 0.50 cores in use"


def test_an_idle_grant_is_no_saving_while_the_deadline_is_missed():
    assert Kind.IDLE_RESERVATION not in kinds(found(serving_cpu_used_cores=0.1, serving_within_slo_ratio=0.5))


def test_work_left_undone_at_a_full_grant_is_a_shortage_worth_what_is_missing():
    opportunity = found(ingest_written_per_second=40.0, ingest_cpu_used_cores=0.5)[0]
    assert (opportunity.kind, opportunity.workload) == (Kind.SHORTAGE, "ingest")
    assert opportunity.gain == pytest.approx(0.15 * 0.5 / (1.0 - 0.15 * 0.5))


def test_more_threads_than_cores_while_the_work_is_not_done_is_oversubscription():
    assert kinds(found(serving_goodput_per_second=20.0))[Kind.OVERSUBSCRIPTION] == "serving"
    single = SPEC.default_setting
    single[SPEC.knob_index("serving_threads")] = 1
    assert Kind.OVERSUBSCRIPTION not in kinds(found(setting=single, serving_goodput_per_second=20.0))


def test_full_batches_while_requests_wait_could_be_larger():
    assert kinds(found(serving_goodput_per_second=50.0, serving_batch_mean_size=8.0))[Kind.SMALL_BATCH] == "serving"
    assert Kind.SMALL_BATCH not in kinds(found(serving_goodput_per_second=50.0, serving_batch_mean_size=4.0))


def test_demand_that_will_be_back_beyond_what_the_grant_can_do_is_an_imminent_issue():
    recent, opportunities, seen = Recent(SPEC, outlook=True), Opportunities(SPEC), {}
    for rate in [150.0] * 40 + [100.0]:  # a lull, in which the grant carries no more than 111 per second
        readings = {"serving_arrivals_per_second": rate, "serving_goodput_per_second": rate}
        values = np.array([(HEALTHY | BUSY | readings).get(name, 0.0) for name in SPEC.catalogue.names])
        recent.append(Snapshot(0.0, values))
        seen = kinds(opportunities.find(recent, SPEC.default_setting, 0.0))
    assert seen == {Kind.IMMINENT_ISSUE: "serving"}


def test_missing_readings_are_no_opportunity():
    assert found(**dict.fromkeys(SPEC.catalogue.names, np.nan)) == []


def test_confidence_grows_with_the_periods_in_which_it_is_there_and_its_beginning_is_remembered():
    early, late = (found(periods, serving_cpu_used_cores=0.1)[0] for periods in (1, 3 * WINDOW_PERIODS))
    assert early.confidence == pytest.approx(1.0 / WINDOW_PERIODS)
    assert late.confidence > 0.9
    assert late.seen_at == early.seen_at == 0.0
