"""What an evaluation says: rows, comparisons with every reference, aggregates, headroom, sensitivity to weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from envs.spec import RESOURCES, SystemSpec
from training.scores import Scores, efficiency, price, useful_work, weight_variants
from training.statistics import (
    aggregate,
    bootstrap_interval,
    interquartile_mean,
    interval,
    log_ratios,
    optimality_gap,
    paired,
    probability_of_improvement,
    relative_gain,
    resampled_means,
)

STATIC, BEST_STATIC, ORACLE = "static", "best_static", "oracle"


@dataclass(frozen=True)
class Played:
    """What became of a contestant."""

    kind: str
    """As in `training.evaluate.Contestant`."""
    scores: Scores
    """Of P * D * S episodes: training seeds, in each all traces, in each all episode seeds."""
    obtained_seconds: float | None
    leaks_future: bool


class Verdict:
    """Tables over the scores of all contestants.

    Shapes: P training seeds (1 where nothing was trained), D traces, S episodes of each on each.

    Args:
        spec: gives values and prices.
        played: by name; with the static default, which efficiencies are relative to.
        traces: (D,) names.
        episodes: S.
    """

    def __init__(self, spec: SystemSpec, played: Mapping[str, Played], traces: Sequence[str], episodes: int) -> None:
        self._spec, self._played, self._traces, self._episodes = spec, played, traces, episodes

    def result(self, judged: str) -> dict[str, Any]:
        """JSON-able; its keys stand in docs/evaluation.md."""
        references = self.references(judged)
        return {
            "rows": [row for name in self._played for row in self.rows(name)],
            "policies": [self.policy_row(name) for name in self._played],
            "summary": {key: self.comparison(judged, name) for key, name in references.items()},
            "best_by_efficiency_at_slo": self.best_at_slo(list(self._ranked())),
            "rank": self._ranked(),
            "headroom": self.headroom(judged),
            "aggregate": self.aggregates(judged),
            "weights": self.weights(judged, references),
        }

    def shaped(self, name: str, figure: str) -> np.ndarray:
        """(P, D, S, ...) of one of the `Scores`."""
        values = getattr(self._played[name].scores, figure)
        return np.asarray(values.reshape(-1, len(self._traces), self._episodes, *values.shape[1:]))

    def efficiency(self, name: str, *weights: np.ndarray) -> np.ndarray:
        """(P, D, S) relative to the static default on the same episode."""
        scores, static = self._played[name].scores, self._played[STATIC].scores
        times = len(scores.reward) // len(static.reward)
        repeated = Scores(*(np.concatenate([getattr(static, f.name)] * times) for f in fields(Scores)))
        relative = efficiency(self._spec, scores, repeated, *weights)
        return np.asarray(relative.reshape(-1, len(self._traces), self._episodes))

    def useful(self, name: str) -> np.ndarray:
        """(P, D, S) value-weighted share of the wanted work that was done."""
        share = useful_work(self._spec, self._played[name].scores)
        return np.asarray(share.reshape(-1, len(self._traces), self._episodes))

    def absolute_efficiency(self, name: str) -> np.ndarray:
        """(P, D, S) useful work per price of what was reserved: 1 is all work with one core."""
        return np.asarray(self.useful(name) / price(self._spec, self.shaped(name, "reserved")))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """One row for each trace; figures are means over training seeds and episodes."""
        return [
            {"policy": name, "trace": trace, **self._figures(name, slice(d, d + 1))}
            for d, trace in enumerate(self._traces)
        ]

    def policy_row(self, name: str) -> dict[str, Any]:
        """The same over all traces."""
        return {"policy": name, "kind": self._played[name].kind, **self._figures(name, slice(None))}

    def _figures(self, name: str, traces: slice) -> dict[str, Any]:
        played, relative = self._played[name], self.efficiency(name)[:, traces]

        def mean(figure: str) -> np.ndarray:
            return np.asarray(self.shaped(name, figure)[:, traces].mean(axis=(0, 1, 2)))

        reserved, used = mean("reserved"), mean("used")
        return {
            "seed_count": self._episodes,
            "training_seed_count": len(relative),
            "efficiency": float(relative.mean()),
            "efficiency_ci": list(bootstrap_interval(relative)),
            "efficiency_iqm": interquartile_mean(relative),
            "slo_attainment": float(mean("slo_attainment")),
            "reserved": float(price(self._spec, reserved)),
            "reserved_by_resource": dict(zip(RESOURCES, reserved.tolist(), strict=True)),
            "used": float(price(self._spec, used)),
            "used_by_resource": dict(zip(RESOURCES, used.tolist(), strict=True)),
            "work": dict(zip(self._spec.workloads, mean("work").tolist(), strict=True)),
            "useful_work": float(self.useful(name)[:, traces].mean()),
            "within_slo": float(mean("within_slo")),
            "latency_p50_seconds": float(mean("latency_p50")),
            "latency_p99_seconds": float(mean("latency_p99")),
            "accuracy": float(mean("accuracy")),
            "ingest_lag_seconds": float(mean("ingest_lag")),
            "reward": float(mean("reward")),
            "changes": float(mean("changes")),
            "flaps": float(mean("flaps")),
            "obtained_seconds": played.obtained_seconds,
            "leaks_future": played.leaks_future,
        }

    def _ranked(self) -> list[str]:
        """Who may win, best mean reward first: neither the oracle nor who knows the future."""
        able = [name for name, played in self._played.items() if played.kind != "oracle" and not played.leaks_future]
        return sorted(able, key=lambda name: -float(self.shaped(name, "reward").mean()))

    def references(self, judged: str) -> dict[str, str]:
        """Summary key -> contestant. The best heuristic is the published rule with the largest mean reward, which
        counts SLOs too; what a search found, or another learned policy, is no heuristic."""
        found = {"vs_static": STATIC, "vs_best_static": BEST_STATIC, "vs_oracle": ORACLE}
        opponents = [name for name in self._ranked() if self._played[name].kind in ("rule", "search")]
        heuristics = [name for name in opponents if self._played[name].kind == "rule"]
        if heuristics:
            found["vs_best_heuristic"] = heuristics[0]
        at_slo = self.best_at_slo([*opponents, STATIC, BEST_STATIC])
        if at_slo:
            found["vs_best_by_efficiency_at_slo"] = at_slo["name"]
        found |= {f"vs_{name}": name for name in self._played if name in opponents}
        return {key: name for key, name in found.items() if name in self._played and name != judged}

    def best_at_slo(self, names: Sequence[str]) -> dict[str, Any] | None:
        """The most efficient of those that hold the SLOs at least as often as the best static setting does."""
        if BEST_STATIC not in self._played:
            return None
        attainment = {
            name: float(self.shaped(name, "slo_attainment").mean())
            for name in (BEST_STATIC, *names)
            if name in self._played
        }
        able = [name for name in attainment if attainment[name] >= attainment[BEST_STATIC]]
        best = max(able, key=lambda name: float(self.efficiency(name).mean()))
        return {
            "name": best,
            "efficiency": float(self.efficiency(best).mean()),
            "slo_attainment": attainment[best],
            "slo_attainment_at_least": attainment[BEST_STATIC],
        }

    def comparison(self, judged: str, reference: str) -> dict[str, Any]:
        """The judged policy against one reference, over all training seeds, traces and episodes."""
        gain, gain_ci = relative_gain(self.efficiency(judged), self.efficiency(reference))
        attainment = self.shaped(judged, "slo_attainment")
        delta = attainment - paired(self.shaped(reference, "slo_attainment"), attainment)
        ours, theirs = (bootstrap_interval(self.absolute_efficiency(name)) for name in (judged, reference))
        share = {"share_of_gain": self._share_of_gain(judged)} if reference == ORACLE else {}
        return {
            "name": reference,
            **share,
            "efficiency_gain": gain,
            "efficiency_gain_ci": list(gain_ci),
            "reserved_saving": self._saving(judged, reference, "reserved"),
            "used_saving": self._saving(judged, reference, "used"),
            "slo_attainment_delta": float(delta.mean()),
            "slo_attainment_delta_ci": list(bootstrap_interval(delta)),
            "counts": float(delta.mean()) >= 0.0,  # a saving with worse attainment is none
            "intervals_overlap": ours[0] <= theirs[1] and theirs[0] <= ours[1],
        }

    def _saving(self, judged: str, reference: str, figure: str) -> float:
        ours, theirs = (price(self._spec, self.shaped(name, figure)).mean() for name in (judged, reference))
        return float(1.0 - ours / theirs)

    def _share_of_gain(self, judged: str) -> float:
        """What the judged policy gains over the static default, as a share of what the oracle gains."""
        ours, most = (float(self.efficiency(name).mean()) - 1.0 for name in (judged, ORACLE))
        return ours / most if most > 0.0 else float("nan")

    def headroom(self, judged: str) -> dict[str, Any] | None:
        """How far the oracle leads the best heuristic, and which share of that lead the judged policy has.

        In efficiency (relative) and in reward (a difference): the oracle plans for the reward, which counts SLOs too,
        so that a share of efficiency above 1 is no miracle.
        """
        over = self.references(judged).get("vs_best_heuristic")
        if over is None or ORACLE not in self._played:
            return None
        ours, best, most = (self.efficiency(name) for name in (judged, over, ORACLE))
        rewards = [self.shaped(name, "reward") for name in (judged, over, ORACLE)]
        logs = _headroom(log_ratios(ours, best), log_ratios(most, best))
        relative = {key: np.expm1(logs[key]).tolist() for key in ("lead", "lead_ci")}
        differences = (rewards[0] - paired(rewards[1], rewards[0]), rewards[2] - rewards[1])
        return {"over": over, "efficiency": logs | relative, "reward": _headroom(*differences)}

    def aggregates(self, judged: str) -> dict[str, Any]:
        """Aggregates of every contestant's efficiency, and how probable an improvement by the judged one is."""
        policies: dict[str, dict[str, Any]] = {}
        for name in self._played:
            relative, absolute = self.efficiency(name), self.absolute_efficiency(name)
            policies[name] = aggregate(relative)
            if ORACLE in self._played:
                gap, gap_ci = optimality_gap(np.exp(log_ratios(relative, self.efficiency(ORACLE))))
                policies[name] |= {"optimality_gap": gap, "optimality_gap_ci": list(gap_ci)}
            policies[name]["absolute_efficiency"] = float(absolute.mean())
            policies[name]["absolute_efficiency_ci"] = list(bootstrap_interval(absolute))
        improvement = {}
        for name in self._played:
            if name != judged:
                value, ci = probability_of_improvement(self.efficiency(judged), self.efficiency(name))
                improvement[name] = {"probability": value, "ci": list(ci)}
        return {"policies": policies, "probability_of_improvement": improvement}

    def weights(self, judged: str, references: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Efficiency gain over each reference with one value or price halved or doubled."""
        found: dict[str, dict[str, float]] = {}
        for variant, weights in weight_variants(self._spec).items():
            ours = self.efficiency(judged, *weights)
            found[variant] = {
                key: float(np.expm1(log_ratios(ours, self.efficiency(name, *weights)).mean()))
                for key, name in references.items()
            }
        return found


def _headroom(ours: np.ndarray, most: np.ndarray) -> dict[str, Any]:
    """`lead` of the best there is, and the `share` of it that is ours, with intervals.

    Args:
        ours: (P, D, S) lead over the same opponent.
        most: (1, D, S) lead of the oracle over it.
    """
    same = np.broadcast_to(most, ours.shape)  # so that both are resampled alike
    leads, lead_ci = resampled_means(same), bootstrap_interval(same)
    ahead = lead_ci[0] > 0.0  # a share of nothing means nothing
    return {
        "lead": float(most.mean()),
        "lead_ci": list(lead_ci),
        "share": float(ours.mean() / most.mean()) if ahead else float("nan"),
        "share_ci": list(interval(resampled_means(ours) / leads)) if ahead else [float("nan")] * 2,
    }
