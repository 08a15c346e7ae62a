from __future__ import annotations

import dataclasses

import numpy as np

from telemetry.sweep import RowValues, Sweep

NAMES = ("a", "b", "c")


def test_the_row_and_the_values_by_name_say_the_same() -> None:
    row = np.array([1.0, np.nan, 3.0])
    sweep = Sweep(0.0, RowValues(NAMES, row))
    assert sweep.names is NAMES
    assert sweep.row is row
    assert sweep.values == {"a": 1.0, "c": 3.0}
    assert "b" not in sweep.values
    assert len(sweep.values) == 2


def test_a_sweep_of_a_plain_mapping_has_a_row_too() -> None:
    sweep = Sweep(0.0, {"x": 1.0, "y": 2.0})
    assert sweep.names == ("x", "y")
    np.testing.assert_array_equal(sweep.row, [1.0, 2.0])


def test_a_sweep_with_other_values_has_another_row() -> None:
    sweep = Sweep(0.0, RowValues(NAMES, np.arange(3.0)))
    assert sweep.row.tolist() == [0.0, 1.0, 2.0]
    kept = dataclasses.replace(sweep, values={"a": 5.0})
    assert kept.names == ("a",)
    assert kept.row.tolist() == [5.0]
