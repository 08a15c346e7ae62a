from __future__ import annotations

import itertools

import numpy as np
import pytest

from training.measure_host import PIECES, measure, strays


def test_each_piece_of_work_is_timed_once_a_second() -> None:
    ticks, naps = itertools.count(), []
    costs = measure(3, clock=lambda: next(ticks) * 0.5, sleep=naps.append)
    assert {name: cost.tolist() for name, cost in costs.items()} == {name: [0.5] * 3 for name in PIECES}
    assert len(naps) == 3


def test_noise_shows_at_once_and_a_wander_with_time() -> None:
    rng = np.random.default_rng(0)
    noise = np.exp(rng.normal(0.0, 0.02, 3000))
    wander = np.exp(np.cumsum(rng.normal(0.0, 0.005, 3000)))
    rows = {row["work"]: row for row in strays({"noise": noise, "wander": wander, "short": noise[:100]})}
    assert float(rows["noise"]["1 s"].rstrip("%")) == pytest.approx(2.0, rel=0.1)
    assert float(rows["noise"]["300 s"].rstrip("%")) == pytest.approx(2.0, rel=0.1)
    assert float(rows["wander"]["300 s"].rstrip("%")) > 5 * float(rows["wander"]["1 s"].rstrip("%"))
    assert rows["short"]["300 s"] == ""
