from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from agents.artifact import ArtifactError, shipped_directory
from controller import policy_store as store
from controller.commands import CommandError
from controller.policy_source import PolicySource
from envs.spec import Role, SystemSpec


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The shipped policies under another name: another version."""
    folder = tmp_path / "other"
    for role in Role:
        shutil.copytree(shipped_directory(role), folder / role)
        card = json.loads((folder / role / "policy.json").read_text())
        (folder / role / "policy.json").write_text(json.dumps({**card, "name": "other"}))
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.mark.clause("L6")
def test_the_version_before_is_kept_and_returned_to_at_once(state: Path, other: Path, spec: SystemSpec) -> None:
    first = store.use(state, "shipped", spec)
    second = store.use(state, other, spec)
    assert [(s.version, s.current, s.previous) for s in store.listed(state)] == [
        (second, True, False),
        (first, False, True),
    ]
    shutil.rmtree(other)  # what is kept is a copy
    assert store.back(state) == first
    assert store.current_version(state) == first
    assert store.back(state) == second
    assert store.use(state, first, spec) == first


def test_the_same_policies_are_the_same_version(state: Path, other: Path, spec: SystemSpec) -> None:
    assert store.use(state, other, spec) == store.use(state, other, spec)
    assert len(store.listed(state)) == 1
    with pytest.raises(CommandError, match="no earlier version"):
        store.back(state)


@pytest.mark.clause("L6")
def test_damaged_policies_are_not_kept_and_change_nothing(state: Path, other: Path, spec: SystemSpec) -> None:
    first = store.use(state, "shipped", spec)
    (other / "tuning/policy.npz").write_bytes(b"PK")
    with pytest.raises(ArtifactError):
        store.use(state, other, spec)
    assert [stored.version for stored in store.listed(state)] == [first]
    assert sorted(path.name for path in (state / "policies").iterdir()) == sorted([first, "current"])


def test_a_folder_without_policies_is_told(state: Path, tmp_path: Path, spec: SystemSpec) -> None:
    with pytest.raises(ArtifactError, match="a set of policies is allocation/ and tuning/"):
        store.use(state, tmp_path, spec)
    with pytest.raises(CommandError, match="made when the controller is started"):
        store.use(tmp_path / "none", "shipped", spec)


@pytest.mark.clause("L6")
def test_with_a_trusted_key_unsigned_policies_are_refused(state: Path, spec: SystemSpec, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("ab" * 32)
    store.trust(state, tmp_path / "key.pub")
    with pytest.raises(ArtifactError, match="only policies signed by"):
        store.use(state, "shipped", spec)


@pytest.mark.clause("L6")
def test_only_what_came_with_trimtab_needs_no_shadow_period(state: Path, other: Path, spec: SystemSpec) -> None:
    assert store.is_proven(state, store.use(state, "shipped", spec))
    version = store.use(state, other, spec)
    assert not store.is_proven(state, version)
    store.mark_proven(state, version)
    assert store.is_proven(state, version)


def wait_for(source: PolicySource) -> bool:
    """Poll as the loop does, until the version that was asked for is in charge or refused."""
    source.poll()
    source.wait()
    return source.poll()


@pytest.mark.clause("L6")
def test_a_running_controller_follows_to_another_version_and_back(state: Path, other: Path, spec: SystemSpec) -> None:
    first = store.use(state, "shipped", spec)
    source = PolicySource(state, spec, hosted=False)
    try:
        assert not source.poll()
        second = store.use(state, other, spec)
        assert wait_for(source)
        assert (source.version, source.policies[Role.TUNING].name) == (second, "other")
        store.back(state)
        assert wait_for(source)
        assert source.version == first
    finally:
        source.close()


@pytest.mark.clause("L6")
def test_policies_that_were_tampered_with_leave_those_in_charge(state: Path, other: Path, spec: SystemSpec) -> None:
    first = store.use(state, "shipped", spec)
    source = PolicySource(state, spec, hosted=False)
    try:
        second = store.use(state, other, spec)
        (store.directory_of(state, second) / "tuning/policy.npz").write_bytes(b"PK")
        assert not wait_for(source)
        assert source.version == first
        assert f"policies {second} cannot be used, {first} stay: tuning/policy.npz" in str(source.problem)
    finally:
        source.close()
