"""Probabilities of issues ahead, of many metrics at once: one boosted model per target, or the hour-of-day table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from telemetry.climatology import issue_frequency
from telemetry.forecast_features import common_features, target_features
from telemetry.issues import DAY_HOURS, HOUR, TARGETS

MIN_MODEL_HOURS = 72
"""Known hours below which the table speaks alone: the model has seen no younger metric."""
MIN_TABLE_HOURS = DAY_HOURS
"""Known hours below which nothing is said."""
VALID_SECONDS = 2 * HOUR
"""A prediction expires that long after the newest hour that it knows; a new one comes every hour."""


class Classifier(Protocol):
    """What gives a probability to each row of features."""

    def predict(self, features: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Forecaster:
    """Foretells issues.

    Attributes:
        models: by name of the target; a target without one is foretold by the table.
        card: how the models were made; thresholds by target under `thresholds`.
    """

    models: Mapping[str, Classifier] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)

    def probabilities(self, past: np.ndarray, limit: np.ndarray) -> dict[str, np.ndarray]:
        """Chance of each target's issue.

        Args:
            past: (N, PAST_HOURS) hourly levels, newest first.
            limit: (N,) in each metric's unit.

        Returns:
            By target (N,) in (0, 1); NaN for metrics of which less than a day is known.
        """
        known = (~np.isnan(past)).sum(axis=1)
        young = known < MIN_MODEL_HOURS
        found = table_probabilities(past, limit)
        if not self.models or young.all():
            return found
        old = ~young
        common = common_features(past[old], limit[old])
        for target in TARGETS:
            if target.name in self.models:
                own = target_features(past[old], limit[old], target)
                found[target.name][old] = self.models[target.name].predict(np.concatenate([common, own], axis=1))
        return found


def table_probabilities(past: np.ndarray, limit: np.ndarray) -> dict[str, np.ndarray]:
    """The hour-of-day table alone, by target (N,); NaN for metrics of which less than a day is known."""
    unknown = (~np.isnan(past)).sum(axis=1) < MIN_TABLE_HOURS
    return {t.name: np.where(unknown, np.nan, issue_frequency(past, limit, t)) for t in TARGETS}
