"""A sweep: trials of PPO's hyperparameters, each one independent run of training, judged by the validation score."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from agents.ppo_config import PpoConfig
from agents.progress import Progress
from training.learners import Failures, Learner, run_learners, write_json
from training.sweep_space import Space
from training.train import Training, learn

RESULTS = "sweep.json"
Executor = Callable[[Mapping[str, Learner], Progress | None], Failures]
"""Runs learners, wherever; see `training.learners.run_learners`."""


class SweepError(ValueError):
    """A sweep that cannot be made or gone on with; one line."""


@dataclass(frozen=True)
class Sweep:
    """What is tried out."""

    training: Training
    """Its configuration is the first trial and the base of all others; its first seed is every trial's. With `resume`,
    trials that are finished are not run again, and one that was cut off goes on from its last checkpoint."""
    folder: Path
    """Of `sweep.json` and `trials/`."""
    trials: int
    space: Space

    @property
    def seed(self) -> int:
        """Of every trial, and of what is drawn."""
        return self.training.config.seeds[0]

    def configurations(self) -> dict[str, PpoConfig]:
        """Trial -> its configuration."""
        base = self.training.config.ppo
        return {f"trial {i}": self.space.draw(base, self.seed, i) for i in range(self.trials)}

    def header(self) -> dict[str, Any]:
        """What all trials share; a sweep is gone on with only if it is the same."""
        return {
            "task": self.training.task,
            "fingerprint": self.training.spec.fingerprint,
            "seed": self.seed,
            "space": self.space.describe(),
            "base": {k: v for k, v in self.training.config.model_dump().items() if k != "seeds"},
        }


def run_sweep(sweep: Sweep, execute: Executor | None = None, on_progress: Progress | None = None) -> dict[str, Any]:
    """Run the trials that have no result yet, and write `sweep.json`, best trial first.

    Args:
        sweep: what.
        execute: runs the learners; None runs them in this process, one after the other.
        on_progress: called as trials get on.

    Returns:
        JSON-able: the header, and `trials` [{`trial`, `config`, `changed` (against the first trial), `seed`, `score`,
        `seconds`, `error`}]; score and seconds are None where `error` tells why.

    Raises:
        SweepError: the folder holds another sweep, or one that was not asked to be gone on with.
        ConfigError: the space gives a configuration that is not valid.
    """
    configurations = sweep.configurations()
    _claim(sweep)
    learners = {name: _learner(sweep, name, config) for name, config in configurations.items()}
    left = {name: learner for name, learner in learners.items() if not learner.result_file.is_file()}
    failures = (execute or run_learners)(left, on_progress)
    trials = [
        _row(sweep, name, config, {} if name in failures else learners[name].result(), failures.get(name))
        for name, config in configurations.items()
    ]
    trials.sort(key=lambda trial: (trial["score"] is not None, trial["score"]), reverse=True)
    result = sweep.header() | {"trials": trials}
    write_json(sweep.folder / RESULTS, result)
    return result


def run_trial(training: Training, on_progress: Progress | None = None) -> dict[str, Any]:
    """One trial; gives `score`, `seconds` and `curve`."""
    learned = learn(training, training.config.seeds[0], on_progress)
    return {"score": learned.score, "seconds": learned.seconds, "curve": learned.curve}


def sweep_table(result: Mapping[str, Any]) -> Table:
    """Trials, best first, with what each changes."""
    title = f"{result['task']}: {len(result['trials'])} trials, seed {result['seed']}"
    table, keys = Table(title=title, box=SIMPLE, padding=(0, 0, 0, 1)), list(result["space"])
    for column in ("trial", "score", "seconds", *keys):
        table.add_column(column.replace("_", "\n"), justify="right", no_wrap=True)
    for trial in result["trials"]:
        figures = ["failed", ""] if trial["error"] else [f"{trial['score']:.4f}", f"{trial['seconds']:.0f}"]
        table.add_row(str(trial["trial"]), *figures, *(_cell(trial["config"][key]) for key in keys))
    return table


def _cell(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def best_as_toml(result: Mapping[str, Any]) -> str:
    """What the best trial changes, as lines for `[ppo]` in a training configuration."""
    best = result["trials"][0]
    if best["error"]:
        return "# no trial gave a score"
    lines = [f"{key} = {json.dumps(value)}" for key, value in best["changed"].items()]
    return "\n".join([f"# trial {best['trial']} is the best:", "[ppo]", *lines])


def _learner(sweep: Sweep, name: str, config: PpoConfig) -> Learner:
    training, folder = sweep.training, (sweep.folder / "trials" / name.removeprefix("trial ")).resolve()
    trial = replace(
        training,
        out=training.out.resolve(),  # the partner's; a learner may work in another folder
        config=training.config.model_copy(update={"ppo": config, "seeds": (sweep.seed,)}),
        log_directory=folder,
        resume=True,  # a folder that is not to be gone on with was refused
    )
    return Learner(partial(run_trial, trial), folder)


def _row(sweep: Sweep, name: str, config: PpoConfig, result: Mapping[str, Any], error: str | None) -> dict[str, Any]:
    chosen, first = config.model_dump(mode="json"), sweep.training.config.ppo.model_dump(mode="json")
    return {
        "trial": int(name.removeprefix("trial ")),
        "seed": sweep.seed,
        "score": result.get("score"),
        "seconds": result.get("seconds"),
        "error": error,
        "changed": {key: value for key, value in chosen.items() if value != first[key]},
        "config": chosen,
    }


def _claim(sweep: Sweep) -> None:
    """Make the folder this sweep's, or find that it is."""
    file = sweep.folder / RESULTS
    if not file.is_file():
        write_json(file, sweep.header() | {"trials": []})
        return
    if not sweep.training.resume:
        raise SweepError(f"{file} is there already: go on with it by --resume, or give another folder")
    found, wanted = json.loads(file.read_text()), json.loads(json.dumps(sweep.header()))
    for key, value in wanted.items():
        if found.get(key) != value:
            raise SweepError(f"{file} is of a sweep with {key} {found.get(key)!r}, asked for is {value!r}")
