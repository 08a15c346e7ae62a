"""Knobs in a JSON or TOML file: read, replaced as a whole, put back. Standard library only: the warden does it too."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any


class KnobFileError(RuntimeError):
    """A file of knobs that cannot be read or changed; one line."""


def numbers(path: str, keys: Sequence[str]) -> dict[str, float]:
    """The values of some keys; a dot in a key leads into a table.

    Raises:
        KnobFileError: no such file, not JSON or TOML, or no number there.
    """
    content = parse(path, read(path))
    return {key: _number(path, content, key) for key in keys}


def changed(path: str, text: str, values: Mapping[str, float]) -> str:
    """The text of a file with other values for some keys, and everything else as it was.

    Raises:
        KnobFileError: a key is not there, or stands where it cannot be replaced safely.
    """
    content = parse(path, text)
    for key, value in values.items():
        if _number(path, content, key) == value:
            continue
        *tables, name = key.split(".")
        table = content
        for part in tables:
            table = table[part]
        table[name] = _whole(value)
        if _is_toml(path):
            text = _with_literal(path, text, tables, name, repr(_whole(value)))
    if not _is_toml(path):
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if parse(path, text) != content:
        raise KnobFileError(f"{path}: {', '.join(values)} cannot be replaced; write each as `key = value` on one line")
    return text


def replace(path: str, text: str) -> None:
    """Let a file have other content at once: whoever reads it sees the old one or the new one, also after a crash.

    Raises:
        KnobFileError: it cannot be written.
    """
    path = os.path.realpath(path)  # a link goes on leading to it
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        former = os.stat(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, former.st_mode & 0o7777)
        try:
            with contextlib.suppress(PermissionError):  # whoever may not give files away owns it already
                os.fchown(descriptor, former.st_uid, former.st_gid)
            os.fchmod(descriptor, former.st_mode & 0o7777)
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise KnobFileError(f"cannot write {path}: {error.strerror}") from None


def restore(path: str, found: str, values: Mapping[str, float]) -> bool:
    """Put back the values of some keys; byte for byte what was found, if nobody changed anything else meanwhile.

    Returns:
        Whether anything was written.

    Raises:
        KnobFileError: the file cannot be changed. One that is gone is left so.
    """
    if not os.path.exists(path):
        return False
    now = read(path)
    text = changed(path, now, values)
    if parse(path, text) == parse(path, found):
        text = found
    if text != now:
        replace(path, text)
    return text != now


def read(path: str) -> str:
    """The content of a file.

    Raises:
        KnobFileError: it cannot be read.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise KnobFileError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


def parse(path: str, text: str) -> dict[str, Any]:
    """The content as tables, by the name's ending: `.toml`, or else JSON.

    Raises:
        KnobFileError: it is neither.
    """
    import tomllib  # here, since it is a megabyte that the warden rarely needs

    try:
        content = tomllib.loads(text) if _is_toml(path) else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KnobFileError(f"{path}: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise KnobFileError(f"{path}: a JSON object is needed, with a number for each knob")
    return content


def _is_toml(path: str) -> bool:
    return path.endswith(".toml")


def _number(path: str, content: Any, key: str) -> float:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    if isinstance(content, bool) or not isinstance(content, int | float) or not math.isfinite(content):
        raise KnobFileError(f"{path}: no number for {key!r}")
    return float(content)


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)


def _with_literal(path: str, text: str, tables: list[str], name: str, literal: str) -> str:
    """A TOML text with another number on the line `name = number` of a table; comments and order stay."""
    lines, here = text.splitlines(keepends=True), []
    for index, line in enumerate(lines):
        header = re.fullmatch(r"\s*\[([\w.\s-]+)\]\s*(#.*)?\s*", line)
        if header:
            here = [part.strip() for part in header[1].split(".")]
        entry = re.match(rf"(\s*{re.escape(name)}\s*=\s*)[-+.\w]+", line)
        if here == tables and entry:
            lines[index] = f"{entry[1]}{literal}{line[entry.end() :]}"
            return "".join(lines)
    raise KnobFileError(f"{path}: {name!r} cannot be replaced; write it as `{name} = value` on a line of its own")
