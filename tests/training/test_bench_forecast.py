"""The cost of foretelling."""

from telemetry.forecast import Forecaster
from training.bench_forecast import bench_forecast


def test_the_cost_of_a_prediction_is_told_without_training_when_asked():
    found = bench_forecast(Forecaster(), metrics=30, train=False)
    assert found["metrics"] == 30
    assert 0.0 < found["predict_seconds"] < 1.0
    assert found["first_look_seconds"] > 0.0
    assert found["train_seconds"] is None
