"""Multi-objective search (NSGA-II) for useful work, price and SLO attainment, in a study on disk that resumes."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from agents.progress import Progress
from training.extras import extra
from training.pareto_problems import OBJECTIVES, Conditions, Problem, problem, reference_points


class StudyError(ValueError):
    """A study that cannot be used; one line."""


def run_pareto(
    name: str,
    searched: Problem,
    file: Path,
    *,
    trials: int,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Search until the study holds so many trials.

    Trials are the same whether a study is searched in one go, in parts, or after having been killed: the file holds
    finished trials only, and what a trial tries depends on its number and the generations before. Called again it
    changes nothing.

    Args:
        name: of the study in the file.
        searched: what is searched.
        file: SQLite database of studies, made if missing.
        trials: in the study, in the end.
        seed: of the sampler.
        on_progress: called after every batch.

    Returns:
        `study`, `trials`, `failed`, `front`: [{`trial`, `work`, `price`, `slo_attainment`, `parameters`, `setting`}] by
        price.

    Raises:
        StudyError: the study was made under other conditions, another search works on it, or the file is no study.
        MissingExtra: optuna is not installed.
    """
    with _opened(name, searched, file) as kept:
        study = _in_memory(kept)
        while (done := len(_trials(study))) < trials:
            # Batches end with a generation of NSGA-II, which counts complete trials, also after a search that was
            # stopped within one.
            missing = searched.population - len(_complete(study)) % searched.population
            batch = range(done, min(done + min(searched.batch, missing), trials))
            _evaluate(study, searched, [_ask(study, searched, number, seed) for number in batch])
            kept.add_trials(_trials(study)[done:])
            if on_progress:
                on_progress(batch.stop, trials, f"{name}: {len(study.best_trials)} on the front")
        return {
            "study": name,
            "trials": done,
            "failed": done - len(_complete(study)),
            "conditions": searched.told,
            "front": [_told(trial, searched) for trial in sorted(study.best_trials, key=lambda trial: trial.values[1])],
        }


def search_front(
    name: str, conditions: Conditions, file: Path, *, trials: int, seed: int = 0, on_progress: Progress | None = None
) -> dict[str, Any]:
    """What `trimtab search --pareto` does: `run_pareto` of a named problem, and the references beside its front.

    Args:
        name: `static`, `heuristic:NAME` or `ppo`; also of the study.
        conditions: spec, demands and lengths.
        file: SQLite database of studies, made if missing.
        trials: in the study, in the end.
        seed: of the sampler.
        on_progress: called after every batch.

    Returns:
        as `run_pareto`, and `references`: name -> [work, price, slo_attainment].

    Raises:
        SearchNameError: there is no such problem.
        StudyError, MissingExtra: as `run_pareto`.
    """
    found = run_pareto(name, problem(name, conditions), file, trials=trials, seed=seed, on_progress=on_progress)
    return found | {"references": reference_points(conditions)}


@contextmanager
def _opened(name: str, searched: Problem, file: Path) -> Iterator[Any]:
    """The study, made if missing; nobody else has it open."""
    optuna, sqlalchemy = extra("optuna"), extra("sqlalchemy")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:  # closed last: SQLite's own locks of this process would go with it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(f"another search works on {str(file)!r}; wait for it or give another --study") from None
        storage = None
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
            study = optuna.create_study(
                study_name=name, storage=storage, directions=list(OBJECTIVES.values()), load_if_exists=True
            )
            _check(study, searched, file)
            yield study
        except (sqlalchemy.exc.DatabaseError, optuna.exceptions.StorageInternalError) as error:
            cause = str(getattr(error, "orig", error)).splitlines()[0]
            raise StudyError(f"cannot use {str(file)!r} as a study ({cause}); give another --study") from None
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()


def _check(study: Any, searched: Problem, file: Path) -> None:
    """Refuse a study of other conditions; write those of a new one.

    Raises:
        StudyError: naming what differs.
    """
    known = study.user_attrs.get("conditions")
    if known is None:
        study.set_user_attr("conditions", searched.told)
    elif known != searched.told:
        key = next(key for key in searched.told | known if known.get(key) != searched.told.get(key))
        theirs, ours = (repr(told.get(key))[:60] for told in (known, searched.told))
        raise StudyError(
            f"study {study.study_name!r} in {str(file)!r} was made for {key} {theirs}, asked for is {ours}; "
            "give another --study"
        )


def _in_memory(kept: Any) -> Any:
    """A copy of a study that asks without touching the disk: SQLite takes a tenth of a second for each trial."""
    study = extra("optuna").create_study(directions=kept.directions)
    study.add_trials(kept.get_trials(deepcopy=False))
    return study


def _ask(study: Any, searched: Problem, number: int, seed: int) -> Any:
    """The next trial."""
    from training.nsga import ResumableSampler

    if number < len(searched.starts):
        study.enqueue_trial(searched.starts[number])
    study.sampler = ResumableSampler(searched.population, seed, number)
    return study.ask(searched.distributions)


def _evaluate(study: Any, searched: Problem, trials: Sequence[Any]) -> None:
    """Evaluate a batch; a trial whose result is not finite has failed."""
    for trial, row in zip(trials, searched.evaluate([trial.params for trial in trials]), strict=True):
        if np.isfinite(row).all():
            study.tell(trial, row.tolist())
        else:
            study.tell(trial, state=extra("optuna").trial.TrialState.FAIL)


def _trials(study: Any) -> list[Any]:
    return list(study.get_trials(deepcopy=False))


def _complete(study: Any) -> list[Any]:
    return [trial for trial in _trials(study) if trial.values is not None]


def _told(trial: Any, searched: Problem) -> dict[str, Any]:
    figures: Mapping[str, float] = dict(zip(OBJECTIVES, trial.values, strict=True))
    return {"trial": trial.number, **figures, "parameters": trial.params, "setting": searched.setting(trial.params)}
