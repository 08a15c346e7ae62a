import pytest

from controller.budgets import Budgets
from controller.memory import recall


def test_rollbacks_are_forgotten_after_an_hour():
    budgets = Budgets(2, 0.5, 600.0)
    for now in (0.0, 10.0, 20.0):
        budgets.count(now, ["serving"], True)
    assert budgets.spent(20.0) == ("3 rollbacks within an hour, 3 of them of serving, 2 are allowed", "serving")
    budgets.count(3601.0, [], True)
    assert budgets.spent(3601.0) is None


@pytest.mark.clause("E4")
def test_an_hour_with_slos_mostly_broken_spends_the_error_budget():
    budgets = Budgets(20, 0.5, 600.0)
    for now in range(600):
        assert budgets.spent(float(now)) is None
        budgets.count(float(now), [], now % 3 == 0)
    spent = budgets.spent(601.0)
    assert spent is not None
    assert spent.why.startswith("all SLOs held in 33%")
    assert spent.workload == "", "what one workload was given, the others lack"
    budgets.clear()
    assert budgets.spent(602.0) is None


def test_periods_that_cannot_be_seen_spend_nothing():
    budgets = Budgets(20, 0.5, 600.0)
    for now in range(1000):
        budgets.count(float(now), [], None)
    assert budgets.attainment(1000.0) is None


def test_a_bad_hour_is_forgotten_after_another():
    budgets = Budgets(20, 0.5, 600.0)
    for now in range(0, 7300, 5):
        budgets.count(float(now), [], now >= 3600)
    assert budgets.attainment(7300.0) == 1.0


@pytest.mark.clause("E4")
def test_rollbacks_of_several_workloads_are_nobodys_doing_alone():
    budgets = Budgets(3, 0.5, 600.0)
    budgets.count(1.0, ["serving", "training", "training", "ingest"], True)
    assert budgets.spent(1.0) == ("4 rollbacks within an hour, 3 are allowed", "")
    assert budgets.spent(1.0, idle={"ingest"}) is None


@pytest.mark.clause("E4")
def test_when_one_workload_has_fallen_those_of_the_others_still_count():
    budgets = Budgets(3, 0.5, 600.0)
    budgets.count(1.0, ["serving"] * 3 + ["training"], True)
    spent = budgets.spent(1.0)
    assert spent is not None
    assert spent.workload == "serving"
    budgets.clear("serving")
    budgets.count(2.0, ["training"] * 3, True)
    assert budgets.spent(2.0) == ("4 rollbacks within an hour, 4 of them of training, 3 are allowed", "training")


def test_rollbacks_that_were_counted_before_workloads_had_modes_still_count():
    budgets = Budgets(2, 0.5, 600.0)
    recall(budgets, {"_rolled_back_at": {"deque": [5.0, 6.0], "longest": None}}, ["_rolled_back_at"])
    budgets.count(7.0, ["serving"], True)
    assert budgets.spent(7.0) == ("3 rollbacks within an hour, 2 are allowed", "")
