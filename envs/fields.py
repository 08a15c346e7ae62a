"""Frozen dataclasses that check what they are given. Standard library only.

pydantic does the same and more, but loading it takes 17 MiB, a quarter of what the controller may take; the controller
needs a spec and a configuration, no more.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import numbers
import re
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints


class FieldError(ValueError):
    """A value that does not fit its field; one line.

    Args:
        where: the field, such as `knobs.3.low`; empty for the whole.
        message: what is wrong with it.
    """

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where, self.message = where, message

    def inside(self, where: str) -> FieldError:
        """The same error, told from outside of the field `where`."""
        return FieldError(_join(where, self.where), self.message)


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Which numbers a field takes: `Annotated[float, Bounds(above=0)]`."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    def problem(self, value: float) -> str:
        """What is wrong with a number; empty if nothing is."""
        checks = (
            ("greater than", self.above, lambda limit: value > limit),
            ("at least", self.at_least, lambda limit: value >= limit),
            ("less than", self.below, lambda limit: value < limit),
            ("at most", self.at_most, lambda limit: value <= limit),
        )
        broken = [f"{what} {limit:g}" for what, limit, holds in checks if limit is not None and not holds(limit)]
        return f"must be {broken[0]}" if broken else ""


@dataclasses.dataclass(frozen=True)
class Length:
    """How many entries a list has, at least and at most."""

    least: int
    most: int

    def problem(self, value: list[Any]) -> str:
        """What is wrong with a list; empty if nothing is."""
        return "" if self.least <= len(value) <= self.most else f"must have {self.least} to {self.most} entries"


@dataclasses.dataclass(frozen=True)
class Pattern:
    """What a text looks like, as a regular expression; `example` tells it to people."""

    expression: str
    example: str

    def problem(self, value: str) -> str:
        """What is wrong with a text; empty if nothing is."""
        return "" if re.fullmatch(self.expression, value) else f"must look like {self.example}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """A dataclass whose fields are checked and brought to their declared types when it is made.

    The methods have the names of pydantic's, which such classes are usually made with.
    """

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, hint in hints_of(kind).items():
            object.__setattr__(self, name, typed(hint, getattr(self, name), name))
        try:
            self._check()
        except FieldError:
            raise
        except ValueError as error:
            raise FieldError("", str(error)) from None

    def _check(self) -> None:
        """What holds between fields; raises ValueError."""

    @classmethod
    def model_validate(cls, plain: Any) -> Self:
        """From a table, with tables inside.

        Raises:
            FieldError: an unknown key (the known ones are named), one that is missing, or a value that does not fit.
        """
        if not isinstance(plain, Mapping):
            raise FieldError("", f"must be a table (given {plain!r})")
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in plain:
            if key not in fields:
                raise FieldError("", f"unknown key {str(key)!r}; {closest(key, fields)}")
        for name, field in fields.items():
            needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if needed and name not in plain:
                raise FieldError(name, "is missing")
        return cls(**plain)

    def model_dump(self, mode: Literal["json"] = "json") -> dict[str, Any]:
        """As JSON can hold it; `model_validate` reads it."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The same with other values in some fields, which are checked too."""
        return dataclasses.replace(self, **update)


@functools.cache
def hints_of(kind: type[Any]) -> dict[str, Any]:
    """The fields' declared types, with what is written in `Annotated`."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def typed(hint: Any, value: Any, where: str) -> Any:
    """A value as a declared type has it. Whole numbers are floats too; nothing else is brought to another type.

    Args:
        hint: of numbers, texts, `Literal`, enumerations, lists, tuples, tables, `Checked`, each perhaps `| None`.
        value: given.
        where: the field's name, for the error.

    Raises:
        FieldError: it does not fit.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = typed(arguments[0], value, where)
        for rule in arguments[1:]:
            if problem := rule.problem(found):
                raise _misfit(where, problem, value)
        return found
    if origin in (Union, types.UnionType):
        return None if value is None else typed(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal:
        if value not in arguments:
            raise _misfit(where, f"must be one of {', '.join(map(repr, arguments))}", value)
        return value
    if origin is not None:
        return _collection(origin, arguments, value, where)
    return _single(hint, value, where)


def _collection(origin: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise _misfit(where, "must be a list", value)
        repeated = origin is list or arguments[-1] is Ellipsis
        kinds = [arguments[0]] * len(value) if repeated else list(arguments)
        if len(value) != len(kinds):
            raise _misfit(where, f"must have {len(kinds)} entries", value)
        return origin(
            typed(kind, item, _join(where, i)) for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if not isinstance(value, Mapping):
        raise _misfit(where, "must be a table", value)
    key, item = arguments
    return {typed(key, k, _join(where, k)): typed(item, v, _join(where, k)) for k, v in value.items()}


def _single(kind: Any, value: Any, where: str) -> Any:
    if isinstance(value, kind) and kind not in (int, float):
        return value
    if issubclass(kind, Checked):
        try:
            return kind.model_validate(value)
        except FieldError as error:
            raise error.inside(where) from None
    if issubclass(kind, Enum):
        if value not in (allowed := [member.value for member in kind]):
            raise _misfit(where, f"must be one of {', '.join(map(repr, allowed))}", value)
        return kind(value)
    if kind in (int, float) and not isinstance(value, bool):
        if kind is int and isinstance(value, numbers.Integral):
            return int(value)
        if kind is float and isinstance(value, numbers.Real) and _finite(value):
            return float(value)
    names = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
    raise _misfit(where, f"must be {names[kind]}", value)


def closest(name: object, known: Iterable[str]) -> str:
    """The hint of a message about an unknown name."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known keys: {', '.join(known)}"


def _plain(value: Any) -> Any:
    if isinstance(value, Checked):
        return value.model_dump()
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def _finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _misfit(where: str, problem: str, value: Any) -> FieldError:
    return FieldError(where, f"{problem} (given {value!r})"[:500])


def _join(where: object, inner: object) -> str:
    return ".".join(str(part) for part in (where, inner) if str(part))
