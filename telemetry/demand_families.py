"""What the request rates of public services look like, family by family: the parameters of `generate_demand`.

Fitted to public traces in 10-minute means. With x the mean rate of each 10 minutes:

- season_ratio: largest over smallest hour of the mean day (measured a tenth higher over ten days, where the residual
  adds).
- residual_sd, residual_ar1: of log x minus the log of the mean day (in 10-minute bins): standard deviation and lag-1
  autocorrelation. They nearly fix the standard deviation of the
  steps too: sd * sqrt(2 * (1 - ar1)) is 0.81 to 0.95 of the measured one in the median of each family.

`demand_statistics` measures the same on any demand. Bursts, shifts and outages are set so that the three stay in range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DAY = 86400.0
FIT_STEP = 600.0
"""Seconds: the step of the statistics above."""


@dataclass(frozen=True)
class FamilyRanges:
    """(low, high) that a demand's parameters are drawn from, and rates of rare happenings.

    Where the fitted series spread wide (a factor of ten), the inner half of them is used, else their full range.
    """

    season_ratio: tuple[float, float]
    residual_sd: tuple[float, float]
    residual_ar1: tuple[float, float]
    bursts_per_day: float
    shifts_per_day: float
    outages_per_day: float


#                                    season_ratio  residual_sd    residual_ar1  bursts shifts outages per day
FAMILIES: dict[str, FamilyRanges] = {
    # LLM serving of one provider, 9 days: smooth, strong days, now and then a window of zero.
    "servegen": FamilyRanges((1.46, 2.2), (0.17, 0.27), (0.89, 0.91), 0.1, 0.02, 0.05),
    # Web and social requests: strong days, rough.
    "web_requests": FamilyRanges((3.4, 3.7), (0.30, 0.45), (0.32, 0.70), 1.0, 0.02, 0.02),
    # VM creations: people's working day, weakly correlated from one step to the next.
    "azure_vm_arrivals_v1": FamilyRanges((1.9, 2.1), (0.18, 0.38), (0.44, 0.56), 0.2, 0.0, 0.0),
    # CPU of cloud resource pools: very strong days, large slow residual.
    "cloudcluster_2024": FamilyRanges((4.0, 12.0), (0.60, 1.05), (0.70, 0.86), 1.0, 0.05, 0.01),
    # Online services of a content platform: the most regular days.
    "jumpstarter": FamilyRanges((1.5, 4.0), (0.11, 0.19), (0.80, 0.94), 0.2, 0.0, 0.0),
    # Server machines of an internet company.
    "smd": FamilyRanges((3.5, 7.2), (0.25, 0.38), (0.72, 0.92), 0.5, 0.02, 0.0),
    # Borg tasks: CPU in use.
    "google_tasks_2019": FamilyRanges((1.25, 2.4), (0.10, 0.22), (0.62, 0.88), 0.2, 0.0, 0.0),
}


def ar1_for_step(coefficient: float, sd: float, step_seconds: float) -> tuple[float, float]:
    """AR(1) at `step_seconds` whose means over `FIT_STEP` have the given lag-1 correlation and standard deviation.

    Averaging n correlated steps lowers their deviation and raises the correlation of neighbouring means, so the finer
    process has to be rougher than the plain n-th root would make it (without this, 60 s steps gave 0.67 where 0.53 was
    asked for).

    Returns:
        coefficient and standard deviation of the process at `step_seconds`.
    """
    n = round(FIT_STEP / step_seconds)
    if n <= 1:
        return float(coefficient ** (step_seconds / FIT_STEP)), sd
    low, high = 0.0, 1.0 - 1e-9
    for _ in range(60):  # bisection: the correlation of the means grows with phi
        phi = (low + high) / 2
        low, high = (phi, high) if _means_of_ar1(phi, n)[0] < coefficient else (low, phi)
    return phi, sd / _means_of_ar1(phi, n)[1]


def _means_of_ar1(phi: float, n: int) -> tuple[float, float]:
    """Lag-1 correlation, and deviation relative to one step's, of means over n steps of an AR(1)."""
    lags = np.arange(1, n)
    variance = (n + 2 * float(((n - lags) * phi**lags).sum())) / n**2
    covariance = phi * ((1 - phi**n) / (1 - phi)) ** 2 / n**2
    return covariance / variance, variance**0.5


def demand_statistics(rates: np.ndarray, step_seconds: float) -> dict[str, float]:
    """The statistics of this module's table for one series; zeros count as missing where a logarithm is taken.

    Args:
        rates: (T,) per second, >= 0, at least two days.
        step_seconds: length of a step; a divisor of `FIT_STEP`.

    Returns:
        `sd_dlog`, `prof_max_min`, `resid_logsd`, `resid_ar1`.

    Raises:
        ValueError: if the series is shorter than two days or the step does not divide ten minutes.
    """
    group = round(FIT_STEP / step_seconds)
    if group < 1 or abs(group * step_seconds - FIT_STEP) > 1e-6 or len(rates) * step_seconds < 2 * DAY:
        raise ValueError(f"{len(rates)} steps of {step_seconds} s: need steps that divide {FIT_STEP} s, over 2 days")
    means = rates[: len(rates) // group * group].reshape(-1, group).mean(axis=1)  # (bins,)
    logs = np.log(means, where=means > 0, out=np.full(len(means), np.nan))
    bins = np.arange(len(means)) % 144
    profile = np.bincount(bins, means) / np.bincount(bins)  # (144,)
    hours = profile.reshape(24, 6).mean(axis=1)
    residual = logs - np.log(profile)[bins]
    pairs = np.stack([residual[:-1], residual[1:]])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    return {
        "sd_dlog": float(np.nanstd(np.diff(logs))),
        "prof_max_min": float(hours.max() / hours.min()),
        "resid_logsd": float(np.nanstd(residual)),
        "resid_ar1": float(np.corrcoef(pairs)[0, 1]),
    }
