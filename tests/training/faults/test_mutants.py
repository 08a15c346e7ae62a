"""Each controller that is broken on purpose is found by an invariant that should notice it."""

from __future__ import annotations

import pytest

from training.faults.monitors import INVARIANTS
from training.faults.mutants import MUTANTS, Mutant, try_mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.title for mutant in MUTANTS])
def test_a_broken_controller_is_found(mutant: Mutant) -> None:
    finding = try_mutant(mutant)
    assert finding.found, f"violated were only: {finding.violated}"


def test_mutants_name_invariants_that_there_are() -> None:
    known = {one.name for one in INVARIANTS}
    assert {name for mutant in MUTANTS for name in mutant.found_by} <= known
