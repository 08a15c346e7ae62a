import numpy as np

from agents.heuristics.static import StaticPolicy


def test_the_same_setting_whatever_is_observed(allocation, observe, spec):
    policy = StaticPolicy(allocation, spec.default_setting)
    batch = np.stack([observe(), observe(serving_cpu_used_cores=1.0)])
    decoded = allocation.decode(policy.act(batch), np.tile(spec.default_setting, (2, 1)))
    np.testing.assert_allclose(decoded, np.tile(spec.default_setting, (2, 1)))


def test_each_system_may_have_its_own_setting(tuning, observe, spec):
    settings = np.tile(spec.default_setting, (2, 1))
    settings[1, spec.knob_index("serving_batch_size")] = 64
    actions = StaticPolicy(tuning, settings).act(np.stack([observe(), observe()]))
    np.testing.assert_array_equal(actions, tuning.encode(settings))
