import numpy as np
import pytest

from envs.spec import RESOURCES
from training.rollout import Rollout
from training.scores import count_flaps, efficiency, price, score_rollout, useful_work, weight_variants

CALM = {"serving_within_slo_ratio": 1.0, "serving_accuracy_ratio": 0.9, "serving_arrivals_per_second": 100.0}


@pytest.fixture
def played(spec):
    """played([readings of period 0], [of period 1], ..., settings=...) -> Rollout of one system."""

    def build(*periods, settings=None):
        values = np.zeros((len(periods), 1, len(spec.metrics)))
        for t, readings in enumerate(periods):
            for name, value in (CALM | readings).items():
                values[t, 0, spec.catalogue.index(name)] = value
        inside = np.tile(spec.default_setting, (len(periods), 1, 1)) if settings is None else settings
        previous = np.concatenate([spec.default_setting[None, None], inside[:-1]])
        return Rollout(values, inside, previous)

    return build


def test_work_and_resources_are_means_over_the_episode(spec, played):
    scores = score_rollout(
        spec,
        played(
            {"serving_goodput_per_second": 100.0, "serving_memory_bytes": 2.0**30},
            {"serving_goodput_per_second": 50.0, "serving_memory_bytes": 2.0**31},
        ),
    )
    assert scores.work[0].tolist() == [75.0, 0.0, 0.0]
    assert scores.reserved[0].tolist() == [1.5, 1.5, 0.0, 0.0]
    assert scores.used[0].tolist() == [0.0, 1.5, 0.0, 0.0]


def test_a_missing_reading_counts_as_slo_not_held_and_leaves_the_means_alone(spec, played):
    missing = {"serving_within_slo_ratio": np.nan, "serving_goodput_per_second": np.nan}
    scores = score_rollout(spec, played({"serving_goodput_per_second": 100.0}, missing))
    assert scores.slo_attainment.tolist() == [0.5]
    assert scores.work[0, 0] == 100.0


def test_a_figure_without_any_reading_is_not_a_number(spec):
    values = np.full((2, 1, len(spec.metrics)), np.nan)
    settings = np.tile(spec.default_setting, (2, 1, 1))
    scores = score_rollout(spec, Rollout(values, settings, settings))
    assert np.isnan(scores.work).all()
    assert scores.slo_attainment.tolist() == [0.0]


def test_requests_within_the_deadline_are_counted_by_request_not_by_period(spec, played):
    scores = score_rollout(
        spec,
        played(
            {"serving_arrivals_per_second": 300.0, "serving_goodput_per_second": 150.0},
            {"serving_arrivals_per_second": 100.0, "serving_goodput_per_second": 100.0},
        ),
    )
    assert scores.within_slo[0] == pytest.approx(250 / 400)


def test_latency_is_weighted_by_requests(spec, played):
    scores = score_rollout(
        spec,
        played(
            {"serving_arrivals_per_second": 300.0, "serving_latency_p99_seconds": 0.1},
            {"serving_arrivals_per_second": 100.0, "serving_latency_p99_seconds": 0.5},
        ),
    )
    assert scores.latency_p99[0] == pytest.approx(0.2)


def test_changes_are_periods_in_which_any_knob_moved(spec, played):
    settings = np.tile(spec.default_setting, (4, 1, 1))
    settings[1:, 0, 0] = 0.6
    settings[1:, 0, 3] = 16
    settings[3, 0, 1] = 0.4
    assert score_rollout(spec, played({}, {}, {}, {}, settings=settings)).changes.tolist() == [2]


@pytest.mark.parametrize(
    ("moves", "flaps"),
    [
        ([1, -1], 1),
        ([1, 1, 1], 0),
        ([1, 0, 0, -1, 0, 1], 2),
        ([1] + [0] * 9 + [-1], 1),  # 10 periods later
        ([1] + [0] * 10 + [-1], 0),  # 11 periods later
        ([0, -1, 0], 0),
    ],
)
def test_a_flap_is_a_reversal_within_ten_periods(moves, flaps):
    one_knob = np.array(moves, dtype=float)[:, None, None]
    assert count_flaps(one_knob).tolist() == [flaps]


def test_useful_work_is_the_share_of_the_wanted_work_weighted_by_value(spec, played):
    half = score_rollout(spec, played({"serving_goodput_per_second": 50.0}))  # of 100 that arrive
    assert useful_work(spec, half) == pytest.approx([0.5 * 0.5 + 0.35 + 0.15])


def test_working_off_a_backlog_from_before_the_episode_does_not_count(spec, played):
    more = score_rollout(spec, played({"serving_goodput_per_second": 170.0}))
    assert useful_work(spec, more) == pytest.approx([1.0])


def test_price_of_resources_in_cores(spec):
    assert price(spec, np.array([1.5, 2.0, 10.0, 5.0])) == pytest.approx(1.5 + 0.26 + 0.02 + 0.05)


def test_efficiency_is_work_over_price_both_relative(spec, played):
    static = score_rollout(spec, played(dict.fromkeys(("serving_goodput_per_second",), 50.0)))
    half = np.tile(spec.default_setting, (1, 1, 1))
    half[..., :3] = 0.25
    scores = score_rollout(spec, played({"serving_goodput_per_second": 50.0}, settings=half))
    assert efficiency(spec, scores, static) == pytest.approx([2.0])
    assert efficiency(spec, static, static) == pytest.approx([1.0])


def test_a_reference_that_does_nothing_gives_no_ratio(spec, played):
    wanted = dict.fromkeys((objective.wanted for objective in spec.workloads.values()), 10.0)
    collapsed, healthy = (
        score_rollout(spec, played(wanted | dict.fromkeys((o.done for o in spec.workloads.values()), done)))
        for done in (0.0, 10.0)
    )
    assert np.isnan(efficiency(spec, healthy, collapsed)).all()
    assert efficiency(spec, collapsed, healthy) == pytest.approx([0.0])


def test_a_reference_that_serves_nothing_still_gives_a_finite_ratio(spec, played):
    collapsed = score_rollout(spec, played({"serving_goodput_per_second": 0.0}))
    scores = score_rollout(spec, played({"serving_goodput_per_second": 100.0}))
    assert efficiency(spec, scores, collapsed) == pytest.approx([2.0])


def test_each_weight_is_halved_and_doubled_alone(spec):
    variants = weight_variants(spec)
    assert len(variants) == 2 * (3 + len(RESOURCES))
    values, prices = variants["value/training x2"]
    assert values.tolist() == [0.5, 0.7, 0.15]
    assert prices[0] == 1.0
    assert variants["price/cpu_cores x0.5"][1][0] == 0.5
