"""Libraries that only some commands need, and that a plain installation therefore leaves out."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class MissingExtra(ImportError):
    """A library of an optional extra is not installed; one line that says how to get it."""


def extra(module: str, name: str = "search") -> ModuleType:
    """Import a library of the extra `name`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        message = f"this needs {error.name}, which is missing: pip install 'trimtab[{name}]'"
        raise MissingExtra(message) from None
