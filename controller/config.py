"""What may be set about the control loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.prescale import PrescaleConfig
from controller.shield import ShieldConfig
from controller.trial import TrialConfig


@dataclass(frozen=True)
class ControllerConfig:
    """Everything about the loop that may be set."""

    shield: ShieldConfig = field(default_factory=ShieldConfig)
    """Limits that no policy can exceed."""
    trial: TrialConfig = field(default_factory=TrialConfig)
    """When a change counts as harmful."""
    prescale: PrescaleConfig = field(default_factory=PrescaleConfig)
    """When forecasts raise a grant."""
    yield_seconds: float = 60.0
    """How long a knob is left alone after somebody else changed it. Default: a minute to think, or to pin it."""
    blind_seconds: float = 120.0
    """After so long without the readings that SLOs are made of, the setting found at start is restored. Default: long
    enough for a component to restart, too short for a peak to build up unseen."""
    rollbacks_per_hour: int = 20
    """With more, the controller only watches from then on (mode shadow), until an operator says otherwise. Default:
    with its growing pauses, one role of one workload gets to seven; twenty means that hardly anything succeeds."""
