"""What users write, checked by msgspec; what does not fit is told in one line, with the field and what is allowed.

msgspec rather than pydantic: loading it takes 1.6 MiB instead of 17, and the controller loads it, too.
"""

from __future__ import annotations

import difflib
import re
import sys
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

import msgspec

MOST = sys.float_info.max  # a bound keeps infinity out, and NaN, which is within none
Finite = Annotated[float, msgspec.Meta(ge=-MOST, le=MOST)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=MOST)]
NonNegative = Annotated[float, msgspec.Meta(ge=0, le=MOST)]

WORDS = {
    r", got .*": "",
    r" \| null": "",
    r".*e\+308|Number out of range": "must be a finite number",  # the digits of MOST
    r"Expected": "must be",
    r"\.0$": "",
    r"`object`": "a table",
    r"`array`": "a list",
    r"`int`": "a whole number",
    r"`float`": "a number",
    r"`str`": "a text",
    r"`bool`": "true or false",
}
"""msgspec's words for a misfit -> those of TOML."""


class FieldError(ValueError):
    """A value that does not fit its field; one line, such as `knobs.3.low: must be a finite number (given nan)`."""


class Checked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """A table that is checked when it is read or changed; unknown keys are errors.

    A subclass repeats `frozen` (for mypy) and `kw_only`, has its bounds in `Annotated[..., msgspec.Meta(...)]`, and
    tells what holds between fields in `__post_init__`. Called as a class, it checks the latter only. `dict` is for
    cached properties.
    """

    @classmethod
    def model_validate(cls, plain: Any) -> Self:
        """From a table, with tables inside.

        Raises:
            FieldError: an unknown key (the known ones are named), one that is missing, or a value that does not fit.
        """
        found: Self = typed(cls, plain)
        return found

    def model_dump(self, mode: Literal["json"] = "json") -> dict[str, Any]:
        """As JSON holds it, tuples as lists; `model_validate` reads it."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return plain

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The same with other values in some fields.

        Raises:
            FieldError: see `model_validate`.
        """
        return self.model_validate(msgspec.to_builtins(msgspec.structs.asdict(self) | dict(update)))


def typed(kind: Any, plain: Any, where: str = "") -> Any:
    """A value as a declared type has it. Whole numbers are floats too; nothing else is brought to another type.

    Args:
        kind: any that msgspec knows.
        plain: tables, lists and single values, as TOML and JSON give them.
        where: the field's name, for the error.

    Raises:
        FieldError: it does not fit.
    """
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise FieldError(_told(str(error), kind, plain, where)) from None


def _told(problem: str, kind: Any, value: Any, where: str) -> str:
    """msgspec's `Expected ... - at `$.knobs[3].low`` with our path and words, what is allowed, and what was given."""
    found = re.fullmatch(r"(.*?)(?: - at `(key` in `)?\$([^`]*)`)?", problem, re.DOTALL)
    message, in_key, path = found.groups() if found else (problem, None, None)
    for step in re.findall(r"\[[^]]*\]|[^.[]+", path or ""):
        name, kind, value = _part(_bare(kind), value, step)
        where = f"{where}.{name}" if where else str(name)
    if in_key:
        kind = get_args(_bare(kind))[0] if get_args(_bare(kind)) else str
        value = next(key for key in value if not _fits(key, kind))
        where = f"{where}.{value}" if where else str(value)
    bare = _bare(kind)
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        message = f"unknown key {unknown[1]!r}; {closest(unknown[1], bare.__struct_fields__)}"
    elif missing := re.fullmatch(r"Object missing required field `(.*)`", message):
        where, message = f"{where}.{missing[1]}" if where else missing[1], "is missing"
    elif re.match("Expected|Invalid|Number", message):
        message = f"{_allowed(message, kind)} (given {value!r})"
    return (f"{where}: {message}" if where else message)[:500]


def _allowed(message: str, kind: Any) -> str:
    """What a field takes, as its type tells; else msgspec's message in the words of TOML."""
    bare = _bare(kind)
    is_enumeration = isinstance(bare, type) and issubclass(bare, Enum)
    if is_enumeration or get_origin(bare) is Literal:
        values = [member.value for member in bare] if is_enumeration else get_args(bare)
        return f"must be one of {', '.join(map(repr, values))}"
    examples = [rule.examples for rule in get_args(kind)[1:] if isinstance(rule, msgspec.Meta) and rule.examples]
    if "regex" in message and examples:
        return f"must look like {examples[0][0]}"
    for theirs, ours in WORDS.items():
        message = re.sub(theirs, ours, message)
    return message


def _part(kind: Any, value: Any, step: str) -> tuple[object, Any, Any]:
    """Name, declared type and given value of one step of msgspec's path, such as `low`, `[3]`, or `[...]`."""
    inner = get_args(kind)
    if step == "[...]":  # some key of a table: msgspec does not tell which
        key = next(key for key, item in value.items() if not _fits(item, inner[1]))
        return key, inner[1], value[key]
    if step.startswith("["):
        index = int(step[1:-1])
        each_its_own = get_origin(kind) is tuple and Ellipsis not in inner
        return index, inner[index if each_its_own else 0], value[index]
    return step, get_type_hints(kind, include_extras=True)[step], value[step]


def _bare(kind: Any) -> Any:
    """A declared type without its bounds and without `| None`."""
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = next(inner for inner in get_args(kind) if inner is not type(None))
    return kind


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value can be read as a declared type."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def closest(name: object, known: Iterable[str]) -> str:
    """The hint of a message about an unknown name."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known keys: {', '.join(known)}"
