"""How well changes are judged: false rollbacks, missed harm, time to verdict; and what that does to the product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from agents.artifact import load_shipped
from controller.config import ControllerConfig
from controller.judge import Judge
from controller.trial import Outcome, Trial, TrialConfig, Verdict
from envs.spec import Role, SystemSpec
from training.protocol import Set, load_protocol
from training.references import load_references
from training.statistics import bootstrap_interval
from training.verdict_episodes import ROLLBACKS, Bench, Episode, Judged, Scenario

HARMFUL = -0.10
"""True relative effect from which on a change is harmful, as `TrialConfig.margin` has it."""
SCENARIOS = {
    "calm": Scenario(),
    "load +50 %": Scenario(burst=0.5),
    "load +100 %": Scenario(burst=1.0),
    "no effect": Scenario(move=False),
    "serving 25 % slower": Scenario(slowed=0.25, move=False),
    "serving 50 % slower": Scenario(slowed=0.5, move=False),
    "serving 100 % slower": Scenario(slowed=1.0, move=False),
    "serving 200 % slower": Scenario(slowed=2.0, move=False),
}


SHIPPED = {
    "efficiency gain, 95 %": "efficiency_gain_ci",
    "all SLOs held": "slo_met",
    "difference, 95 %": "slo_met_difference_ci",
    "judged": "judged",
    "rolled back": "rolled_back_share",
    "good ones rolled back": "false_rollbacks_of_good",
    "proven better": "proven_share",
    "inconclusive": "inconclusive_share",
    "s to verdict": "seconds_to_verdict.mean",
}
"""Column -> key of the figures."""
SCRIPTED = {
    "true effect": "mean_true_effect",
    "kept": "kept_share",
    "rolled back": "rolled_back_share",
    "inconclusive": "inconclusive_share",
    "good": "good",
    "good ones rolled back": "false_rollbacks_of_good",
    "harmful": "harmful",
    "harmful ones rolled back": "power_on_harmful",
    "s to rollback, p50": "seconds_to_rollback.p50",
    "p99": "seconds_to_rollback.p99",
}


@dataclass(frozen=True)
class VerdictBudget:
    """How much is simulated for each way to judge."""

    episodes: int = 48
    """Systems that the shipped policies control for `periods`."""
    periods: int = 600
    changes: int = 300
    """Scripted ones in each scenario."""
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    demands: Set = "test"
    seed: int = 0


class FixedWindowJudge(Judge):
    """As comparable systems judge: two periods, each must be complete, three standard errors, looked at once."""

    def verdict(self, trial: Trial, busy: set[str]) -> Verdict | None:
        """See `Judge.verdict`."""
        config, since = self.config, trial.watched
        hit = self._broken_since(trial, since[-1:], busy, config.hard_breach) if since else []
        if hit and not self._excused(trial, hit):
            return Verdict(trial, Outcome.ROLLED_BACK, "badly broken")
        watched = since[config.settle_periods :]
        if len(watched) < config.watch_periods:
            return None
        if not all(period.complete for period in watched):
            return Verdict(trial, Outcome.INCONCLUSIVE if trial.adds else Outcome.ROLLED_BACK, "missing")
        hit = self._broken_since(trial, watched, busy, 0.0)
        if hit:
            return self._by_breach(trial, watched, hit, over=True)
        if len(trial.baseline) < config.least_baseline_periods:
            return Verdict(trial, Outcome.INCONCLUSIVE, "nothing to compare with")
        before, after = (
            np.array([p.value if trial.adds else p.efficiency for p in w]) for w in (trial.baseline, watched)
        )
        price = float(np.mean([1.0 if trial.adds else p.cost for p in trial.baseline]))
        noise = trial.noise.deviation / price if np.isfinite(trial.noise.deviation) else before.std(ddof=1)
        spread = noise * np.sqrt(1 / len(before) + 1 / len(after))
        if before.mean() - after.mean() <= max(config.margin * abs(before.mean()), 3.0 * spread):
            return self._end(trial, Outcome.KEEP, "not worse", watched)
        rise = self._load_change(trial, [self._workloads.index(trial.workload)])
        excused = abs(rise) > config.load_tolerance
        return self._end(trial, Outcome.INCONCLUSIVE if excused else Outcome.ROLLED_BACK, "worse", watched)


def ways() -> dict[str, tuple[TrialConfig, Callable[..., Judge] | None]]:
    """The ways to judge that are compared; the first is what the others are compared with."""
    return {
        "fixed window": (TrialConfig(), FixedWindowJudge),
        "anytime-valid": (TrialConfig(), None),
        "anytime-valid, unproven taken back": (TrialConfig(revert_unproven=True, baseline_periods=10), None),
    }


def bench_verdicts(
    spec_source: str = "reference",
    budget: VerdictBudget | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> dict[str, Any]:
    """Judge the same systems and the same scripted changes in several ways.

    Args:
        spec_source: SystemSpec file or shipped name.
        budget: how much is simulated.
        on_progress: called with what is done, of how much, and which way to judge.

    Returns:
        By way to judge: `shipped` (figures with the shipped policies in charge, with paired differences to the first
        way) and `scenarios` (of scripted changes).
    """
    budget, spec = budget or VerdictBudget(), SystemSpec.load(spec_source)
    demands = load_protocol().demands(budget.demands, spec.control_period_seconds)
    policies = {role: load_shipped(role, spec) for role in Role}
    start = load_references(spec).best_static
    total, done = len(ways()) * (budget.episodes + len(budget.scenarios)), 0
    result: dict[str, Any] = {}
    first: list[Episode] = []
    for name, (trial, judge) in ways().items():
        config = replace(ControllerConfig(), trial=trial, rollbacks_per_hour=ROLLBACKS)
        bench = Bench(spec, demands, config, judge)
        played = []
        for seed in range(budget.seed, budget.seed + budget.episodes):
            played.append(bench.shipped(policies, seed, budget.periods))
            on_progress(done := done + 1, total, name)
        first = first or played
        result[name] = {"shipped": _shipped(played, first), "scenarios": {}}
        for scenario in budget.scenarios:
            seeds = range(budget.seed, budget.seed + budget.changes)
            scripted = (bench.scripted(start, seed, SCENARIOS[scenario]) for seed in seeds)
            judged = [found for found in scripted if found is not None]
            result[name]["scenarios"][scenario] = figures(judged)
            on_progress(done := done + 1, total, name)
    return result


def verdict_tables(result: Mapping[str, Any]) -> list[Table]:
    """What `bench_verdicts` gave, for the terminal."""
    tables = [_table("The shipped policies in charge", SHIPPED)]
    for name, found in result.items():
        tables[0].add_row(name, *_cells(found["shipped"], SHIPPED))
    for scenario in next(iter(result.values()))["scenarios"]:
        table = _table(f"Scripted changes: {scenario}", SCRIPTED)
        for name, found in result.items():
            table.add_row(name, *_cells(found["scenarios"][scenario], SCRIPTED))
        tables.append(table)
    return tables


def _table(title: str, columns: Mapping[str, str]) -> Table:
    table = Table(title=title, box=SIMPLE)
    for column in ("judged by", *columns):
        table.add_column(column, justify="left" if column == "judged by" else "right")
    return table


def _cells(found: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    cells = []
    for key in columns.values():
        name, _, part = key.partition(".")
        value = found[name][part] if part else found[name]
        if isinstance(value, tuple):
            cells.append(f"{value[0]:+.1%} to {value[1]:+.1%}")
        elif part or isinstance(value, int):
            cells.append(f"{value:.4g}")
        else:
            cells.append(f"{value:.1%}")
    return cells


def figures(changes: Sequence[Judged]) -> dict[str, Any]:
    """Of a set of changes; shares are of all that ended with a verdict, not by another change."""
    ended = [change for change in changes if change.outcome is not Outcome.SUPERSEDED]
    back = [change for change in ended if change.outcome is Outcome.ROLLED_BACK]
    harmful = [change for change in ended if change.effect < HARMFUL and not change.adds]
    good = [change for change in ended if change.effect > 0.0]
    counts = Counter(change.outcome for change in changes)
    return {
        "changes": len(changes),
        "judged": len(ended),
        **{str(outcome): counts[outcome] for outcome in Outcome},
        "kept_share": _share(counts[Outcome.KEEP], len(ended)),
        "inconclusive_share": _share(counts[Outcome.INCONCLUSIVE], len(ended)),
        "rolled_back_share": _share(len(back), len(ended)),
        "proven_share": _share(sum(change.proven for change in ended), len(ended)),
        "false_rollbacks_of_good": _share(sum(c.outcome is Outcome.ROLLED_BACK for c in good), len(good)),
        "good": len(good),
        "power_on_harmful": _share(sum(c.outcome is Outcome.ROLLED_BACK for c in harmful), len(harmful)),
        "harmful": len(harmful),
        "mean_true_effect": float(np.mean([change.effect for change in ended])) if ended else float("nan"),
        "seconds_to_verdict": _quantiles([change.seconds for change in ended]),
        "seconds_to_rollback": _quantiles([change.seconds for change in back]),
    }


def _shipped(played: Sequence[Episode], first: Sequence[Episode]) -> dict[str, Any]:
    gains = np.array([ours.efficiency / theirs.efficiency - 1.0 for ours, theirs in zip(played, first, strict=True)])
    slo = np.array([ours.slo_met - theirs.slo_met for ours, theirs in zip(played, first, strict=True)])
    return {
        "efficiency": float(np.mean([episode.efficiency for episode in played])),
        "efficiency_gain": float(gains.mean()),
        "efficiency_gain_ci": bootstrap_interval(gains),
        "slo_met": float(np.mean([episode.slo_met for episode in played])),
        "slo_met_difference": float(slo.mean()),
        "slo_met_difference_ci": bootstrap_interval(slo),
        **figures([change for episode in played for change in episode.changes]),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return dict.fromkeys(("mean", "p50", "p99"), float("nan"))
    p50, p99 = np.quantile(seconds, [0.5, 0.99], method="higher")
    return {"mean": float(np.mean(seconds)), "p50": float(p50), "p99": float(p99)}
