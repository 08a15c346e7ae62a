import pytest

from training.bench import TrainBudget, bench_train


def test_training_speed_is_given_beside_the_yardstick_of_the_same_run():
    found = bench_train(TrainBudget(seconds=0.3, probe_steps=8_192, rollout_steps=16, episodes=4))
    ours, theirs = found["steps_per_second"], found["sb3_default_steps_per_second"]
    assert found["ratio_to_sb3_default"] == pytest.approx(ours / theirs)
    assert ours > theirs
    assert set(found["return_at_equal_wall_clock"]) == {"sb3_default", "trimtab"}
    assert found["wall_seconds"]["sb3_default"] >= 0.3
