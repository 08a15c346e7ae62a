from controller.trial import Outcome
from training.bench_verdicts import VerdictBudget, bench_verdicts, figures, verdict_tables, ways
from training.verdict_episodes import Judged


def change(outcome, effect, adds=False):
    return Judged(outcome, effect, adds, proven=False, seconds=3.0, reason="")


def test_shares_are_of_what_was_judged():
    found = figures(
        [
            change(Outcome.KEEP, 0.1),
            change(Outcome.ROLLED_BACK, 0.1),
            change(Outcome.ROLLED_BACK, -0.5),
            change(Outcome.INCONCLUSIVE, -0.5),
            change(Outcome.INCONCLUSIVE, -0.5, adds=True),
            change(Outcome.SUPERSEDED, -0.5),
        ]
    )
    assert (found["changes"], found["judged"], found["good"], found["harmful"]) == (6, 5, 2, 2)
    assert found["rolled_back_share"] == 0.4
    assert found["false_rollbacks_of_good"] == 0.5
    assert found["power_on_harmful"] == 0.5


def test_all_ways_are_shown_in_all_tables():
    result = bench_verdicts(budget=VerdictBudget(episodes=2, periods=30, changes=1, scenarios=("calm",)))
    assert set(result) == set(ways())
    assert all(table.row_count == len(ways()) for table in verdict_tables(result))
