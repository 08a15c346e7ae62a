import fcntl
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest

from training.pareto import StudyError, run_pareto


class Toy:
    """Work x, price x² + y², attainment 1 - y: the front is y = 0."""

    population = batch = 4

    def __init__(self, told: dict[str, Any] | None = None, stop_at: int | None = None) -> None:
        self.told = told or {"fingerprint": "abc"}
        self.seen: list[dict[str, Any]] = []
        self._stop_at = stop_at

    @property
    def distributions(self) -> dict[str, Any]:
        return {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in "xy"}

    @property
    def starts(self) -> list[dict[str, Any]]:
        return [{"x": 0.5, "y": 0.5}]

    def evaluate(self, trials: Sequence[Mapping[str, Any]]) -> np.ndarray:
        if self._stop_at is not None and len(self.seen) >= self._stop_at:
            raise KeyboardInterrupt
        self.seen += [dict(trial) for trial in trials]
        x, y = np.array([[trial["x"], trial["y"]] for trial in trials]).T
        return np.stack([x, x**2 + y**2, 1.0 - y], axis=1)

    def setting(self, parameters: Mapping[str, Any]) -> dict[str, float]:
        return {}


class Broken(Toy):
    """Every result is missing."""

    def evaluate(self, trials: Sequence[Mapping[str, Any]]) -> np.ndarray:
        return np.full((len(trials), 3), np.nan)


def test_the_front_approaches_the_true_one(tmp_path):
    front = run_pareto("toy", Toy(), tmp_path / "a.db", trials=40)["front"]
    assert sum(row["parameters"]["y"] < 0.1 for row in front) > 5
    assert [row["price"] for row in front] == sorted(row["price"] for row in front)


def test_the_starts_are_the_first_trials(tmp_path):
    toy = Toy()
    run_pareto("toy", toy, tmp_path / "a.db", trials=3)
    assert toy.seen[0] == toy.starts[0]


@pytest.mark.parametrize("parts", [(4, 10, 16), (3, 9, 16)])
def test_a_search_in_parts_finds_the_same_as_one_in_one_go(tmp_path, parts):
    whole, pieces = Toy(), Toy()
    expected = run_pareto("toy", whole, tmp_path / "whole.db", trials=parts[-1])
    for trials in parts:
        result = run_pareto("toy", pieces, tmp_path / "parts.db", trials=trials)
        assert result["trials"] == trials
    assert pieces.seen == whole.seen
    assert result["front"] == expected["front"]


def test_a_killed_search_loses_no_trial_and_repeats_none(tmp_path):
    file, killed, whole, rest = tmp_path / "killed.db", Toy(stop_at=8), Toy(), Toy()
    with pytest.raises(KeyboardInterrupt):
        run_pareto("toy", killed, file, trials=12)
    result = run_pareto("toy", rest, file, trials=12)
    run_pareto("toy", whole, tmp_path / "whole.db", trials=12)
    assert killed.seen + rest.seen == whole.seen
    assert (result["trials"], result["failed"]) == (12, 0)


def test_a_finished_search_only_tells_its_front_again(tmp_path):
    again = Toy()
    expected = run_pareto("toy", Toy(), tmp_path / "a.db", trials=8)
    assert run_pareto("toy", again, tmp_path / "a.db", trials=8) == expected
    assert again.seen == []


def test_another_seed_searches_elsewhere(tmp_path):
    one, other = Toy(), Toy()
    run_pareto("toy", one, tmp_path / "one.db", trials=3, seed=0)
    run_pareto("toy", other, tmp_path / "other.db", trials=3, seed=1)
    assert one.seen[1:] != other.seen[1:]


def test_a_result_that_is_not_finite_is_a_failed_trial(tmp_path):
    result = run_pareto("toy", Broken(), tmp_path / "a.db", trials=4)
    assert (result["trials"], result["failed"], result["front"]) == (4, 4, [])


def test_a_study_of_another_spec_is_refused_with_both_fingerprints(tmp_path):
    run_pareto("toy", Toy(), tmp_path / "a.db", trials=1)
    with pytest.raises(StudyError, match=r"'toy' in .*a\.db' was made for fingerprint 'abc', asked for is 'xyz'"):
        run_pareto("toy", Toy({"fingerprint": "xyz"}), tmp_path / "a.db", trials=2)


def test_two_studies_fit_into_one_file(tmp_path):
    run_pareto("one", Toy(), tmp_path / "a.db", trials=2)
    assert run_pareto("other", Toy({"fingerprint": "xyz"}), tmp_path / "a.db", trials=1)["trials"] == 1


def test_a_file_that_holds_no_study_is_refused_in_one_line(tmp_path):
    (tmp_path / "no.db").write_text("hello, this is a text and no database" * 50)
    with pytest.raises(StudyError, match=r"cannot use .*no\.db"):
        run_pareto("toy", Toy(), tmp_path / "no.db", trials=1)


def test_a_study_that_another_search_works_on_is_refused(tmp_path):
    with (tmp_path / "a.db").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="another search works on"):
            run_pareto("toy", Toy(), tmp_path / "a.db", trials=1)


def test_progress_counts_the_trials_of_the_study(tmp_path):
    calls = []
    run_pareto("toy", Toy(), tmp_path / "a.db", trials=10, on_progress=lambda *call: calls.append(call))
    assert [done for done, _, _ in calls] == [4, 8, 10]
    assert {total for _, total, _ in calls} == {10}
