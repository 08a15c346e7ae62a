from training.bench_recover import POLICIES, WAYS, Lived, RecoverBudget, bench_recover, figures, recover_table


def test_differences_are_between_the_same_systems():
    first = [Lived(1.0, 0.1, 9, 0, 0.0), Lived(2.0, 0.3, 9, 0, 0.0)]
    found = figures([Lived(1.1, 0.2, 6, 3, 0.0), Lived(2.2, 0.4, 6, 1, 0.0)], first)
    assert round(found["efficiency_gain"], 9) == 0.1
    assert round(found["outside_slo_difference"], 9) == 0.1
    assert found["masked_share"] == 0.25


def test_every_policy_is_shown_in_every_way():
    result = bench_recover(budget=RecoverBudget(episodes=2, periods=10))
    assert set(result) == set(POLICIES)
    assert recover_table(result).row_count == len(POLICIES) * (1 + len(WAYS))
