"""What `trimtab evaluate` does: gathers policies and demands, and puts them through `run_evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from agents.artifact import ArtifactError, load, read_card, shipped_directory
from agents.oracle import OraclePolicy
from agents.policy import Policy
from agents.progress import Progress
from envs.simulator.parameters import Parameters
from envs.spec import Role, SystemSpec
from envs.task import JOINT, Task
from telemetry.public_traces import TraceError, demands_in, trace_paths
from telemetry.workload import Demand
from training.evaluate import Contestant, EvaluationConfig, Kind, run_evaluate
from training.heuristics import HEURISTICS
from training.protocol import Protocol, ProtocolError, file_hash, load_protocol, trace_status
from training.references import BEST_STATIC, POLICY_SEARCH, TUNED, load_references, reference_policies
from training.rollout import Policies


@dataclass(frozen=True)
class JudgingConfig:
    """What is judged on what."""

    traces: Path | None = None
    """Folder of traces in any supported format; None takes the generated test days of the protocol."""
    only_declared: bool = False
    """Judge on those of the traces only that the protocol declares as test data."""
    policies: tuple[Path, ...] = ()
    """A folder for each training seed, with what there is of `allocation/`, `tuning/` and `joint/`; empty for the
    shipped policies."""
    seeds: int = 20
    """Episodes on each trace."""
    parameters: str | None = None
    """Simulator parameters; None takes the shipped ones."""
    randomize: bool = True
    """Whether the simulator's parameters vary from seed to seed."""


def evaluate_policies(
    spec_source: str, config: JudgingConfig, *, on_progress: Progress | None = None
) -> dict[str, Any]:
    """Judge the policies in folders, or the shipped ones, against all references.

    Args:
        spec_source: SystemSpec file or shipped name.
        config: what is judged on what.
        on_progress: called after every policy.

    Returns:
        As `run_evaluate`, with `protocol`: what is known of the demands.

    Raises:
        SpecError, ArtifactError, ParametersError, TraceError, ProtocolError, EvaluationError: one line each.
    """
    spec, protocol = SystemSpec.load(spec_source), load_protocol()
    folders = config.policies or (shipped_directory(Role.ALLOCATION).parent,)
    for folder in folders:
        check_unseen(folder, protocol)
    learned = [Learned.load(folder, spec) for folder in folders]
    demands, provenance = unseen_demands(spec, protocol, config)
    seen = trained_on(folders)
    for line in provenance.get("traces", ()):
        line["trained_on"] = line["sha256"] in seen
    result = run_evaluate(
        spec,
        contestants(spec, learned),
        demands,
        config=EvaluationConfig(seeds=tuple(range(config.seeds)), randomize=config.randomize),
        parameters=Parameters.load(config.parameters) if config.parameters else None,
        on_progress=on_progress,
    )
    return result | {"protocol": provenance}


@dataclass(frozen=True)
class Learned:
    """What a training made."""

    policies: Mapping[str, Policy]
    """By role, and `joint`."""
    seconds: Mapping[str, float | None]
    """To obtain each."""

    @classmethod
    def load(cls, folder: Path, spec: SystemSpec) -> Learned:
        """What there is of the three artifacts.

        Raises:
            ArtifactError: none is there, or one cannot be used.
        """
        there = [str(name) for name in (*Role, JOINT) if (folder / name).is_dir()]
        if not there:
            raise ArtifactError(f"{str(folder)!r} holds no policy; it needs a folder allocation/, tuning/ or joint/")
        seconds = {name: read_card(folder / name).get("training_seconds") for name in there}
        return cls({name: load(folder / name, spec, name) for name in there}, seconds)


def contestants(spec: SystemSpec, learned: Sequence[Learned]) -> dict[str, Contestant]:
    """All references, the oracle, and the learned policies: both roles together, each alone with the best static
    setting for the rest, and the one for all knobs."""
    references = load_references(spec)
    policies = reference_policies(spec, references)
    seconds, rules = _search_seconds(spec), {heuristic.name for heuristic in HEURISTICS}

    def kind(name: str) -> Kind:
        return "static" if name in ("static", "best_static") else "rule" if name in rules else "search"

    found = {name: Contestant(kind(name), (roles,), seconds.get(name)) for name, roles in policies.items()}
    known = np.stack([spec.default_setting, references.best_static, *references.settings.values()])
    found["oracle"] = Contestant("oracle", (lambda plant: {JOINT: OraclePolicy(Task(spec, JOINT), plant, known)},))
    best = policies["best_static"]
    parts = {"ppo-allocation": (Role.ALLOCATION,), "ppo-tuning": (Role.TUNING,), "ppo": tuple(Role)}
    for name, roles in parts.items():
        chosen = [one for one in learned if set(roles) & set(one.policies)]
        # Where only one role was trained, `ppo` already is that one alone.
        if chosen and (name == "ppo" or any(set(Role) <= set(one.policies) for one in chosen)):
            found[name] = _contestant(chosen, roles, best)
    joint = [one for one in learned if JOINT in one.policies]
    if joint:
        found["ppo-joint"] = _contestant(joint, (JOINT,), {})
    return found


def _contestant(learned: Sequence[Learned], names: Sequence[str], rest: Policies) -> Contestant:
    """One policy for each training, of the named artifacts that are there, with `rest` for the other roles."""
    seeds = tuple({**rest, **{n: one.policies[n] for n in names if n in one.policies}} for one in learned)
    spent = [one.seconds[name] for one in learned for name in names if name in one.policies]
    known = [seconds for seconds in spent if seconds is not None]
    return Contestant("learned", seeds, sum(known) if len(known) == len(spent) else None)


def _search_seconds(spec: SystemSpec) -> dict[str, float]:
    """Reference -> wall-clock seconds of the search that found it, as the files say."""
    folder = resources.files("training") / "configs"
    read = {
        name: json.loads((folder / name).read_text()) if (folder / name).is_file() else {}
        for name in (BEST_STATIC, TUNED, POLICY_SEARCH)
    }
    wanted = {BEST_STATIC: spec.setting_fingerprint, TUNED: spec.setting_fingerprint, POLICY_SEARCH: spec.fingerprint}
    ours = {name: found for name, found in read.items() if found.get("fingerprint") == wanted[name]}
    searched = {"best_static": ours.get(BEST_STATIC, {}), **ours.get(TUNED, {})}
    searched |= ours.get(POLICY_SEARCH, {}).get("policies", {})
    return {name: float(one["seconds"]) for name, one in searched.items() if isinstance(one, dict) and "seconds" in one}


def check_unseen(folder: Path, protocol: Protocol) -> None:
    """No policy may have been trained, or selected, on the generated days that it is judged on.

    Args:
        folder: of artifacts, whose cards say what they were trained on.
        protocol: names the test days.

    Raises:
        ProtocolError: a card names a seed of the test days.
        ArtifactError: a card cannot be read.
    """
    for name in (*Role, JOINT):
        if not (folder / name).is_dir():
            continue
        training = read_card(folder / name).get("training", {})
        for use in ("demands", "validation"):
            seen = set(training.get(use, {}).get("seeds", ())) & set(protocol.seeds("test"))
            if seen:
                raise ProtocolError(
                    f"{str(folder / name)!r} saw test day {min(seen)} in its {use}; train on seeds other than "
                    f"{', '.join(map(str, protocol.seeds('test')))}"
                )


def trained_on(folders: Sequence[Path]) -> set[str]:
    """sha256 of the traces that policies were trained or selected on, as far as their cards' folders are still there.

    They may be judged on, since they are nobody's test data, but a reader must know.

    Raises:
        ArtifactError: a card cannot be read.
    """
    cards = [read_card(folder / name) for folder in folders for name in (*Role, JOINT) if (folder / name).is_dir()]
    named = {
        Path(traces)
        for card in cards
        for use in ("demands", "validation")
        if (traces := card.get("training", {}).get(use, {}).get("traces"))
    }
    return {file_hash(path) for traces in named if traces.is_dir() for path in trace_paths(traces)}


def unseen_demands(spec: SystemSpec, protocol: Protocol, config: JudgingConfig) -> tuple[list[Demand], dict[str, Any]]:
    """Demands that no policy was trained on, and what the protocol says about them.

    Raises:
        TraceError: the folder holds no trace that can be read.
        ProtocolError: a trace is declared as training or validation data, or none as test data where only such count.
    """
    if config.traces is None:
        return protocol.demands("test", spec.control_period_seconds), {"generated": protocol.generated("test")}
    refused: dict[str, str] = {}
    demands = demands_in(config.traces, refused)
    if not demands:
        reasons = "; ".join(refused.values()) or "it is empty"
        raise TraceError(f"no trace could be read in {str(config.traces)!r}: {reasons[:300]}")
    status = trace_status(protocol, demands)
    declared: dict[str, str] = {}
    if config.only_declared:
        demands = [demand for demand, line in zip(demands, status, strict=True) if line["set"] == "test"]
        status = [line for line in status if line["set"] == "test"]
        declared = protocol.verify(config.traces) | {line["file"]: "ok" for line in status}
        if not demands:
            raise ProtocolError(
                f"no trace in {str(config.traces)!r} is declared as test data; leave out --only-declared"
            )
    seen = [f"{line['file']} ({line['set']})" for line in status if line["set"] in ("train", "validation")]
    if seen:
        raise ProtocolError(
            f"declared as training or validation data: {', '.join(seen)}; judge on other traces, or on the declared "
            "test data alone with --only-declared"
        )
    return demands, {"traces": status, "declared": declared}
