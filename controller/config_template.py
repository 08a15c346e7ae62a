"""A configuration file with every key at its default, and what it means: written from the dataclasses themselves."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
from collections.abc import Mapping
from typing import Any

from controller.config import ControllerConfig

EXAMPLES = {"bounds": "serving_cpu_cores = [0.2, 1.0]", "modes": 'serving = "shadow"'}
"""Of tables that are empty by default."""


def template() -> str:
    """TOML that `controller.config_file` reads as the defaults."""
    return "\n".join([*_lines(ControllerConfig()), *_tables(ControllerConfig(), "")]) + "\n"


def _tables(config: Any, where: str) -> list[str]:
    """The tables of a configuration and those in them."""
    lines, meanings = [], _meanings(type(config))
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{where}{field.name}"
        if isinstance(value, Mapping):
            lines += ["", *_comment(meanings.get(field.name, "")), f"[{name}]", f"# {EXAMPLES[field.name]}"]
        elif dataclasses.is_dataclass(value):
            lines += ["", *_comment(meanings.get(field.name, "")), f"[{name}]", *_lines(value)]
            lines += _tables(value, f"{name}.")
    return lines


def _lines(config: Any) -> list[str]:
    """The keys of one table, each below its meaning."""
    found: list[str] = []
    meanings = _meanings(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not (dataclasses.is_dataclass(value) or isinstance(value, Mapping)):
            found += [*_comment(meanings.get(field.name, "")), f"{field.name} = {json.dumps(value)}"]
    return found


def _meanings(kind: type[Any]) -> dict[str, str]:
    """Field -> the text that stands under it in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    found = {}
    for field, text in itertools.pairwise(statements):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value))
    return found


def _comment(meaning: str) -> list[str]:
    return textwrap.wrap(meaning, 100, initial_indent="# ", subsequent_indent="# ")
