"""What may be set about the control loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from controller.competence import CompetenceConfig
from controller.decision import Mode
from controller.prescale import PrescaleConfig
from controller.recoverability import RecoverabilityConfig
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
    recoverability: RecoverabilityConfig = field(default_factory=RecoverabilityConfig)
    """What may be taken from a workload."""
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
    """With more, the mode falls by one rung (act, canary, advise, shadow), until an operator says otherwise. Default:
    with its growing pauses, one role of one workload gets to seven; twenty means that hardly anything succeeds."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Knob -> (low, high), narrower than the spec's. A knob that is outside is led inside by the largest step per
    period, at the operator's order: without a trial."""
    advice_seconds: float = 300.0
    """In mode `advise`, how long a change waits for `trimtab control approve`. Default: five minutes, long enough to
    look at it, short enough that the load is still the one that it was meant for."""
    canary_step: float = 0.5
    """In mode `canary`, share of the largest step that one change may make, from above 0 to 1."""
    modes: Mapping[str, Mode] = field(default_factory=dict)
    """Workload -> mode that it may have at most, whatever `trimtab control mode` says."""

    def plain(self) -> dict[str, Any]:
        """For the journal, floats exact."""
        return {**asdict(self), "bounds": {name: list(ends) for name, ends in self.bounds.items()}}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> ControllerConfig:
        """The configuration that `plain` was made of. What a user wrote is checked by `controller.config_file`.

        Raises:
            KeyError, ValueError, TypeError: it was made of none.
        """
        bounds = {name: (float(low), float(high)) for name, (low, high) in plain["bounds"].items()}
        modes = {workload: Mode(mode) for workload, mode in plain.get("modes", {}).items()}  # none in older journals
        before = {"recoverability": {"enabled": False}}  # in journals of controllers that had none
        config: ControllerConfig = _filled(cls(), {**before, **plain, "bounds": bounds, "modes": modes})
        return config


def _filled(table: Any, plain: Mapping[str, Any]) -> Any:
    """A dataclass with the values of `plain`, also in the dataclasses that it holds."""
    parts = {field.name: getattr(table, field.name) for field in fields(table)}
    nested = {name: _filled(part, plain[name]) for name, part in parts.items() if is_dataclass(part)}
    return replace(table, **{**plain, **nested})
