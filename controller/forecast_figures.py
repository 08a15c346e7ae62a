"""The figures of the forecasting service, as Prometheus text."""

from __future__ import annotations

from dataclasses import dataclass

from telemetry.exposition import Exposition
from telemetry.forecast_scores import MODEL, Scoreboard
from telemetry.issues import TARGETS
from telemetry.series_catalogue import Family
from telemetry.sweep import Sweep

PREFIX = "trimtab_forecast_"
_TABLE = """
skill_ratio gauge: 1 - Brier score of the model by that of the better baseline, in the last week.
brier_ratio gauge: Mean squared error of the probabilities in the last week.
fallback gauge: Whether others than the present model foretell, since it was worse than the baselines.
shown gauge: 1 for whose forecasts are shown: model, last_good, table or persistence.
scored_total counter: Forecasts that were held against what came true; acted: the controller had acted on them.
made_at_seconds gauge: End of the newest hour that the forecast knows, since 1970.
expires_at_seconds gauge: Time from which the forecast must not be used, since 1970.
metrics gauge: Metrics that are foretold.
round_seconds gauge: What the last forecast took.
failed_rounds_total counter: Forecasts that could not be made.
up gauge: Whether the service runs.
"""
FAMILIES = {
    PREFIX + head.split()[0]: Family(PREFIX + head.split()[0], head.split()[1], meaning)
    for head, _, meaning in (line.partition(": ") for line in _TABLE.strip().splitlines())
}


@dataclass
class RoundFigures:
    """What is known of the rounds.

    Attributes:
        made_at: seconds since 1970; NaN before the first, and then left out.
        expires_at: likewise.
        metrics: that are foretold.
        seconds: that the last round took.
        failed: rounds.
        up: whether the service runs.
    """

    made_at: float = float("nan")
    expires_at: float = float("nan")
    metrics: int = 0
    seconds: float = float("nan")
    failed: int = 0
    up: bool = True


def figures_text(rounds: RoundFigures, board: Scoreboard) -> str:
    """Prometheus text; what is not known yet is left out."""
    values = {
        "made_at_seconds": rounds.made_at, "expires_at_seconds": rounds.expires_at, "metrics": rounds.metrics,
        "round_seconds": rounds.seconds, "failed_rounds_total": rounds.failed, "up": float(rounds.up),
    }  # fmt: skip
    for target in (target.name for target in TARGETS):
        shown = board.shown[target]
        values[f'fallback{{horizon="{target}"}}'] = float(shown != MODEL)
        values[f'shown{{horizon="{target}",source="{shown}"}}'] = 1.0
        for acted, label in ((False, "no"), (True, "yes")):
            score, where = board.score(target, acted=acted), f'horizon="{target}",acted="{label}"'
            values[f"skill_ratio{{{where}}}"] = score.skill
            values[f"scored_total{{{where}}}"] = board.scored[target, acted]
            values |= {f'brier_ratio{{{where},source="{name}"}}': value for name, value in score.brier.items()}
    exposition = Exposition(FAMILIES.get)
    exposition.show(Sweep(0.0, {PREFIX + name: float(value) for name, value in values.items()}))
    return exposition.text().decode()
