"""How much the periods after a change say about it, at any time that one looks: an anytime-valid t-test.

A fixed test may be looked at once. A trial is looked at in every period, and ends when enough is known; a test that is
valid only at a planned end would then raise false alarms several times as often as it says. The mixture sequential
probability ratio test (mSPRT; Robbins 1970, Johari et al. 2022, "Always valid inference") stays valid under that. Here
it is the form for unknown variance of Lindon, Ham, Tingley and Bojinov (2022), "Anytime-valid linear models and
regression adjusted causal inference in randomized experiments", arXiv 2210.08589, in the linear model

    score of a period = level of the setting in force + effect of the change + normal noise,

whose variance is told from how scores scatter while a setting stays in force. The effect's prior is normal around zero
with `1 / precision` times the variance of the noise; levels and variance have the improper priors under which the Bayes
factor is a martingale. Its inverse bounds a confidence interval that holds at all times together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Noise:
    """Scatter of single periods around the level of their setting.

    Attributes:
        deviation: standard deviation; NaN where there is nothing to tell it from.
        freedom: degrees of freedom that it is told from.
    """

    deviation: float
    freedom: int


@dataclass(frozen=True)
class Effect:
    """What a change did to a score.

    Attributes:
        estimate: mean after minus mean before.
        error: standard error of it.
        freedom: degrees of freedom of the error.
        periods: harmonic size of both windows, `1 / (1 / n_before + 1 / n_after)`.
        precision: of the effect's prior, see above.
    """

    estimate: float
    error: float
    freedom: int
    periods: float
    precision: float

    def bounds(self, alpha: float) -> tuple[float, float]:
        """Interval that holds the true effect at all times together with probability `1 - alpha`."""
        radius = self._radius(alpha)
        return self.estimate - radius, self.estimate + radius

    def evidence(self, against: float = 0.0) -> float:
        """E-value against the hypothesis that the effect is `against`: 20 refutes it at 5 %, whenever one looks."""
        if self.freedom < 1 or not np.isfinite(self.error):
            return 1.0
        distance = self.estimate - against
        if self.error == 0.0:
            return 1.0 if distance == 0.0 else float("inf")
        share = self._prior_share
        odds = (distance / self.error) ** 2 / self.freedom
        power = 0.5 * (self.freedom + 1)
        return float(np.sqrt(share) * ((1.0 + odds) / (1.0 + share * odds)) ** power)

    @property
    def _prior_share(self) -> float:
        return self.precision / (self.precision + self.periods)

    def _radius(self, alpha: float) -> float:
        if self.freedom < 1 or not np.isfinite(self.error):
            return float("inf")
        if self.error == 0.0:
            return 0.0  # nothing scattered at all
        share = self._prior_share
        growth = (1.0 / (alpha * np.sqrt(share))) ** (2.0 / (self.freedom + 1))
        if growth * share >= 1.0:
            return float("inf")  # with so little to tell the noise from, no difference is beyond it
        return float(self.error * np.sqrt(self.freedom * (growth - 1.0) / (1.0 - growth * share)))


def effect(before: np.ndarray, after: np.ndarray, noise: Noise, precision: float) -> Effect:
    """The effect of a change.

    Args:
        before: (T,) scores under the setting before.
        after: (U,) scores since.
        noise: told before the change; the scatter of `after` is added to it.
        precision: of the effect's prior, see above.
    """
    periods = 1.0 / (1.0 / len(before) + 1.0 / len(after))
    known = noise.freedom if np.isfinite(noise.deviation) else 0
    squares = (noise.deviation**2 * known if known else 0.0) + float(((after - after.mean()) ** 2).sum())
    freedom = known + len(after) - 1
    error = float(np.sqrt(squares / freedom / periods)) if freedom else float("nan")
    return Effect(float(after.mean() - before.mean()), error, freedom, periods, precision)


def scatter(scores: np.ndarray, settings: np.ndarray) -> Noise:
    """The noise of scores around the mean of those that have the same setting.

    Args:
        scores: (T,), all finite.
        settings: (T,) int, which setting was in force; negative: left out.
    """
    squares, freedom = 0.0, 0
    for number in np.unique(settings[settings >= 0]):
        own = scores[settings == number]
        squares += float(((own - own.mean()) ** 2).sum())
        freedom += len(own) - 1
    return Noise(float(np.sqrt(squares / freedom)) if freedom else float("nan"), freedom)
