"""What may be set about the control loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.competence import CompetenceConfig
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
    competence: CompetenceConfig = field(default_factory=CompetenceConfig)
    """How the policies are held against their fallback; not at all by default."""
    prescale: PrescaleConfig = field(default_factory=PrescaleConfig)
    """When forecasts raise a grant."""
    yield_seconds: float = 60.0
    """How long a knob is left alone after somebody else changed it. Default: a minute to think, or to pin it."""
    blind_seconds: float = 120.0
    """After so long without the readings that SLOs are made of, the setting found at start is restored. Default: long
    enough for a component to restart, too short for a peak to build up unseen."""
    rollback_tries: int = 3
    """Periods in which a rollback may fail on a system that answers; then everything returns to what was found, and
    nothing new is tried until an operator resumes. Default 3: an actuator that acts a period late needs 2."""
    infeasible_seconds: float = 60.0
    """How long a value is left alone that was asked for and changed nothing; doubled by each further failure."""
    longest_infeasible_seconds: float = 21600.0
    least_slo_attainment: float = 0.5
    """Least share of an hour's periods in which every SLO held while the controller was acting; below, it falls one
    rung. Default a half: a system that is overloaded at its daily peak must not lose its controller then, and one that
    keeps its SLOs less often than that is not helped by this one."""
    least_attainment_seconds: float = 600.0
    """Shortest time from which that share is told."""
    rollbacks_per_hour: int = 20
    """With more, the controller only watches from then on (mode shadow), until an operator says otherwise. Default:
    with its growing pauses, one role of one workload gets to seven; twenty means that hardly anything succeeds."""
