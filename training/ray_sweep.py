"""Trials through Ray Tune, on this machine or a cluster: one trial is one training run. An optional extra.

Nothing of a training's hot loop goes through Ray: it starts the runs and carries their results.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agents.progress import Progress
from training.learners import SINGLE_THREADED, Failures, Learner
from training.sweep import Executor

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_AIR_NEW_OUTPUT": "0",  # which prints on stdout whatever `verbose` says
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a trial writes its own logs
}


class RayError(RuntimeError):
    """Ray is not installed or cannot be reached; one line."""


def ray_executor(address: str, jobs: int, storage: Path) -> Executor:
    """What runs learners as Tune trials.

    Args:
        address: `local` starts a Ray of `jobs` cores here and ends it afterwards, `auto` finds the running cluster,
            anything else is its address.
        jobs: trials at a time.
        storage: folder for Tune's own files; on a cluster one that all machines see.

    Raises:
        RayError: Ray is not installed.
    """
    try:
        import ray  # noqa: F401
        from ray import tune  # noqa: F401
    except ImportError:
        raise RayError("Ray is not installed; it is an optional extra: pip install 'trimtab[ray]'") from None

    def execute(learners: Mapping[str, Learner], on_progress: Progress | None = None) -> Failures:
        if not learners:
            return {}
        with _connected(address, jobs):
            return _tune(learners, jobs, storage, on_progress)

    return execute


def _tune(learners: Mapping[str, Learner], jobs: int, storage: Path, on_progress: Progress | None) -> Failures:
    from ray import tune

    class Watch(tune.Callback):
        """Counts ended trials. Tune saves it, class and all, with the experiment, where no progress bar can go."""

        ended = 0
        report: Callable[[int], None] | None = None

        def __getstate__(self) -> dict[str, Any]:
            return {"ended": self.ended}

        def on_trial_complete(self, *args: Any, **kwargs: Any) -> None:
            self.ended += 1
            if self.report:
                self.report(self.ended)

        on_trial_error = on_trial_complete

    watch, count = Watch(), len(learners)
    if on_progress:
        watch.report = lambda ended: on_progress(ended, count, f"{ended} of {count} trials ended")

    def trial(config: dict[str, Any]) -> None:
        tune.report({"result": learners[config["name"]].train(None)})

    names = list(learners)
    grid = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"name": tune.grid_search(names)},
        tune_config=tune.TuneConfig(max_concurrent_trials=jobs),
        run_config=tune.RunConfig(name="ray", storage_path=str(storage.resolve()), verbose=0, callbacks=[watch]),
    ).fit()
    failures: Failures = {}
    for i in range(len(grid)):
        found = grid[i]
        name = str((found.config or {})["name"])
        if found.error or not found.metrics:
            failures[name] = " ".join(str(found.error).strip().splitlines()[-1:]) or "ended without a result"
        else:
            learners[name].write(found.metrics["result"])
    return failures


@contextlib.contextmanager
def _connected(address: str, jobs: int) -> Iterator[None]:
    """A Ray that is shut down, or left, at the end."""
    import ray

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ours: dict[str, Any] = {"num_cpus": jobs, "include_dashboard": False} if address == "local" else {}
    ours["runtime_env"] = {"env_vars": SINGLE_THREADED}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **ours)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RayError(f"no Ray at {address!r}: {error}; give `local` to start one here, `auto` to find one") from None
    try:
        yield
    finally:
        ray.shutdown()
