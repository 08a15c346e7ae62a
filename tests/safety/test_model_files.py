"""A policy file that was tampered with never gets into the loop."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.artifact import ArtifactError, shipped_directory
from controller.runner import load_policies
from envs.spec import Role, SystemSpec


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.clause("L6")
def test_a_pickle_in_place_of_a_policy_is_refused_and_not_opened(spec: SystemSpec, tmp_path: Path) -> None:
    folder = tmp_path / Role.TUNING
    shutil.copytree(shipped_directory(Role.TUNING), folder)
    (folder / "policy.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(ArtifactError):
        load_policies(tmp_path, spec)
    assert not (tmp_path / "exploded").exists()
