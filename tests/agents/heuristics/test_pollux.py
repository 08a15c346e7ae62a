import pytest

from agents.heuristics.pollux import PolluxParameters, PolluxPolicy

BATCH = "training_batch_size"


def policy(task, **parameters):
    return PolluxPolicy(task, task.spec.default_setting, PolluxParameters(**parameters))


def step(batch, noise=128.0, fixed=0.02, each=0.0004, samples=200.0):
    """What is read of training with a batch size, step time fixed + each * batch and a noise scale."""
    efficiency = min((noise + 32.0) / (noise + batch), 1.0)
    return {
        "training_samples_per_second": samples,
        "training_goodput_per_second": samples * efficiency,
        "training_cpu_used_cores": samples * (fixed / batch + each),
    }


def test_without_readings_the_priors_decide(tuning, follow):
    # b* = sqrt(128 * 32) = 64: goodput 64 / 96 * 160 / 192 = 0.556 instead of 32 / 64 = 0.5.
    assert follow(tuning, policy(tuning), BATCH, [{}]) == [64]


def test_a_small_gain_is_not_worth_a_move(tuning, follow):
    assert follow(tuning, policy(tuning, gain=1.2), BATCH, [{}]) == [32]  # 0.556 / 0.5 = 1.11


def test_a_batch_is_never_below_the_base(tuning, follow, spec):
    start = spec.default_setting
    start[spec.knob_index(BATCH)] = 128
    assert follow(tuning, policy(tuning, noise_scale=16.0, overhead_samples=4.0), BATCH, [{}], start=start) == [32]


def test_cost_seen_at_one_batch_size_does_not_move_the_prior(tuning, observe):
    rule = policy(tuning, overhead_samples=40.0)
    for _ in range(20):
        rule.act(observe(**step(32, fixed=0.09)))
    assert rule.overhead_samples() == pytest.approx(40.0, rel=1e-3)


def test_cost_seen_at_two_batch_sizes_gives_the_overhead(tuning, observe, spec):
    rule = policy(tuning, overhead_samples=20.0, prior_periods=0.01)
    setting = spec.default_setting
    for batch in [32, 128] * 50:
        setting[spec.knob_index(BATCH)] = batch
        rule.act(observe(setting, **step(batch, fixed=0.04, each=0.0004)))
    assert rule.overhead_samples() == pytest.approx(100.0, rel=0.02)


def test_efficiency_seen_above_the_base_gives_the_noise_scale(tuning, observe, spec):
    rule = policy(tuning, prior_periods=1.0)
    setting = spec.default_setting
    setting[spec.knob_index(BATCH)] = 128
    for _ in range(200):
        rule.act(observe(setting, **step(128, noise=300.0)))
    # The geometric mean of the prior, 128, that counts once, and 300, that counts 119 times (half-life 120 periods).
    assert rule.noise_scale() == pytest.approx(300.0, rel=0.02)


def test_efficiency_at_the_base_says_nothing_of_the_noise(tuning, observe):
    rule = policy(tuning)
    rule.act(observe(**step(32, noise=300.0)))
    assert rule.noise_scale() == pytest.approx(128.0)


@pytest.mark.parametrize("missing", list(step(32)))
def test_a_missing_reading_teaches_nothing(tuning, observe, spec, missing):
    setting = spec.default_setting
    setting[spec.knob_index(BATCH)] = 128
    rule = policy(tuning)
    rule.act(observe(setting, **step(128, noise=300.0) | {missing: float("nan")}))
    assert rule.noise_scale() == pytest.approx(128.0)
    assert rule.overhead_samples() == pytest.approx(32.0)


def test_it_ends_close_to_the_batch_size_of_most_goodput(tuning, follow):
    # With a noise scale of 200 and an overhead of 50 samples, sqrt(200 * 50) = 100; the readings follow the batch.
    rule, batch = policy(tuning, prior_periods=1.0, gain=1.001), 32.0
    setting = tuning.spec.default_setting
    for _ in range(300):
        setting[tuning.spec.knob_index(BATCH)] = batch
        (batch,) = follow(tuning, rule, BATCH, [step(batch, noise=200.0, fixed=0.02, each=0.0004)], start=setting)
    goodput = [b / (50 + b) * 232 / (200 + b) for b in (batch, 100.0)]
    assert goodput[0] >= 0.98 * goodput[1]
