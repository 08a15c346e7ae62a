"""The policies that a controller may use, in its state directory: the one in charge, and the one before it.

policies/<version>/{allocation,tuning}/...   never changed once it is there; the version is the manifest's hash
policies/current, policies/previous          versions
policies/trusted.pub                         if there, only policies signed by this key are taken
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from agents.artifact import ArtifactError, load, read_card, shipped_directory
from agents.manifest import ARTIFACT_FILES, MANIFEST, SIGNATURE, check_manifest, manifest_of, read_bounded
from controller.commands import CommandError, existing_state_dir, write_atomically
from envs.spec import Role, SystemSpec

POLICIES, CURRENT, PREVIOUS, TRUSTED, PROVEN = "policies", "current", "previous", "trusted.pub", "proven"
VERSION = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Stored:
    """A version that is kept.

    Attributes:
        version: first digits of the sha256 of its manifest.
        names: role -> name of the policy.
        current: whether it is in charge.
        previous: whether `back` returns to it.
        proven: whether it has passed its shadow period here.
        signed: whether it carries a signature.
    """

    version: str
    names: dict[str, str]
    current: bool
    previous: bool
    proven: bool
    signed: bool


def use(state_dir: str | Path, source: str | Path, spec: SystemSpec) -> str:
    """Put a set of policies in charge: a folder, or a version that is kept. A running controller follows.

    Args:
        state_dir: of the controller.
        source: folder with `allocation/` or `tuning/`, a version, or `shipped`.
        spec: that they must have been made for.

    Returns:
        The version.

    Raises:
        ArtifactError: damaged, made for another spec, not as its manifest says, or not signed as it must be.
        CommandError: no state directory.
    """
    folder = existing_state_dir(state_dir) / POLICIES
    version = str(source) if _is_version(folder, str(source)) else _add(folder, _source(source), spec)
    _load(folder / version, spec, _trusted(folder))
    put_in_charge(state_dir, version)
    return version


def back(state_dir: str | Path) -> str:
    """Put the version in charge that was before; twice, and it is as it was.

    Raises:
        CommandError: none was before.
    """
    previous = _read_version(existing_state_dir(state_dir) / POLICIES, PREVIOUS)
    if previous is None:
        raise CommandError("no earlier version is kept; `control policy list` shows what there is")
    put_in_charge(state_dir, previous)
    return previous


def put_in_charge(state_dir: str | Path, version: str) -> None:
    """Name a version as the current one, and the current one as the previous one."""
    folder = Path(state_dir) / POLICIES
    current = _read_version(folder, CURRENT)
    if current == version:
        return
    if current is not None:
        write_atomically(folder / PREVIOUS, current)
    write_atomically(folder / CURRENT, version)


def listed(state_dir: str | Path) -> list[Stored]:
    """What is kept, the current one first."""
    folder = existing_state_dir(state_dir) / POLICIES
    current, previous = _read_version(folder, CURRENT), _read_version(folder, PREVIOUS)
    versions = [path for path in sorted(folder.glob("*")) if _is_version(folder, path.name)]
    found = [
        Stored(
            path.name,
            {role: _name(path / role) for role in Role if (path / role).is_dir()},
            path.name == current,
            path.name == previous,
            (path / PROVEN).exists(),
            (path / SIGNATURE).exists(),
        )
        for path in versions
    ]
    return sorted(found, key=lambda stored: (not stored.current, not stored.previous))


def current_version(state_dir: str | Path) -> str | None:
    """The version in charge; None if none was ever put there, or it is gone."""
    return _read_version(Path(state_dir) / POLICIES, CURRENT)


def directory_of(state_dir: str | Path, version: str) -> Path:
    """Where a version lies."""
    return Path(state_dir) / POLICIES / version


def trust(state_dir: str | Path, key: Path) -> None:
    """From now on take only policies that are signed by this public key."""
    folder = Path(state_dir) / POLICIES
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / TRUSTED, read_bounded(key).decode(errors="replace"))


def trusted_key(state_dir: str | Path) -> Path | None:
    """The public key that policies must be signed by; None if they need not be."""
    return _trusted(Path(state_dir) / POLICIES)


def is_proven(state_dir: str | Path, version: str) -> bool:
    """Whether a version needs no shadow period: it has passed it here, or came with Trimtab."""
    return (directory_of(state_dir, version) / PROVEN).exists()


def mark_proven(state_dir: str | Path, version: str) -> None:
    """A version has passed its shadow period."""
    (directory_of(state_dir, version) / PROVEN).touch()


def _add(folder: Path, source: Path, spec: SystemSpec) -> str:
    """Keep a copy, which nothing but a whole and checked one becomes."""
    check_manifest(source, _trusted(folder))  # the copy is checked too; this one tells where the fault is
    folder.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        for role in Role:
            for name in ARTIFACT_FILES:
                if (source / role / name).is_file():
                    (copy / role).mkdir(exist_ok=True)
                    (copy / role / name).write_bytes(read_bounded(source / role / name))
        for name in (MANIFEST, SIGNATURE):
            if (source / name).is_file():
                (copy / name).write_bytes(read_bounded(source / name))
        _load(copy, spec, _trusted(folder))
        if not (copy / MANIFEST).exists():
            (copy / MANIFEST).write_bytes(manifest_of(copy))
        if source == shipped_directory(Role.ALLOCATION).parent:
            (copy / PROVEN).touch()  # judged on the testbed; README, Results
        version = hashlib.sha256((copy / MANIFEST).read_bytes()).hexdigest()[:12]
        if not (folder / version).exists():
            os.chmod(copy, 0o755)
            copy.rename(folder / version)
        return version
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _load(directory: Path, spec: SystemSpec, trusted: Path | None) -> None:
    """Whether every artifact can be used; see `agents.artifact.load`."""
    check_manifest(directory, trusted)
    roles = [role for role in Role if (directory / role).is_dir()]
    if not roles:
        raise ArtifactError(f"no policy in {str(directory)!r}; a set of policies is allocation/ and tuning/")
    for role in roles:
        load(directory / role, spec, role)


def _source(source: str | Path) -> Path:
    return shipped_directory(Role.ALLOCATION).parent if str(source) == "shipped" else Path(source)


def _name(directory: Path) -> str:
    try:
        return str(read_card(directory).get("name", "?"))
    except ArtifactError as error:
        return f"damaged: {error}"


def _trusted(folder: Path) -> Path | None:
    path = folder / TRUSTED
    return path if path.exists() else None


def _is_version(folder: Path, name: str) -> bool:
    return VERSION.fullmatch(name) is not None and (folder / name).is_dir()


def _read_version(folder: Path, name: str) -> str | None:
    try:
        version = (folder / name).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return version if _is_version(folder, version) else None
