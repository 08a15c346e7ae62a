"""Every plant we ship conforms, and the conformance test finds those that do not."""

import numpy as np
import pytest

from envs.plant import PlantError, check_plant
from plants import FakeClock, ToyPlant, ValleyPlant


@pytest.mark.parametrize("plant", [ToyPlant(), ValleyPlant()], ids=["toy", "valley"])
def test_toy_plants_conform(plant):
    before = plant.setting
    check_plant(plant)
    assert (plant.setting == before).all()


class LeakyPlant(ToyPlant):
    """Hands out its own array."""

    @property
    def setting(self):
        return self._setting


class BoundlessPlant(ToyPlant):
    """Applies whatever is asked for."""

    def apply(self, setting):
        super().apply(setting)
        self._setting = np.array(setting, dtype=float)


class StoppedPlant(ToyPlant):
    """Its time stands still."""

    def advance(self, seconds):
        return super().advance(0.0)


class InventingPlant(ToyPlant):
    """Reports infinity where it has no reading."""

    def _readings(self):
        return super()._readings() | {"serving_latency_p99_seconds": np.inf}


@pytest.mark.parametrize(
    ("plant", "rule"),
    [(LeakyPlant, "copy"), (BoundlessPlant, "bounds"), (StoppedPlant, "time went"), (InventingPlant, "NaN")],
)
def test_a_plant_that_breaks_a_rule_is_named(plant, rule):
    with pytest.raises(AssertionError, match=rule):
        check_plant(plant())


def test_toy_reads_what_was_injected_once():
    plant = ToyPlant()
    index = plant.spec.catalogue.index("ingest_lag_seconds")
    plant.next_reading(ingest_lag_seconds=7.0)
    assert [plant.advance(1.0).values[index] for _ in range(2)] == [7.0, 0.5]


def test_toy_drops_metrics_for_as_long_as_told():
    plant = ToyPlant()
    index = plant.spec.catalogue.index("ingest_lag_seconds")
    plant.drop("ingest_lag_seconds", periods=2)
    assert [np.isnan(plant.advance(1.0).values[index]) for _ in range(3)] == [True, True, False]


def test_toy_fails_only_for_the_chosen_knob():
    plant = ToyPlant()
    index = plant.spec.knob_index("serving_batch_size")
    plant.fail("serving_batch_size")
    plant.apply(plant.setting)
    with pytest.raises(PlantError, match="serving_batch_size"):
        plant.apply(plant.setting + np.eye(len(plant.spec.knobs))[index])
    assert plant.setting[index] == 8


def test_toy_applies_something_else_where_bent():
    plant = ToyPlant()
    plant.bend(serving_batch_size=4)
    plant.apply(plant.spec.default_setting)
    assert plant.setting[plant.spec.knob_index("serving_batch_size")] == 4


def test_toy_moves_the_clock_it_was_given():
    clock = FakeClock(100.0)
    assert ToyPlant(clock=clock).advance(2.5).time == 102.5 == clock()


def test_valley_is_best_at_its_bottom():
    plant = ValleyPlant()
    index = plant.spec.catalogue.index("serving_goodput_per_second")
    best = plant.advance(1.0).values[index]
    plant.apply(plant.setting * 1.2)
    assert plant.advance(1.0).values[index] < best == 100.0
