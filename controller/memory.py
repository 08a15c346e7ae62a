"""What an object remembers, as plain values that JSON holds, and back again, exactly.

An object names what it remembers in `STATE`: attributes made of numbers, strings, arrays, lists, dicts, deques and the
classes in `KINDS`. Nothing is imported or called by name that stands in a file.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from typing import Any, Protocol

import numpy as np

from controller.arbiter import Move
from controller.canaries import CanaryTrial
from controller.evidence import Noise
from controller.ladder import Advice
from controller.shield import Motion
from controller.trial import Outcome, Period, Trial
from envs.spec import Role

KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (Advice, CanaryTrial, Motion, Move, Noise, Outcome, Period, Role, Trial)
}


_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


class Remembers(Protocol):
    """An object that names what it remembers."""

    @property
    def STATE(self) -> tuple[str, ...]:
        """Names of attributes."""
        ...


def remembered(owner: Remembers, names: Sequence[str] | None = None) -> dict[str, Any]:
    """What an object remembers, as plain values; of some names of its `STATE`, or of all."""
    return {name: _plain(getattr(owner, name)) for name in (owner.STATE if names is None else names)}


def recall(owner: Remembers, plain: dict[str, Any], names: Sequence[str] | None = None) -> None:
    """Let an object remember what another one of its class did.

    Args:
        owner: of which what it remembered is replaced.
        plain: as `remembered` gave it.
        names: of its `STATE`; None for all.

    Raises:
        KeyError, ValueError, TypeError: it was not made by `remembered` of such an object.
    """
    for name in owner.STATE if names is None else names:
        setattr(owner, name, _value(plain[name]))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_THEY_ARE or (kind is float and math.isfinite(value)):  # most are, and this runs each period
        return value
    if isinstance(value, Enum):
        return {type(value).__name__: value.value}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, np.ndarray):
        return {"array": _plain(value.tolist()), "type": value.dtype.name}
    if isinstance(value, deque):
        return {"deque": [_plain(item) for item in value], "longest": value.maxlen}
    if isinstance(value, tuple):
        return {"tuple": [_plain(item) for item in value]}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        name = "counter" if isinstance(value, Counter) else "dict"
        return {name: [[_plain(key), _plain(item)] for key, item in value.items()]}
    if type(value).__name__ in KINDS:
        return {type(value).__name__: {field.name: _plain(getattr(value, field.name)) for field in fields(value)}}
    return value


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_value(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    name, content = next(iter(plain.items()))
    if name == "float":
        return float(content)
    if name == "array":
        return np.array(_value(content), dtype=plain["type"])
    if name == "deque":
        return deque(_value(content), maxlen=plain["longest"])
    if name == "tuple":
        return tuple(_value(content))
    if name in ("dict", "counter"):
        pairs = {_value(key): _value(item) for key, item in content}
        return Counter(pairs) if name == "counter" else pairs
    if isinstance(content, dict):
        return KINDS[name](**{key: _value(item) for key, item in content.items()})
    return KINDS[name](content)
