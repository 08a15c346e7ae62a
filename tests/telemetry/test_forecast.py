"""The forecaster on many metrics at once."""

import numpy as np
import pytest

from telemetry.climatology import PAST_HOURS
from telemetry.forecast import MIN_MODEL_HOURS, MIN_TABLE_HOURS, Forecaster, table_probabilities
from telemetry.forecast_features import NAMES
from telemetry.issues import TARGETS

RNG = np.random.default_rng(0)
PAST = RNG.normal(size=(4, PAST_HOURS))
PAST[1, MIN_MODEL_HOURS - 1 :] = np.nan  # too young for a model
PAST[2, MIN_TABLE_HOURS - 1 :] = np.nan  # too young for the table
LIMIT = np.ones(4)


class Constant:
    """A model that has one answer."""

    def predict(self, features):
        assert features.shape[1] == len(NAMES)
        return np.full(len(features), 0.77)


def test_without_models_the_table_speaks():
    found = Forecaster().probabilities(PAST, LIMIT)
    for name, expected in table_probabilities(PAST, LIMIT).items():
        np.testing.assert_array_equal(found[name], expected)


def test_a_model_speaks_for_grown_metrics_the_table_for_young_ones_and_nobody_for_the_newest():
    found = Forecaster({"6h": Constant()}).probabilities(PAST, LIMIT)
    table = table_probabilities(PAST, LIMIT)
    assert found["6h"][[0, 3]].tolist() == [0.77, 0.77]
    assert found["6h"][1] == table["6h"][1]
    assert np.isnan(found["6h"][2])
    np.testing.assert_array_equal(found["1h"], table["1h"])


@pytest.mark.parametrize("target", [target.name for target in TARGETS])
def test_the_answer_does_not_depend_on_the_other_metrics(target):
    whole = Forecaster().probabilities(PAST, LIMIT)[target]
    alone = Forecaster().probabilities(PAST[3:], LIMIT[3:])[target]
    assert whole[3] == alone[0]
