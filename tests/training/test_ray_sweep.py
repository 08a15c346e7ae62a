"""Against a real Ray on this machine: `make test-ray`."""

import sys
from pathlib import Path

import learning_jobs
import pytest
from learning_jobs import fail, tell_process

from training.learners import Learner
from training.ray_sweep import RayError, ray_executor


def test_without_ray_the_extra_to_install_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match=r"pip install 'trimtab\[ray\]'"):
        ray_executor("local", 1, tmp_path)


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_learners_run_as_tune_trials_and_a_crash_costs_no_other(tmp_path: Path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(learning_jobs.__file__).parent))  # Ray's workers know nothing of pytest's
    learners = {name: Learner(job, tmp_path / name) for name, job in (("good", tell_process), ("bad", fail))}
    ended = []
    execute = ray_executor("local", 2, tmp_path / "tune")
    failures = execute(learners, lambda done, total, message: ended.append((done, total)))
    assert list(failures) == ["bad"]
    assert "the well is dry" in failures["bad"]
    assert learners["good"].result()["threads"] == "1"
    assert ended == [(1, 2), (2, 2)]
    assert not ray.is_initialized()


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_ray_that_is_not_there_is_named(tmp_path: Path):
    pytest.importorskip("ray")
    with pytest.raises(RayError, match="no Ray at"):
        ray_executor("auto", 1, tmp_path)({"one": Learner(tell_process, tmp_path)}, None)
