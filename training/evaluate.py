"""Judges policies: the same demands and seeds for all, paired, with intervals; whoever wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from agents.progress import Progress
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import RESOURCES, SystemSpec
from telemetry.workload import Demand
from training.demands import fit_demand
from training.rollout import Policies, rollout
from training.scores import Scores, efficiency, price, score_rollout, weight_variants
from training.statistics import bootstrap_interval, interquartile_mean, relative_gain

Contestant = Policies | Callable[[SimulatedPlant], Policies]
"""Policies, or what makes them for a plant: the oracle must know the plant on which it acts."""

STATIC, BEST_STATIC, ORACLE = "static", "best_static", "oracle"


@dataclass(frozen=True)
class EvaluationConfig:
    """What every policy is put through."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each gives other arrivals, noise and (with `randomize`) parameters on every demand."""
    episode_seconds: float = 600.0
    """Longer demands are compressed in time so that an episode covers all of them."""
    peak_share: float = 0.8
    """Peak load, as a share of what the system can do."""
    randomize: bool = False
    """Whether the simulator's parameters differ from seed to seed, as in training."""


def run_evaluate(
    spec: SystemSpec,
    policies: Mapping[str, Contestant],
    demands: Sequence[Demand],
    *,
    config: EvaluationConfig | None = None,
    parameters: Parameters | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Run every policy on every demand and seed.

    Args:
        spec: the system.
        policies: name -> policies; must hold `static`, the static default, which efficiencies are relative to. The one
            to be judged is `ppo`, or else the last. `oracle` is an upper bound; what has another name and does not
            begin with `ppo` is a heuristic.
        demands: traces, best such as were never trained on.
        config: seeds, length, load.
        parameters: of the simulator; None is its default.
        on_progress: called after every policy.

    Returns:
        JSON-able: `rows` (`reserved` and `used` in the price of a core), `summary`, `weights` (how the verdict changes
        with each weight halved and doubled).

    Raises:
        ValueError: no `static` among the policies, or no demand.
    """
    config = config or EvaluationConfig()
    if STATIC not in policies or not demands:
        raise ValueError(f"an evaluation needs the policy {STATIC!r} and a demand, given {list(policies)}, {demands!r}")
    fitted = [fit_demand(demand, config.episode_seconds, spec.control_period_seconds) for demand in demands]
    scores: dict[str, Scores] = {}
    for i, (name, roles) in enumerate(policies.items()):
        scores[name] = _play(spec, roles, fitted, config, parameters)
        if on_progress:
            on_progress(i + 1, len(policies), f"{name} done")
    judged = "ppo" if "ppo" in policies else list(policies)[-1]
    verdict = _Verdict(spec, scores, len(fitted), len(config.seeds))
    traces = [demand.name for demand in fitted]
    references = verdict.references(judged)
    return {
        "spec": spec.name,
        "judged": judged,
        "rows": [row for name in scores for row in verdict.rows(name, traces)],
        "summary": {key: verdict.comparison(judged, name) for key, name in references.items()},
        "weights": verdict.weights(judged, references),
    }


def _play(
    spec: SystemSpec,
    contestant: Contestant,
    demands: Sequence[Demand],
    config: EvaluationConfig,
    parameters: Parameters | None,
) -> Scores:
    """Scores of one policy; episode `d * n_seeds + s` is demand d with seed s."""
    parts = []
    for seed in config.seeds:
        plant = SimulatedPlant(
            spec,
            demands,
            n=len(demands),
            seed=seed,
            parameters=parameters,
            randomize=config.randomize,
            peak_share=config.peak_share,
        )
        chosen = np.arange(len(demands))
        plant.reset(seed=seed * 100_003 + chosen, demand_indices=chosen)  # no noise is shared between two episodes
        periods = round(config.episode_seconds / spec.control_period_seconds)
        roles = contestant(plant) if callable(contestant) else contestant
        parts.append(score_rollout(spec, rollout(plant, roles, periods, start_setting=spec.default_setting)))
    joined = (np.stack([getattr(part, f.name) for part in parts], axis=1) for f in fields(Scores))  # (D, S, ...)
    return Scores(*(figure.reshape(-1, *figure.shape[2:]) for figure in joined))


class _Verdict:
    """Tables over the scores of all policies; figures of a demand are means over its seeds."""

    def __init__(self, spec: SystemSpec, scores: Mapping[str, Scores], n_demands: int, n_seeds: int) -> None:
        self._spec, self._scores, self._shape = spec, scores, (n_demands, n_seeds)

    def efficiency(self, name: str, *weights: np.ndarray) -> np.ndarray:
        """(n_demands, n_seeds) relative to the static default on the same episode."""
        relative = efficiency(self._spec, self._scores[name], self._scores[STATIC], *weights)
        return relative.reshape(self._shape)

    def rows(self, name: str, traces: Sequence[str]) -> list[dict[str, Any]]:
        """One row for each demand."""
        relative, scores = self.efficiency(name), self._scores[name]
        rows = []
        for d, trace in enumerate(traces):
            episodes = slice(d * self._shape[1], (d + 1) * self._shape[1])
            rows.append(
                {
                    "policy": name,
                    "trace": trace,
                    "seed_count": self._shape[1],
                    "efficiency": float(relative[d].mean()),
                    "efficiency_ci": list(bootstrap_interval(relative[d])),
                    "efficiency_iqm": interquartile_mean(relative[d]),
                    "slo_attainment": float(scores.slo_attainment[episodes].mean()),
                    "reserved": float(price(self._spec, scores.reserved[episodes]).mean()),
                    "reserved_by_resource": _by_resource(scores.reserved[episodes]),
                    "used": float(price(self._spec, scores.used[episodes]).mean()),
                    "used_by_resource": _by_resource(scores.used[episodes]),
                    "work": dict(zip(self._spec.workloads, scores.work[episodes].mean(axis=0).tolist(), strict=True)),
                    "within_slo": float(scores.within_slo[episodes].mean()),
                    "latency_p50_seconds": float(scores.latency_p50[episodes].mean()),
                    "latency_p99_seconds": float(scores.latency_p99[episodes].mean()),
                    "accuracy": float(scores.accuracy[episodes].mean()),
                    "ingest_lag_seconds": float(scores.ingest_lag[episodes].mean()),
                    "reward": float(scores.reward[episodes].mean()),
                    "changes": float(scores.changes[episodes].mean()),
                    "flaps": float(scores.flaps[episodes].mean()),
                }
            )
        return rows

    def references(self, judged: str) -> dict[str, str]:
        """Summary key -> policy. The best heuristic is the one with the largest mean reward, which counts SLOs too."""
        apart = (STATIC, BEST_STATIC, ORACLE, judged)
        heuristics = [name for name in self._scores if name not in apart and not name.startswith("ppo")]
        found = {"vs_static": STATIC, "vs_best_static": BEST_STATIC, "vs_oracle": ORACLE}
        if heuristics:
            found["vs_best_heuristic"] = max(heuristics, key=lambda name: float(self._scores[name].reward.mean()))
        found |= {f"vs_{name}": name for name in heuristics}
        return {key: name for key, name in found.items() if name in self._scores and name != judged}

    def comparison(self, judged: str, reference: str) -> dict[str, Any]:
        """The judged policy against one reference, over all demands and seeds."""
        ours, theirs = self._scores[judged], self._scores[reference]
        gain, interval = relative_gain(self.efficiency(judged), self.efficiency(reference))
        delta = float((ours.slo_attainment - theirs.slo_attainment).mean())
        saved = 1.0 - price(self._spec, ours.reserved).sum() / price(self._spec, theirs.reserved).sum()
        used = 1.0 - price(self._spec, ours.used).sum() / price(self._spec, theirs.used).sum()
        share = {"share_of_gain": self._share_of_gain(judged)} if reference == ORACLE else {}
        return {
            "name": reference,
            **share,
            "efficiency_gain": gain,
            "efficiency_gain_ci": list(interval),
            "reserved_saving": float(saved),
            "used_saving": float(used),
            "slo_attainment_delta": delta,
            "slo_attainment_delta_ci": list(
                bootstrap_interval((ours.slo_attainment - theirs.slo_attainment).reshape(self._shape))
            ),
            "counts": delta >= 0.0,  # a saving with worse attainment is none
        }

    def _share_of_gain(self, judged: str) -> float:
        """What the judged policy gains over the static default, as a share of what the oracle gains."""
        ours, most = (float(self.efficiency(name).mean()) - 1.0 for name in (judged, ORACLE))
        return ours / most if most > 0.0 else float("nan")

    def weights(self, judged: str, references: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Efficiency gain over each reference with one value or price halved or doubled."""
        return {
            variant: {
                key: relative_gain(self.efficiency(judged, *weights), self.efficiency(name, *weights))[0]
                for key, name in references.items()
            }
            for variant, weights in weight_variants(self._spec).items()
        }


def _by_resource(amounts: np.ndarray) -> dict[str, float]:
    return dict(zip(RESOURCES, amounts.mean(axis=0).tolist(), strict=True))


def evaluation_table(result: Mapping[str, Any]) -> Table:
    """One line for each policy: means over demands."""
    # A plain box: with lines between ten columns the figures would not fit into 80 characters.
    table = Table(
        title=f"{result['spec']}: efficiency relative to the static default", box=SIMPLE, padding=(0, 0, 0, 1)
    )
    for column in (
        "policy",
        "effi-\nciency",
        "SLOs\nmet",
        "cores\nreserved",
        "cores\nused",
        "p99,\ns",
        "accu-\nracy",
        "changes",
        "flaps",
    ):
        table.add_column(column, justify="left" if column == "policy" else "right", no_wrap=True)
    names = list(dict.fromkeys(row["policy"] for row in result["rows"]))
    for name in names:
        rows = [row for row in result["rows"] if row["policy"] == name]

        def mean(*path: str, rows: list[dict[str, Any]] = rows) -> float:
            return float(np.mean([_at(row, path) for row in rows]))

        table.add_row(
            name,
            f"{mean('efficiency'):.2f}",
            f"{mean('slo_attainment'):.1%}",
            f"{mean('reserved_by_resource', 'cpu_cores'):.2f}",
            f"{mean('used_by_resource', 'cpu_cores'):.2f}",
            f"{mean('latency_p99_seconds'):.3f}",
            f"{mean('accuracy'):.2f}",
            f"{mean('changes'):.0f}",
            f"{mean('flaps'):.0f}",
        )
    return table


def summary_table(result: Mapping[str, Any]) -> Table:
    """The judged policy against each reference."""
    table = Table(title=f"{result['judged']} against the references", box=SIMPLE, padding=(0, 0, 0, 1))
    for column in ("reference", "efficiency\ngain", "95 % interval", "reserved\nsaving", "SLOs met,\nchange"):
        table.add_column(column, justify="left" if column == "reference" else "right")
    for key, line in result["summary"].items():
        low, high = line["efficiency_gain_ci"]
        table.add_row(
            key if key.endswith(line["name"]) else f"{key} ({line['name']})",
            f"{line['efficiency_gain']:+.1%}",
            f"{low:+.1%} to {high:+.1%}",
            f"{line['reserved_saving']:+.1%}",
            f"{line['slo_attainment_delta']:+.2%}" + ("" if line["counts"] else " (no saving)"),
        )
    return table


def _at(row: Mapping[str, Any], path: Sequence[str]) -> float:
    found: Any = row
    for key in path:
        found = found[key]
    return float(found)
