from __future__ import annotations

from telemetry.collectors.budget import Budget


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_cost_much_waits_until_it_is_paid_off() -> None:
    wall, cpu = Clock(), Clock()
    budget = Budget(0.001, shortest=1.0, clock=wall, cpu_clock=cpu)
    assert budget.due()
    with budget.spend():
        cpu.now += 0.037  # a process of 2 GiB
    wall.now = 36.9
    assert not budget.due()
    wall.now = 37.0
    assert budget.due()


def test_what_is_cheap_still_waits_for_its_shortest_interval() -> None:
    wall = Clock()
    budget = Budget(0.001, shortest=1.0, clock=wall, cpu_clock=Clock())
    with budget.spend():
        pass
    assert not budget.due()
    wall.now = 1.0
    assert budget.due()


def test_it_can_be_called_for_at_once() -> None:
    budget = Budget(0.001, clock=Clock(), cpu_clock=Clock())
    with budget.spend():
        pass
    budget.at_once()
    assert budget.due()
