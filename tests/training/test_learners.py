import os
from pathlib import Path

import pytest
from learning_jobs import die, fail, tell_process

from training.learners import Learner, run_learners


def learners(folder: Path, **jobs):
    return {name: Learner(job, folder / name) for name, job in jobs.items()}


def test_each_learner_is_a_single_threaded_process_of_its_own(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    both = learners(tmp_path, one=tell_process, two=tell_process)
    assert run_learners(both, jobs=2) == {}
    one, two = (learner.result() for learner in both.values())
    assert len({one["pid"], two["pid"], os.getpid()}) == 3
    assert (one["threads"], two["threads"]) == ("1", "1")
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_no_more_run_at_a_time_than_asked_for(tmp_path: Path):
    both = learners(tmp_path, one=tell_process, two=tell_process)
    run_learners(both, jobs=1)
    assert both["one"].result()["to"] < both["two"].result()["from"]


@pytest.mark.parametrize(("crash", "reason"), [(fail, "ValueError: the well is dry"), (die, "killed by SIGKILL")])
def test_a_crash_is_reported_and_costs_no_other_learner(tmp_path: Path, crash, reason):
    three = learners(tmp_path, first=tell_process, bad=crash, last=tell_process)
    failures = run_learners(three, jobs=2)
    assert list(failures) == ["bad"]
    assert reason in failures["bad"]
    assert three["first"].result()["pid"] != three["last"].result()["pid"]


def test_the_traceback_of_a_crash_is_kept(tmp_path: Path):
    failures = run_learners(learners(tmp_path, bad=fail), jobs=1)
    assert str(tmp_path / "bad" / "error.txt") in failures["bad"]
    assert "learning_jobs.py" in (tmp_path / "bad" / "error.txt").read_text()


def test_a_crash_leaves_no_result_of_an_earlier_run(tmp_path: Path):
    bad = learners(tmp_path, bad=fail)
    bad["bad"].write({"score": 1.0})
    run_learners(bad, jobs=1)
    assert not bad["bad"].result_file.exists()


def test_progress_is_that_of_all_together(tmp_path: Path):
    calls: list[tuple[int, int, str]] = []
    run_learners(learners(tmp_path, one=tell_process, two=tell_process), lambda *report: calls.append(report), jobs=1)
    assert calls[:2] == [(2, 8, "one: half"), (4, 8, "one: whole")]
    assert calls[-1] == (8, 8, "two: ended")


def test_with_no_jobs_learners_run_in_this_process_and_errors_are_raised(tmp_path: Path):
    here = learners(tmp_path, one=tell_process)
    assert run_learners(here) == {}
    assert here["one"].result()["pid"] == os.getpid()
    with pytest.raises(ValueError, match="dry"):
        run_learners(learners(tmp_path, bad=fail))
