"""Metrics that programs push, for those that do not live long enough to be scraped."""

from __future__ import annotations

import hmac
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from telemetry.collectors.scrape import parse_text
from telemetry.collectors.source import series_key
from telemetry.http_server import Answer, Request
from telemetry.series_catalogue import Family


@dataclass(frozen=True)
class PushLimits:
    """What pushing programs may take; the sampler's memory is not theirs to fill."""

    expiry: float = 60.0
    """Seconds after its last push that an instance's series stay. Default: twelve pushes of the client."""
    instances: int = 200
    """Programs at once; further ones are refused until some expire."""
    series: int = 2000
    """Series of one push."""


@dataclass
class _Pushed:
    time: float
    values: dict[str, float]
    keys: dict[str, str] = field(default_factory=dict)
    families: dict[str, Family] = field(default_factory=dict)


class PushSource:
    """What was pushed last by each instance of each job; `job` and `instance` are labels of all its series.

    A push replaces everything that the same instance pushed before.

    Args:
        limits: what programs may take.
        token: bearer token that a push must bring; None takes any push.
        clock: seconds, monotonic.
    """

    name = "push"

    def __init__(
        self,
        limits: PushLimits | None = None,
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._token, self._clock = limits or PushLimits(), token, clock
        self._lock = threading.RLock()
        self._pushed: dict[tuple[str, str], _Pushed] = {}
        self._accepted, self._refused = 0, Counter[str]()

    @property
    def families(self) -> dict[str, Family]:
        """What the programs told of their metrics."""
        with self._lock:
            return {name: family for pushed in self._pushed.values() for name, family in pushed.families.items()}

    def answer(self, request: Request) -> Answer:
        """POST /push?job=...&instance=... with Prometheus text; 204 if it was taken, else one line saying why not."""
        if request.method not in ("POST", "PUT"):
            return self._refuse(405, "method", "use POST")
        if self._token is not None and not hmac.compare_digest(
            request.headers.get("authorization", "").encode(), f"Bearer {self._token}".encode()
        ):
            return self._refuse(401, "token", "send the header Authorization: Bearer TOKEN")
        job = request.query.get("job", "")
        if not job:
            return self._refuse(400, "job", "say who you are: /push?job=NAME&instance=NAME")
        return self._take((job, request.query.get("instance", "")), request.body)

    def collect(self) -> dict[str, float]:
        """All series that have not expired, and what was taken and refused."""
        with self._lock:
            now = self._clock()
            self._expire(now)
            values: dict[str, float] = {}
            for (job, instance), pushed in self._pushed.items():
                values.update(pushed.values)
                values[series_key("trimtab_push_age_seconds", job=job, instance=instance)] = now - pushed.time
            values["trimtab_push_jobs"] = float(len(self._pushed))
            values["trimtab_push_accepted_total"] = float(self._accepted)
            for reason, count in self._refused.items():
                values[series_key("trimtab_push_refused_total", reason=reason)] = float(count)
        return values

    def _take(self, who: tuple[str, str], body: bytes) -> Answer:
        with self._lock:
            now = self._clock()
            self._expire(now)
            known = self._pushed.get(who)
            if known is None and len(self._pushed) >= self._limits.instances:
                return self._refuse(503, "instances", f"{self._limits.instances} instances push already")
            labels = dict(zip(("job", "instance"), who, strict=True))
            pushed = known or _Pushed(now, {})
            try:
                found = parse_text(body.decode("utf-8-sig"), pushed.keys, pushed.families, labels)
            except ValueError as error:
                return self._refuse(400, "text", f"not Prometheus text: {error}")
            if len(found) > self._limits.series:
                return self._refuse(413, "series", f"{len(found)} series, allowed are {self._limits.series}")
            pushed.time, pushed.values = now, found
            self._pushed[who] = pushed
            self._accepted += 1
        return Answer(204)

    def _expire(self, now: float) -> None:
        old = [who for who, pushed in self._pushed.items() if now - pushed.time > self._limits.expiry]
        for who in old:
            del self._pushed[who]

    def _refuse(self, status: int, reason: str, message: str) -> Answer:
        with self._lock:
            self._refused[reason] += 1
        return Answer(status, f"{message}\n".encode())
