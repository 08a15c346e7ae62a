"""The manifest of a set of policies: which files belong to it, with their hashes, and who answers for them.

| file | holds |
|---|---|
| `manifest.json` | path -> sha256 of every file of the artifacts |
| `manifest.sig` | Ed25519 signature of `manifest.json`, in hex; optional, needs the extra `signing` (PyNaCl) |

A key file is one line of hex: 32 bytes, the seed of a signing key or a public key.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from agents.artifact import SIZE_LIMIT, ArtifactError
from envs.spec import Role

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
ARTIFACT_FILES = ("policy.npz", "policy.json", "card.md")
FORMAT = 1


def manifest_of(directory: Path) -> bytes:
    """The content of the manifest that fits the files which are there.

    Args:
        directory: with one folder per role.

    Raises:
        ArtifactError: no artifact there, or a file cannot be read.
    """
    paths = [directory / role / name for role in Role for name in ARTIFACT_FILES if (directory / role / name).is_file()]
    if not paths:
        raise ArtifactError(f"no policy in {str(directory)!r}; a set of policies is allocation/ and tuning/")
    files = {f"{path.parent.name}/{path.name}": hashlib.sha256(read_bounded(path)).hexdigest() for path in paths}
    return (json.dumps({"format": FORMAT, "files": files}, indent=2, sort_keys=True) + "\n").encode()


def check_manifest(directory: Path, trusted: Path | None = None) -> None:
    """Whether the files are those that the manifest lists, no more and no less; without a manifest, nothing.

    Args:
        directory: with one folder per role.
        trusted: file of the public key by which the manifest must be signed; None asks for no signature.

    Raises:
        ArtifactError: another file than listed, one missing or added, or no signature by the trusted key.
    """
    path = directory / MANIFEST
    if not path.exists():
        if trusted is not None:
            raise ArtifactError(f"{directory} has no {MANIFEST}, and only policies signed by {trusted} are taken")
        return
    content = read_bounded(path)
    if trusted is not None:
        _check_signature(content, directory / SIGNATURE, trusted)
    listed, found = _files(content), _files(manifest_of(directory))
    for name in sorted({*listed, *found}):
        if listed.get(name) != found.get(name):
            wrong = "is missing" if name not in found else "is not listed" if name not in listed else "is another one"
            raise ArtifactError(f"{name} of {str(directory)!r} {wrong}: {MANIFEST} does not fit")


def sign(directory: Path, key: Path) -> None:
    """Write the manifest of what is there, and its signature.

    Args:
        directory: with one folder per role.
        key: file of the signing key.

    Raises:
        ArtifactError: see `manifest_of`; no usable key; PyNaCl is not installed.
    """
    content = manifest_of(directory)
    signature = _signing().SigningKey(_key(key)).sign(content).signature
    (directory / MANIFEST).write_bytes(content)
    (directory / SIGNATURE).write_text(signature.hex() + "\n")


def make_key(path: Path) -> Path:
    """Make a signing key, readable by its owner alone, and its public key in `PATH.pub`; returns the latter.

    Raises:
        ArtifactError: the file is there already; PyNaCl is not installed.
    """
    key = _signing().SigningKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ArtifactError(f"cannot make the key {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as stream:
        stream.write(bytes(key).hex() + "\n")
    public = path.with_name(path.name + ".pub")
    public.write_text(bytes(key.verify_key).hex() + "\n")
    return public


def read_bounded(path: Path) -> bytes:
    """A file's content.

    Raises:
        ArtifactError: it cannot be read, or is larger than any file of ours.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > SIZE_LIMIT:
        raise ArtifactError(f"{path} is larger than {SIZE_LIMIT} bytes; no file of a policy is")
    return content


def _files(content: bytes) -> dict[str, str]:
    try:
        plain = json.loads(content)
        if plain["format"] != FORMAT:
            raise ArtifactError(f"{MANIFEST} has format {plain['format']!r}, needed is {FORMAT}")
        return {str(name): str(digest) for name, digest in plain["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{MANIFEST} is none: {type(error).__name__}") from None


def _check_signature(content: bytes, signature: Path, trusted: Path) -> None:
    if not signature.exists():
        raise ArtifactError(f"{signature.parent} is not signed, and only policies signed by {trusted} are taken")
    signing, key = _signing(), _key(trusted)
    try:
        signing.VerifyKey(key).verify(content, bytes.fromhex(read_bounded(signature).decode().strip()))
    except Exception as error:  # PyNaCl has errors of its own for each way to be wrong; none of them is a right one
        raise ArtifactError(f"{signature} is no signature by {trusted} ({type(error).__name__})") from None


def _key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(read_bounded(path).decode().strip())
    except ValueError as error:
        if isinstance(error, ArtifactError):
            raise
        key = b""
    if len(key) != 32:
        raise ArtifactError(f"{path} is no key: one line of 64 hexadecimal digits; `control policy keygen` makes one")
    return key


def _signing() -> Any:
    try:
        from nacl import signing
    except ImportError:
        raise ArtifactError("signatures need PyNaCl: pip install 'trimtab[signing]'") from None
    return signing
