"""What operators set for a time lasts that long, whatever the wall clock does meanwhile."""

from __future__ import annotations

import pytest

from controller.deadlines import Deadlines

NAME = "pause"


class Host:
    """Two clocks; the wall clock may jump."""

    def __init__(self) -> None:
        self.boot, self.jumped = 100.0, 0.0

    def wall(self) -> float:
        return 1.7e9 + self.boot + self.jumped

    def deadlines(self) -> Deadlines:
        return Deadlines(lambda: self.boot, self.wall)


@pytest.mark.clause("L3")
@pytest.mark.parametrize("jump", [3600.0, -3600.0, 86400.0, 0.0])
def test_a_jump_of_the_wall_clock_makes_a_pause_neither_shorter_nor_longer(jump: float) -> None:
    host = Host()
    deadlines, until = host.deadlines(), host.wall() + 60.0
    assert deadlines.still_to_come(NAME, until)
    host.jumped, host.boot = jump, host.boot + 59.0
    assert deadlines.still_to_come(NAME, until)
    host.boot += 1.5
    assert not deadlines.still_to_come(NAME, until)


def test_another_end_of_the_same_pause_is_taken_over_as_the_clocks_are_then() -> None:
    host = Host()
    deadlines = host.deadlines()
    assert deadlines.still_to_come(NAME, host.wall() + 5.0)
    host.jumped, host.boot = 3600.0, host.boot + 10.0
    assert deadlines.still_to_come(NAME, host.wall() + 5.0)


def test_what_has_no_end_never_ends() -> None:
    assert Host().deadlines().still_to_come(NAME, None)


@pytest.mark.parametrize("until", [float("nan"), float("-inf"), 0.0])
def test_an_end_that_is_none_or_past_is_over(until: float) -> None:
    assert not Host().deadlines().still_to_come(NAME, until)
