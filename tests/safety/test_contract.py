"""`docs/safety.md` claims nothing that no test shows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATES = ("holds", "partly", "not yet")
PARTS = {"O": 5, "D": 8, "A": 7, "E": 6, "L": 12}
CLAUSES = [f"{letter}{number}" for letter, most in PARTS.items() for number in range(1, most + 1)]
ROW = re.compile(r"^\| ([ODAEL]\d+) [^|]*\| ([^|]+?) \| ([^|]*)\|", re.MULTILINE)


def listed() -> dict[str, tuple[str, str]]:
    """Clause -> state and where it is kept."""
    text = (ROOT / "docs/safety.md").read_text(encoding="utf-8")
    return {clause: (state, where) for clause, state, where in ROW.findall(text)}


def shown() -> set[str]:
    """The clauses that a test function carries as `@pytest.mark.clause(...)`."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found |= {clause_of(decorator) for decorator in node.decorator_list}
    return found - {""}


def clause_of(decorator: ast.expr) -> str:
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.clause":
        return str(ast.literal_eval(decorator.args[0]))
    return ""


def test_every_clause_of_the_contract_is_listed_with_its_state() -> None:
    assert sorted(listed()) == sorted(CLAUSES)
    assert {state for state, _ in listed().values()} <= set(STATES)


@pytest.mark.parametrize("clause", CLAUSES)
def test_a_clause_that_is_claimed_has_a_test_and_one_that_has_a_test_is_claimed(clause: str) -> None:
    claimed = listed()[clause][0] != "not yet"
    assert claimed == (clause in shown()), f"{clause} is {listed()[clause][0]!r} in docs/safety.md"


def test_every_file_that_is_named_is_there() -> None:
    names = {name for _, where in listed().values() for name in re.findall(r"`([\w/]+\.py)`", where)}
    assert [name for name in sorted(names) if not (ROOT / name).is_file()] == []
