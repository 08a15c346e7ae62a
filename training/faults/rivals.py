"""The documented rules of comparable systems, as small as they can be told; each with where it is documented.

They are our own words for what their documents and sources say, not their code, and only the rule at stake.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Reading = float | None
"""What a metric's source answers: a number, NaN and infinities included, or None for no value at all."""
SYNC_SECONDS = 15.0
WINDOW_SECONDS = 300.0
"""Kubernetes' defaults: how often the horizontal autoscaler looks, and its scale-down stabilization."""


class Scaler:
    """Something that chooses a capacity from a metric, once per `SYNC_SECONDS`.

    Attributes:
        name: of the system.
        source: where its rule is documented.
    """

    name, source = "", ""

    def __init__(self, capacity: float = 10.0, target: float = 10.0) -> None:
        self.capacity, self.target = capacity, target

    def step(self, reading: Reading) -> float:
        """The capacity from now on."""
        raise NotImplementedError


class Hpa(Scaler):
    """Kubernetes' horizontal pod autoscaler: no metric, no scaling; down only to the highest wish of five minutes."""

    name = "HPA"
    source = "kubernetes.io, Horizontal Pod Autoscaling, Algorithm details and Stabilization window"

    def __init__(self, capacity: float = 10.0, target: float = 10.0) -> None:
        super().__init__(capacity, target)
        self._wishes: deque[float] = deque(maxlen=int(WINDOW_SECONDS / SYNC_SECONDS))

    def step(self, reading: Reading) -> float:
        """Ceiling of metric over target; held where there is no metric."""
        if reading is None or not math.isfinite(reading):
            return self.capacity  # a metric that cannot be fetched: the scale-down is skipped
        wish = max(1.0, math.ceil(reading / self.target))
        self._wishes.append(wish)
        self.capacity = wish if wish > self.capacity else min(self.capacity, max(self._wishes))
        return self.capacity


class Keda(Hpa):
    """KEDA's Prometheus scaler in front of it: no result, NaN and infinity count as 0 (`ignoreNullValues: true`)."""

    name = "KEDA"
    source = "kedacore/keda, pkg/scalers/prometheus_scaler.go, ExecutePromQuery; keda.sh, Prometheus, ignoreNullValues"

    def step(self, reading: Reading) -> float:
        """As the horizontal autoscaler does with what is left."""
        return super().step(0.0 if reading is None or not math.isfinite(reading) else reading)


class SelfTune(Scaler):
    """SelfTune's Bluefin: center += eta / delta * reward * direction; the reward is not looked at."""

    name = "SelfTune"
    source = "microsoft/SelfTune, selftune_core/backends/bluefin/bluefin.py, set_reward and compute_new_center"

    def __init__(self, capacity: float = 10.0, target: float = 10.0) -> None:
        super().__init__(capacity, target)
        self._center, self._rng = 0.5, np.random.default_rng(123)

    def step(self, reading: Reading) -> float:
        """The next point that is tried."""
        if reading is None:
            return self.capacity  # no reward was set: the same point again
        direction = 1.0 if self._rng.random() < 0.5 else -1.0
        eta, delta = 0.01, 0.1
        self._center = float(np.clip(self._center + eta * (reading / 100.0) * direction / delta, delta, 1.0 - delta))
        self.capacity = 20.0 * (self._center + delta * direction)
        return self.capacity


class Captain(Scaler):
    """Autothrottle's Captain: twice the limit when throttled, down to the largest recent use when not."""

    name = "Autothrottle"
    source = "microsoft/autothrottle, worker-daemon.py, CaptainScaler, run and process_client"

    def step(self, reading: Reading) -> float:
        """The CPU limit; usage comes from the kernel, and one that is missing ends the thread."""
        if reading is None:
            return self.capacity
        self.capacity = max(0.1, min(2.0 * self.capacity, max(0.5 * self.capacity, reading / self.target * 1.1)))
        return self.capacity

    def after_death(self) -> float:
        """What is in force when the daemon or its client is gone: the loop just ends."""
        return self.capacity


@dataclass
class Vpa:
    """Vertical pod autoscaler, in place: a resize that the node refused is remembered in the updater's memory."""

    name = "VPA"
    source = "kubernetes/autoscaler, AEP-9726 and vertical-pod-autoscaler/pkg/updater, infeasibleAttempts"
    infeasible: set[float] = field(default_factory=set)

    def asks(self, wanted: float) -> bool:
        """Whether a value is asked for."""
        return wanted not in self.infeasible

    def refused(self, wanted: float) -> None:
        """It was infeasible."""
        self.infeasible.add(wanted)

    def restarted(self) -> Vpa:
        """The updater's next process."""
        return Vpa()


class Judge:
    """Something that says whether a change may stay; latency is what is watched, and less is better.

    Attributes:
        name: of the system.
        source: where its rule is documented.
    """

    name, source = "", ""

    def verdict(self, before: Sequence[float], after: Sequence[Reading]) -> str:
        """`pass`, `fail` or `hold`."""
        raise NotImplementedError


class Kayenta(Judge):
    """Spinnaker's judge: NaN removed (or taken for 0), no data is NODATA, which does not fail the canary."""

    name = "Kayenta"
    source = "spinnaker.io, How canary judgment works; kayenta-judge, Transforms.scala and MannWhitneyClassifier.scala"

    def verdict(self, before: Sequence[float], after: Sequence[Reading]) -> str:
        """By whether the change lies a quarter above, as its effect size of 0.25 does it."""
        left = [value for value in after if value is not None and not math.isnan(value)]
        if not left:
            return "pass"  # NODATA: left out of the score, which the other metrics make
        return "fail" if float(np.median(left)) > 1.25 * float(np.median(before)) else "pass"


class Argo(Judge):
    """Argo Rollouts with a failureCondition alone: what does not fail is Successful."""

    name = "Argo Rollouts"
    source = "argoproj/argo-rollouts, utils/evaluate/evaluate.go, EvaluateResult; docs, Handling NaN and Infinity"

    def verdict(self, before: Sequence[float], after: Sequence[Reading]) -> str:
        """`failureCondition: len(result) > 0 && result[0] > bound`, as its documents advise for empty results."""
        bound = 1.25 * float(np.median(before))
        return "fail" if any(value is not None and value > bound for value in after) else "pass"


class Flagger(Judge):
    """Flagger: no value halts the advancement; a rate fails below its least value, and nothing bounds it above.

    NaN is taken for no value, in Flagger's favour: the version of its source that was read compares it.
    """

    name = "Flagger"
    source = "fluxcd/flagger, pkg/controller/scheduler_metrics.go, runMetricChecks; pkg/metrics/providers/prometheus.go"

    def verdict(self, before: Sequence[float], after: Sequence[Reading]) -> str:
        """On a success rate of at least 0.95: a latency over its bound is a request that failed."""
        bound = 1.25 * float(np.median(before))
        if any(value is None or math.isnan(value) for value in after):
            return "hold"
        rates = [value if value == math.inf else float(value <= bound) for value in after if value is not None]
        return "fail" if any(rate < 0.95 for rate in rates) else "pass"
