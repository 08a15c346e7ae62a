from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from agents.artifact import ArtifactError, shipped_directory
from agents.manifest import MANIFEST, SIGNATURE, check_manifest, make_key, manifest_of, sign
from envs.spec import Role

pytest.importorskip("nacl", reason="signatures are the extra `signing`")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the shipped policies."""
    for role in Role:
        shutil.copytree(shipped_directory(role), tmp_path / "models" / role)
    return tmp_path / "models"


@pytest.fixture
def public(models: Path, tmp_path: Path) -> Path:
    """The key that `models` are signed by."""
    public = make_key(tmp_path / "key")
    sign(models, tmp_path / "key")
    return public


@pytest.mark.clause("L6")
def test_what_was_signed_is_taken(models: Path, public: Path) -> None:
    check_manifest(models, public)
    check_manifest(models)
    assert (public.parent / "key").stat().st_mode & 0o077 == 0


@pytest.mark.clause("L6")
def test_without_a_trusted_key_no_manifest_is_needed_and_with_one_it_is(models: Path, tmp_path: Path) -> None:
    check_manifest(models)
    public = make_key(tmp_path / "key")
    with pytest.raises(ArtifactError, match=r"has no manifest\.json, and only policies signed by"):
        check_manifest(models, public)
    (models / MANIFEST).write_bytes(manifest_of(models))
    check_manifest(models)
    with pytest.raises(ArtifactError, match="is not signed"):
        check_manifest(models, public)


@pytest.mark.clause("L6")
@pytest.mark.parametrize("name", ["allocation/policy.npz", "tuning/policy.json", "tuning/card.md"])
def test_a_file_that_was_changed_is_named(models: Path, public: Path, name: str) -> None:
    content = bytearray((models / name).read_bytes())
    content[len(content) // 2] ^= 1
    (models / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} of .* is another one"):
        check_manifest(models)


@pytest.mark.clause("L6")
def test_a_file_that_was_taken_away_or_added_is_named(models: Path, public: Path) -> None:
    (models / "tuning/card.md").rename(models / "card.md")
    with pytest.raises(ArtifactError, match=r"tuning/card.md of .* is missing"):
        check_manifest(models)
    (models / "card.md").rename(models / "tuning/card.md")
    listed = json.loads((models / MANIFEST).read_text())
    del listed["files"]["tuning/card.md"]
    (models / MANIFEST).write_text(json.dumps(listed))
    with pytest.raises(ArtifactError, match=r"tuning/card.md of .* is not listed"):
        check_manifest(models)


@pytest.mark.clause("L6")
def test_another_key_and_another_manifest_are_refused(models: Path, public: Path, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"no signature by .*other\.pub"):
        check_manifest(models, other)
    (models / MANIFEST).write_bytes((models / MANIFEST).read_bytes() + b"\n")
    with pytest.raises(ArtifactError, match="no signature by"):
        check_manifest(models, public)


@pytest.mark.parametrize("content", ["", "zz", "00" * 31, "00" * 64])
def test_what_is_no_key_is_told(models: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(ArtifactError, match="64 hexadecimal digits"):
        sign(models, tmp_path / "key")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    with pytest.raises(ArtifactError, match="File exists"):
        make_key(tmp_path / "key")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"format": 1}', b'{"format": 2, "files": {}}'])
def test_a_manifest_that_is_none_is_refused(models: Path, content: bytes) -> None:
    (models / MANIFEST).write_bytes(content)
    (models / SIGNATURE).write_text("00")
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        check_manifest(models)
