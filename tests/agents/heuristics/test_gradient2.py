from agents.heuristics.gradient2 import Gradient2Parameters, Gradient2Policy

BATCH = "serving_batch_size"
BUSY = {"serving_arrivals_per_second": 200.0}


def policy(task, **parameters):
    return Gradient2Policy(task, task.spec.default_setting, Gradient2Parameters(**parameters))


def seconds(*latencies):
    return [BUSY | {"serving_latency_p50_seconds": latency} for latency in latencies]


def test_the_limit_grows_by_a_share_of_the_queue_while_latency_is_steady(tuning, follow):
    # 0.8 * 8 + 0.2 * (8 + 40) = 16 (and the knob is whole): then 0.8 * 16 + 0.2 * 56 = 24.
    assert follow(tuning, policy(tuning, queue=40.0), BATCH, seconds(0.1, 0.1)) == [16, 24]


def test_the_limit_shrinks_with_the_gradient_of_latency(tuning, follow):
    # The long average is 0.1, then (0.1 + 0.5) / 2: g = 1.5 * 0.3 / 0.5 = 0.9, at full smoothing 0.9 * 28 = 25.2.
    rule = policy(tuning, queue=20.0, smoothing=1.0)
    first, second = follow(tuning, rule, BATCH, seconds(0.1, 0.5))
    assert first == 28
    assert second == round(0.9 * 28 + 20)


def test_the_gradient_is_one_half_at_least(tuning, follow):
    # g = 1.5 * (0.1 + 3) / 2 / 3 = 0.775 with one early reading; with nine it would be 0.195.
    rule = policy(tuning, queue=1e-9, smoothing=1.0)
    assert follow(tuning, rule, BATCH, seconds(*[0.1] * 9, 3.0))[-1] == 4


def test_a_limit_that_holds_nothing_back_stays(tuning, follow):
    # 20 per second for 0.1 s: 2 inflight, less than half of 8.
    idle = {"serving_arrivals_per_second": 20.0, "serving_latency_p50_seconds": 0.1}
    assert follow(tuning, policy(tuning, queue=40.0), BATCH, [idle] * 3) == [8, 8, 8]


def test_an_old_average_that_is_far_too_long_gives_way(tuning, follow):
    # The average of 5 and 0.1 is 2.55, then 0.95 of it and so on: the first steady latencies do not shrink the limit.
    assert follow(tuning, policy(tuning, queue=4.0), BATCH, seconds(5.0, *[0.1] * 5))[-1] >= 8


def test_steps_within_the_dead_band_add_up(tuning, follow):
    # 8.2 is never made from 8; but 8, 8.2, 8.4, ... reaches 10 in the eleventh.
    assert follow(tuning, policy(tuning, queue=1.0), BATCH, seconds(*[0.1] * 12))[-1] >= 10


def test_a_missing_latency_moves_nothing(tuning, follow):
    assert follow(tuning, policy(tuning, queue=40.0), BATCH, seconds(float("nan"), float("nan"))) == [8, 8]


def test_the_other_tuning_knobs_are_held(tuning, follow, spec):
    setting = spec.default_setting
    setting[spec.knob_index("training_batch_size")] = 64
    rule = Gradient2Policy(tuning, setting)
    assert follow(tuning, rule, "training_batch_size", seconds(0.1)) == [64]
