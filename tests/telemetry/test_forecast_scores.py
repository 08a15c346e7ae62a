"""Continual scoring, and whose forecasts are shown."""

import numpy as np
import pytest

from telemetry.forecast_ledger import OPINIONS, LedgerHour
from telemetry.forecast_record import MIN_RECORD_HOURS
from telemetry.forecast_scores import RETURN_SKILL, Scoreboard
from telemetry.issues import HOUR, TARGETS, issues, labels

NAMES = ("load", "queue")
RNG = np.random.default_rng(0)
LEVELS = RNG.random((600, 2))  # over 0.7: an issue
LIMITS = np.array([0.7, 0.7])
GOOD, EVEN, BAD = 0.9, 0.5, 0.1


def play(board, hours, says, versions=("new", ""), acted=()):
    """Each opinion gives what comes true the probability that `says` has for it; returns the changes."""
    changes = []
    for hour in hours:
        said = np.full((len(NAMES), len(TARGETS), len(OPINIONS)), np.nan)
        for t, target in enumerate(TARGETS):
            for i, opinion in enumerate(OPINIONS):
                truth = np.array([labels(issues(LEVELS[:, n], 0.7), target)[hour] for n in range(len(NAMES))])
                right = says.get(opinion, np.nan)
                said[:, t, i] = np.where(truth == 1.0, right, 1.0 - right)
        changes += board.take(LedgerHour(hour * HOUR, NAMES, LEVELS[hour], LIMITS, said, versions))
        if acted:
            board.act(hour * HOUR, acted)
    return changes


def says(model, table=0.6, last_good=float("nan"), persistence=0.55):
    return {"model": model, "last_good": last_good, "table": table, "persistence": persistence}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_brier_scores_are_of_what_came_true_for_every_horizon(target):
    board = Scoreboard()
    play(board, range(100), says(GOOD))
    score = board.score(target.name)
    assert score.brier == pytest.approx({"model": 0.01, "table": 0.16, "persistence": 0.2025})
    assert score.skill == pytest.approx(1 - 0.01 / 0.16)
    assert (score.hours, score.cells) == (100 - target.lead, 2 * (100 - target.lead))


def test_only_the_last_week_counts():
    board = Scoreboard()
    play(board, range(100), says(BAD))
    play(board, range(100, 300), says(GOOD))
    assert board.score("1h").brier["model"] == pytest.approx(0.01)
    assert board.score("1h").hours == 168
    assert board.scored["1h", False] == 2 * 299


def test_a_model_worse_than_the_better_baseline_is_left_for_it_and_said_once():
    board = Scoreboard()
    changes = play(board, range(MIN_RECORD_HOURS + 26), says(EVEN))
    # Here no day is without an issue, so that nothing can be told of "within 24 h".
    assert board.shown == {"1h": "table", "6h": "table", "24h": "table", "within_6h": "table", "within_24h": "model"}
    assert len(changes) == 4
    assert changes[0].startswith("1h: table instead of model")


def test_persistence_is_shown_where_it_is_the_better_baseline():
    board = Scoreboard()
    play(board, range(80), says(EVEN, table=0.4, persistence=0.7))
    assert board.shown["1h"] == "persistence"


def test_the_last_good_model_is_shown_before_a_baseline():
    board = Scoreboard()
    play(board, range(100), says(BAD, last_good=GOOD), versions=("new", "old"))
    assert board.shown["1h"] == "last_good"


def test_a_last_good_model_that_has_become_bad_is_not_shown():
    board = Scoreboard()
    play(board, range(100), says(BAD, last_good=BAD), versions=("new", "old"))
    assert board.shown["1h"] == "table"


def test_too_few_hours_leave_nobody():
    board = Scoreboard()
    play(board, range(MIN_RECORD_HOURS), says(BAD))
    assert board.shown["1h"] == "model"


def test_a_week_without_issues_leaves_nobody():
    board = Scoreboard()
    said = np.broadcast_to([0.4, np.nan, 0.1, 0.1], (2, len(TARGETS), len(OPINIONS)))
    for hour in range(200):
        board.take(LedgerHour(hour * HOUR, NAMES, np.zeros(2), LIMITS, said, ("new", "")))
    assert board.score("1h").cells == 2 * 168
    assert board.shown["1h"] == "model"


def test_a_model_comes_back_by_evidence_not_as_soon_as_it_is_no_worse():
    board = Scoreboard()
    play(board, range(100), says(EVEN))
    play(board, range(100, 300), says(0.605))  # as good as the table, a little better even
    assert 0.0 < board.score("1h").skill < RETURN_SKILL
    assert board.shown["1h"] == "table"
    changes = play(board, range(300, 500), says(GOOD))
    assert board.shown["1h"] == "model"
    assert len([change for change in changes if change.startswith("1h:")]) == 1


def test_a_new_model_is_believed_at_first():
    board = Scoreboard()
    play(board, range(100), says(BAD))
    play(board, range(100, 102), says(BAD), versions=("newer", ""))
    assert board.shown["1h"] == "model"


def test_forecasts_on_which_the_controller_acted_are_scored_apart_and_choose_nobody():
    board = Scoreboard()
    play(board, range(100), says(BAD), acted=NAMES)
    assert board.score("1h").cells == 0
    assert board.score("1h", acted=True).cells == 2 * 99
    assert board.shown["1h"] == "model"


def test_an_hour_with_action_taints_what_reached_across_it_for_that_metric_alone():
    board = Scoreboard()
    play(board, range(50), says(GOOD))
    board.act(49 * HOUR, ("load",))
    play(board, range(50, 52), says(GOOD))
    assert board.score("1h", acted=True).cells == 1
    assert board.score("6h", acted=True).cells == 2  # said at 44 and 45, due at 50 and 51


def test_hours_that_are_missing_or_unknown_are_scored_by_nobody():
    board = Scoreboard()
    play(board, range(50), says(GOOD))
    play(board, range(55, 60), says(GOOD))
    assert board.score("1h").hours == 49 + 4
    assert board.score("within_6h").brier["model"] == pytest.approx(0.01)


def test_a_model_is_good_when_it_was_judged_and_left_for_no_horizon():
    board = Scoreboard()
    assert not board.good("new")
    play(board, range(100), says(GOOD))
    assert board.good("new")
    bad = Scoreboard()
    play(bad, range(100), says(BAD))
    assert not bad.good("new")


def test_an_hour_that_is_taken_twice_counts_once():
    board = Scoreboard()
    play(board, range(10), says(GOOD))
    play(board, range(5, 10), says(GOOD))
    assert board.score("1h").hours == 9
