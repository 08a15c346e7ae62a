"""What `trimtab train` does: reads what the user gave, trains or sweeps, and says what came of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from agents.progress import Progress
from envs.simulator.parameters import Parameters
from envs.spec import SystemSpec
from training.config import TrainingConfig
from training.guard import fit_guards
from training.learners import Failures, run_learners
from training.sweep import RESULTS, Executor, Sweep, best_as_toml, run_sweep, sweep_table
from training.sweep_space import Space
from training.train import Training, TrainingError, list_failures, run_train


@dataclass(frozen=True)
class TrainingRequest:
    """The options of the command line, as they were given."""

    task: str
    out: Path
    config: Path | None
    spec: str
    parameters: str | None
    seeds: str | None
    jobs: int | None
    folder: Path
    resume: bool

    def training(self) -> Training:
        """What they ask for.

        Raises:
            ConfigError, SpecError, ParametersError: one line each.
        """
        config = TrainingConfig.load(self.config, self.task)
        return Training(
            self.task,
            self.out,
            SystemSpec.load(self.spec),
            config.with_seeds(self.seeds) if self.seeds is not None else config,
            Parameters.load(self.parameters) if self.parameters else None,
            self.folder,
            self.resume,
        )

    def processes(self, learners: int) -> int:
        """How many at a time; 0, this one, where there is only one learner."""
        return 0 if learners == 1 else min(learners, self.jobs or len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    summary: dict[str, Any]
    """JSON-able."""
    shown: Sequence[str | Table]
    """The same for people."""
    failures: Failures
    advice: str
    """What to do about failures."""

    def check(self) -> None:
        """Raise if there are failures.

        Raises:
            TrainingError: names all of them.
        """
        if self.failures:
            raise TrainingError(f"{list_failures(self.failures)}. {self.advice}")


def train_seeds(request: TrainingRequest, on_progress: Progress | None = None) -> Outcome:
    """Train every seed; the best goes to OUT/TASK."""
    training = request.training()
    report = run_train(training, jobs=request.processes(len(training.config.seeds)), on_progress=on_progress)
    # Last, since a guard is of both roles' policies together.
    fit_all_guards(training)
    advice = f"The others are done; again: the same command with --resume --logs {request.folder}"
    summary = {
        "task": request.task,
        "directory": str(report.directory),
        "scores": report.scores,
        "training_seconds": report.seconds,
        "logs": str(request.folder),
        "failures": report.failures,
    }
    lines = [f"{name:32} {score:8.4f}" for name, score in report.scores.items()]
    lines += [f"{report.directory}  ({report.seconds:.0f} s; tensorboard --logdir {request.folder})"]
    return Outcome(summary, lines, report.failures, advice)


def refit_guards(request: TrainingRequest) -> Outcome:
    """Train nothing; fit the guards of the artifacts that are there."""
    changed = [str(path) for path in fit_all_guards(request.training())]
    if not changed:
        raise TrainingError(f"there is no policy for this spec in {str(request.out)!r}")
    return Outcome({"guards": changed}, [f"guard fitted: {path}" for path in changed], {}, "")


def fit_all_guards(training: Training) -> list[Path]:
    """Of the policies in the folder, and of each seed's; the folders of the artifacts."""
    folders = [training.out, *sorted(training.out.glob("seeds/*"))]
    return [path for folder in folders for path in fit_guards(folder, training.spec, training.parameters)]


def sweep_hyperparameters(
    request: TrainingRequest, trials: int, space: Path | None, ray: str | None, on_progress: Progress | None = None
) -> Outcome:
    """Try hyperparameters drawn from a space; nothing is written but the folder of the sweep."""
    sweep = Sweep(request.training(), request.folder, trials, Space.load(space))
    execute: Executor = partial(run_learners, jobs=request.processes(trials))
    if ray:
        from training.ray_sweep import ray_executor

        execute = ray_executor(ray, max(1, request.processes(trials)), request.folder)
    result = run_sweep(sweep, execute, on_progress)
    failures = {f"trial {trial['trial']}": trial["error"] for trial in result["trials"] if trial["error"]}
    shown: list[str | Table] = [sweep_table(result), best_as_toml(result), f"{request.folder / RESULTS}"]
    return Outcome(result, shown, failures, f"Again: the same command with --resume --logs {request.folder}")
