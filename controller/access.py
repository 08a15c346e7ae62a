"""Who may do what over HTTP: bearer tokens with roles, and protection against what a browser can be talked into."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Told to every user of this host without a token: probes and Prometheus ask for them, and they tell no secrets."""
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1"})
LEAST_TOKEN_LENGTH = 16


class AccessError(RuntimeError):
    """Tokens that cannot be used; one line."""


class AccessRole(IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    """Reads decisions."""
    OPERATOR = 2
    """Holds the controller back, and takes back what it did."""
    ADMIN = 3
    """Gives it power: mode, and the end of the kill switch."""


@dataclass(frozen=True)
class Denial:
    """A request that is refused: status and one line."""

    status: int
    message: str


class Tokens:
    """The tokens of a file: a JSON object, role -> token. It is read again for each request that brings one.

    Args:
        path: of the file. Only its owner may read it, and that must be the user of this process or root.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def made(cls, path: str | Path) -> Tokens:
        """Those of the file; it is made with new tokens if it is missing.

        Raises:
            AccessError: the file cannot be made or used.
        """
        tokens = cls(path)
        fresh = {role.name.lower(): secrets.token_urlsafe(32) for role in AccessRole}
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            pass
        except OSError as error:
            raise AccessError(f"cannot make {path}: {error.strerror or error}") from None
        else:
            with open(descriptor, "w", encoding="ascii") as file:
                json.dump(fresh, file, indent=2)
        tokens.read()
        return tokens

    def read(self) -> dict[AccessRole, bytes]:
        """The tokens that are in force.

        Raises:
            AccessError: the file is missing, others may read it, or it holds something else.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise AccessError(f"cannot read {self.path}: {error.strerror or error}") from None
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in (0, os.geteuid()):
                raise AccessError(f"others can read or have made {self.path}; own it, and chmod 600")
            return _parsed(self.path, file.read(1 << 16))

    def role_of(self, token: bytes) -> AccessRole | None:
        """The role of a token, None for one that is none. How long it takes tells nothing about the tokens.

        Raises:
            AccessError: the file cannot be used.
        """
        role = None
        for known, expected in self.read().items():
            if hmac.compare_digest(expected, token):
                role = known
        return role


def denial(
    method: str, path: str, headers: Iterable[tuple[bytes, bytes]], needed: Mapping[str, AccessRole], tokens: Tokens
) -> Denial | None:
    """Why a request is refused; None if it may pass.

    Args:
        method: in capital letters.
        path: without the query.
        headers: names in small letters, as ASGI has them.
        needed: paths that change something -> role; all others are read, by viewers.
        tokens: that are accepted.
    """
    sent: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        sent.setdefault(name.lower(), []).append(value)
    foreign = _foreign(sent)
    if foreign is not None:
        return foreign
    if path in OPEN_PATHS:
        return None if method in ("GET", "HEAD") else Denial(405, f"{path} is only read")
    least = needed.get(path, AccessRole.VIEWER)
    try:
        role = tokens.role_of(_bearer(sent))
    except AccessError as error:
        return Denial(503, str(error))
    if role is None:
        return Denial(401, "send Authorization: Bearer TOKEN, with a token of the controller's token file")
    if role < least:
        return Denial(403, f"{path} needs the role {least.name.lower()}; this token has {role.name.lower()}")
    return None


def _foreign(sent: Mapping[bytes, list[bytes]]) -> Denial | None:
    """Requests that a page of somebody else made a browser send.

    A name that an attacker lets point to 127.0.0.1 (DNS rebinding) stands in `Host`; a page elsewhere in `Origin`.
    """
    hosts = sent.get(b"host", [])
    if len(hosts) != 1 or not _is_local(hosts[0]):
        return Denial(421, "the Host must be localhost or 127.0.0.1")
    if any(origin != b"http://" + hosts[0] for origin in sent.get(b"origin", [])):
        return Denial(403, "requests of pages from elsewhere (Origin) are refused")
    if any(site not in (b"same-origin", b"none") for site in sent.get(b"sec-fetch-site", [])):
        return Denial(403, "requests of pages from elsewhere (Sec-Fetch-Site) are refused")
    return None


def _is_local(host: bytes) -> bool:
    """Whether it is a name of this host; any port, since a tunnel (`ssh -L`) has another one."""
    name, _, port = host.decode("latin-1").lower().partition(":")
    return name in LOCAL_NAMES and (not port or (port.isascii() and port.isdigit()))


def _bearer(sent: Mapping[bytes, list[bytes]]) -> bytes:
    """The token that was sent; empty without one, or with several."""
    values = sent.get(b"authorization", [])
    scheme, _, token = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _parsed(path: Path, content: bytes) -> dict[AccessRole, bytes]:
    names = {role.name.lower(): role for role in AccessRole}
    try:
        entries = {names[name]: str(token).encode("ascii") for name, token in json.loads(content).items()}
    except (ValueError, KeyError, AttributeError, RecursionError):
        raise AccessError(f"{path} must be a JSON object of {', '.join(names)} with a token each") from None
    if any(len(token) < LEAST_TOKEN_LENGTH for token in entries.values()):
        raise AccessError(f"a token in {path} is shorter than {LEAST_TOKEN_LENGTH} characters")
    if len(set(entries.values())) < len(entries):
        raise AccessError(f"two roles in {path} have the same token")
    return entries
