"""Over which level a series has an issue."""

import numpy as np
import pytest

from telemetry.watched import Watched
from telemetry.watched_limits import LimitError, Limits

LEVELS = np.arange(100.0)
SLOS = {"lag_seconds": (3.0, False), "within_slo_ratio": (0.95, True)}


def test_a_given_limit_is_before_an_slo_and_an_slo_before_what_is_usual():
    limits = Limits({"lag_seconds": 5.0}, SLOS)
    assert limits.of(Watched("lag_seconds", LEVELS, 0.0)) == 5.0
    assert limits.of(Watched('lag_seconds{host="a"}', LEVELS, 0.0)) == 3.0
    assert limits.of(Watched("load", LEVELS, 0.0)) == np.quantile(LEVELS, 0.98)


def test_limits_of_mirrored_series_are_negated():
    limits = Limits({}, SLOS)
    assert limits.mirrored == {"within_slo_ratio"}
    assert limits.of(Watched("within_slo_ratio", -LEVELS, 0.0, mirrored=True)) == -0.95
    assert Limits({"within_slo_ratio": 0.9}, SLOS).of(Watched("within_slo_ratio", -LEVELS, 0.0, mirrored=True)) == -0.9


def test_limits_of_nothing_are_refused():
    with pytest.raises(LimitError, match="lag_second: no such series here; did you mean lag_seconds"):
        Limits({"lag_second": 1.0}).check(["lag_seconds"])
    with pytest.raises(LimitError, match="SLOs on lag_seconds, within_slo_ratio"):
        Limits({}, SLOS).check(["load"])
    Limits({}, SLOS).check(["load", 'lag_seconds{host="a"}'])
