"""Opinions weighed by their own record: what each foretold of this very metric in the last week, and what came true."""

from __future__ import annotations

import numpy as np

from telemetry.issues import Target

RECORD_HOURS = 168
"""Matured forecasts that count. Default: a week, so that a change of habit is forgotten after one."""
LEARNING_RATE = 0.1
"""Weight of a forecast's log loss. 1 would be Bayes' rule for independent hours; neighbouring hours are nearly one."""
DOUBT_HOURS = 15.0
"""Issues that count as foretold and come in advance, when probabilities are corrected by how often they came true."""
PRIORS = (0.5, 0.1, 0.4)
"""Weights without a record: model, hour-of-day table, persistence and season. They, `DOUBT_HOURS` and mixing odds, not
probabilities, were chosen by Brier score on hosts and hours that are not in the test (`--backtest --development`)."""
LEAST, MOST = 1e-3, 1.0 - 1e-3
MIN_RECORD_HOURS = 48
PREDICTABLE_SKILL = 0.1
MIN_RECORD_ISSUES = 4
"""Hours with issue, and without, that a verdict needs: one that has just begun tells nothing about predictability."""


def blended(opinions: np.ndarray, truth: np.ndarray, target: Target) -> np.ndarray:
    """One probability of several, each hour with what had come true by then (exponential weights, then one factor).

    Log odds are averaged, not probabilities: opinions that agree and know different things then add up.

    Args:
        opinions: (len(PRIORS), N) probabilities at consecutive hours, in the order of `PRIORS`; NaN has no weight.
        truth: (N,) what came true of them: 1.0, 0.0, or NaN where not known (yet).
        target: what is foretold: an outcome is known `lead` hours later.

    Returns:
        (N,) probabilities; NaN where there is no opinion.
    """
    unknown = np.isnan(opinions)
    given = np.clip(np.where(unknown, 0.5, opinions), LEAST, MOST)
    settled = ~np.isnan(truth)
    loss = np.where(settled, -np.log(np.where(truth == 1.0, given, 1.0 - given)), 0.0)  # (opinions, N)
    score = np.log(PRIORS)[:, None] - LEARNING_RATE * _matured_sum(loss, target.lead)
    score = np.where(unknown, -np.inf, score)
    weight = np.exp(score - np.max(np.where(unknown, -np.inf, score), axis=0, initial=-1e300))
    total = weight.sum(axis=0)
    log_odds = (weight * np.log(given / (1.0 - given))).sum(axis=0)
    mean = np.divide(log_odds, total, out=np.full(len(truth), np.nan), where=total > 0)
    mixed = 1.0 / (1.0 + np.exp(-mean))
    came = _matured_sum(np.where(settled, truth, 0.0)[None], target.lead)[0]
    expected = _matured_sum(np.where(settled, np.nan_to_num(mixed), 0.0)[None], target.lead)[0]
    odds = mixed / (1.0 - mixed) * (came + DOUBT_HOURS) / (expected + DOUBT_HOURS)
    return np.asarray(odds / (1.0 + odds))


def brier_skill(probability: np.ndarray, truth: np.ndarray) -> float:
    """How much better than always saying the frequency that came true; 1 is perfect, NaN where nothing varies.

    The frequency of the same hours is a strict reference: nobody knew it before.
    """
    known = ~(np.isnan(probability) | np.isnan(truth))
    if not known.any():
        return float("nan")
    came = truth[known]
    variance = float(np.mean((came - came.mean()) ** 2))
    return 1.0 - float(np.mean((probability[known] - came) ** 2)) / variance if variance > 0 else float("nan")


def predictable(probability: np.ndarray, truth: np.ndarray) -> bool | None:
    """Whether a metric's issues can be foretold, by the last week's skill; None with too few hours or issues."""
    known = ~(np.isnan(probability) | np.isnan(truth))
    recent = truth[-RECORD_HOURS:][known[-RECORD_HOURS:]]
    if known.sum() < MIN_RECORD_HOURS or min((recent == 1.0).sum(), (recent == 0.0).sum()) < MIN_RECORD_ISSUES:
        return None
    return brier_skill(probability[-RECORD_HOURS:], truth[-RECORD_HOURS:]) > PREDICTABLE_SKILL


def _matured_sum(values: np.ndarray, lead: int) -> np.ndarray:
    """(k, N) -> sums over the last RECORD_HOURS columns that are at least `lead` before each column."""
    summed = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    end = np.maximum(np.arange(values.shape[1]) - lead + 1, 0)
    return np.asarray(summed[:, end] - summed[:, np.maximum(end - RECORD_HOURS, 0)])
